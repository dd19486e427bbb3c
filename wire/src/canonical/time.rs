//! Times as RFC 3339 has them, of which the canonical form keeps the seconds.

use jiff::Timestamp;

/// Seconds since 1970; `None` where it is no time.
pub(crate) fn read_time(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// The time of these seconds; `None` beyond the year 9999.
pub(crate) fn write_time(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back() {
        assert_eq!(write_time(1_772_712_000).as_deref(), Some("2026-03-05T12:00:00Z"));
        assert_eq!(read_time("2026-03-05T12:00:00.123456Z"), Some(1_772_712_000));
        assert_eq!((read_time("soon"), write_time(i64::MAX)), (None, None));
    }
}
