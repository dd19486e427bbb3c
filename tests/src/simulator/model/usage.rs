//! Tokens of a call, each counted in one place only; the dialects make their totals of them.

use super::{Cache, Prompt};

/// What the provider's cache had of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Cached {
    /// Nothing, and nothing was written to it.
    No,
    /// Half of it was written.
    Written,
    /// Half of it was read.
    Read,
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::simulator) struct Usage {
    pub(in crate::simulator) uncached: u64,
    pub(in crate::simulator) cache_read: u64,
    pub(in crate::simulator) cache_write_5m: u64,
    pub(in crate::simulator) cache_write_1h: u64,
    pub(in crate::simulator) visible: u64,
    pub(in crate::simulator) reasoning: u64,
}

impl Usage {
    /// Of reading `prompt`, before anything is written.
    pub(in crate::simulator) fn of(prompt: &Prompt, cached: Cached) -> Self {
        let half = prompt.tokens.div_ceil(2);
        let (covered, written) = match cached {
            Cached::No => (0, 0),
            Cached::Written => (half, half),
            Cached::Read => (half, 0),
        };
        let an_hour = matches!(prompt.cache, Some(Cache { an_hour: true, .. }));
        Self {
            uncached: prompt.tokens - covered,
            cache_read: covered - written,
            cache_write_5m: if an_hour { 0 } else { written },
            cache_write_1h: if an_hour { written } else { 0 },
            visible: 0,
            reasoning: 0,
        }
    }

    /// Everything read.
    pub(in crate::simulator) fn input(self) -> u64 {
        self.uncached + self.cache_read + self.cache_write()
    }

    pub(in crate::simulator) fn cache_write(self) -> u64 {
        self.cache_write_5m + self.cache_write_1h
    }

    /// Everything written.
    pub(in crate::simulator) fn output(self) -> u64 {
        self.visible + self.reasoning
    }
}
