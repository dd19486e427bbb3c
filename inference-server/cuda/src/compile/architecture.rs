//! What code is for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Machine code, or what the driver makes it of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For one architecture.
    Cubin,
    /// For every later one.
    Ptx,
}

/// What a module is compiled for, by the compiler's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// A100.
    #[serde(rename = "sm_80")]
    Sm80,
    /// A10, A40, RTX 30.
    #[serde(rename = "sm_86")]
    Sm86,
    /// L4, L40S, RTX 40.
    #[serde(rename = "sm_89")]
    Sm89,
    /// H100, H200.
    #[serde(rename = "sm_90a")]
    Sm90a,
    /// B200.
    #[serde(rename = "sm_100")]
    Sm100,
    /// RTX 50, RTX PRO 6000.
    #[serde(rename = "sm_120")]
    Sm120,
    /// PTX for whatever comes later.
    #[serde(rename = "compute_80")]
    Compute80,
}

impl Architecture {
    /// All of a pack.
    pub const ALL: [Self; 7] =
        [Self::Sm80, Self::Sm86, Self::Sm89, Self::Sm90a, Self::Sm100, Self::Sm120, Self::Compute80];

    /// The compiler's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm80 => "sm_80",
            Self::Sm86 => "sm_86",
            Self::Sm89 => "sm_89",
            Self::Sm90a => "sm_90a",
            Self::Sm100 => "sm_100",
            Self::Sm120 => "sm_120",
            Self::Compute80 => "compute_80",
        }
    }

    /// What is made for it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Sm80 | Self::Sm86 | Self::Sm89 | Self::Sm90a | Self::Sm100 | Self::Sm120 => Kind::Cubin,
            Self::Compute80 => Kind::Ptx,
        }
    }

    /// The best for a card of compute capability `card`; `None` below 8.0. Code runs on its own capability and later
    /// ones of the same first number; Hopper's, on Hopper alone; PTX, on all later ones.
    pub fn of(card: (u32, u32)) -> Option<Self> {
        match card {
            (8, 0..=5) => Some(Self::Sm80),
            (8, 6..=8) => Some(Self::Sm86),
            (8, _) => Some(Self::Sm89),
            (9, 0) => Some(Self::Sm90a),
            (10, _) => Some(Self::Sm100),
            (12, _) => Some(Self::Sm120),
            (major, _) if major >= 9 => Some(Self::Compute80),
            _ => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Architecture;

    #[test]
    fn a_card_gets_code_that_runs_on_it() {
        let names = |card| Architecture::of(card).map(Architecture::name);
        let expected = [
            ((7, 5), None),
            ((8, 0), Some("sm_80")),
            ((8, 6), Some("sm_86")),
            ((8, 7), Some("sm_86")),
            ((8, 9), Some("sm_89")),
            ((9, 0), Some("sm_90a")),
            ((10, 3), Some("sm_100")),
            ((11, 0), Some("compute_80")),
            ((12, 1), Some("sm_120")),
            ((13, 0), Some("compute_80")),
        ];
        for (card, name) in expected {
            assert_eq!(names(card), name, "{card:?}");
        }
    }
}
