//! How long a key rests that the provider limits, or whose account is used up.

use std::time::Duration;

/// Where the provider names no time: long enough that its limit moved on (they refill by the second or the minute),
/// and short enough that a provider which never says costs little.
const UNTOLD: Duration = Duration::from_secs(5);
/// The longest that a provider is believed. A day's quota is then asked for once an hour, and a nonsense value
/// does not take a key out for good.
const LONGEST: Duration = Duration::from_secs(3600);

/// The rest of a key whose request was answered with 429, where the provider asked to wait for `hinted`.
pub(in super::super) fn resting(hinted: Option<Duration>) -> Duration {
    hinted.map_or(UNTOLD, |time| time.min(LONGEST))
}

/// Between two trials of a key whose account is used up: whoever fills it up again waits no longer than this, and until
/// then a provider is asked no more often.
const USED_UP: Duration = Duration::from_secs(600);
/// The least of it, whatever the provider says: it is no limit that a moment mends.
const USED_UP_LEAST: Duration = Duration::from_secs(60);

/// The rest of a key whose account is used up, where the provider asked to wait for `hinted`.
pub(in super::super) fn used_up(hinted: Option<Duration>) -> Duration {
    hinted.map_or(USED_UP, |time| time.clamp(USED_UP_LEAST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_believed_within_bounds() {
        assert_eq!(resting(Some(Duration::from_millis(500))), Duration::from_millis(500));
        assert_eq!(resting(Some(Duration::from_secs(86_400))), LONGEST);
        assert_eq!(resting(None), UNTOLD);
        assert_eq!(used_up(None), USED_UP);
        assert_eq!(used_up(Some(Duration::from_secs(1))), USED_UP_LEAST);
        assert_eq!(used_up(Some(Duration::from_secs(86_400))), LONGEST);
    }
}
