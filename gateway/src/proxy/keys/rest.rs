//! How long a key rests after a 429.

use std::time::Duration;

use http::HeaderMap;

/// Where the provider names no time: long enough that its limit moved on (they refill by the second or the minute),
/// and short enough that a provider which never says costs little.
const UNTOLD: Duration = Duration::from_secs(5);
/// The longest that a provider is believed. A day's quota is then asked for once an hour, and a nonsense value
/// does not take a key out for good.
const LONGEST: Duration = Duration::from_secs(3600);

/// The rest of a key whose request was answered with 429 and `headers`.
pub(in super::super) fn resting(headers: &HeaderMap) -> Duration {
    hinted(headers).map_or(UNTOLD, |time| time.min(LONGEST))
}

/// The wait that `retry-after-ms` or `retry-after` (in seconds) asks for.
pub(in super::super) fn hinted(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| {
        let number: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        (number >= 0.0).then_some(number)
    };
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(hints: &[(&'static str, &'static str)]) -> Duration {
        let mut headers = HeaderMap::new();
        for (name, value) in hints {
            headers.insert(*name, value.parse().expect("a value"));
        }
        resting(&headers)
    }

    #[test]
    fn the_finer_hint_wins_and_nonsense_is_none() {
        assert_eq!(rest(&[("retry-after", "7")]), Duration::from_secs(7));
        assert_eq!(rest(&[("retry-after", "0.5")]), Duration::from_millis(500));
        assert_eq!(rest(&[("retry-after", "7"), ("retry-after-ms", "120")]), Duration::from_millis(120));
        assert_eq!(rest(&[("retry-after", "86400")]), LONGEST);
        assert_eq!(rest(&[]), UNTOLD);
        for nonsense in ["-1", "soon", "NaN", "inf", "1e300"] {
            assert_eq!(rest(&[("retry-after", nonsense)]), UNTOLD, "{nonsense}");
        }
    }
}
