//! Durations as people write them: `90s`, `5m`, `1h30m`.

use std::time::Duration;

/// What one looks like, for schemas; beside it a length of at least 2, for it may not be empty.
pub const DURATION_PATTERN: &str = "^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$";

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no duration: write hours, minutes and seconds in whole numbers, such as 90s, 5m or 1h30m"
)]
pub struct InvalidDuration {
    given: String,
}

/// Reads one.
///
/// # Errors
/// It is not as [`DURATION_PATTERN`] says.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration { given: text.to_owned() };
    let (mut seconds, mut left) = (0_u64, text);
    for (unit, worth) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((number, rest)) = left.split_once(unit) else { continue };
        let digits = (1..=5).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        let count: u64 = number.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
        (seconds, left) = (seconds + count * worth, rest);
    }
    if text.is_empty() || !left.is_empty() {
        return Err(invalid());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn hours_minutes_and_seconds_in_that_order_and_nothing_else() {
        let pattern = Regex::new(DURATION_PATTERN).unwrap();
        for (text, seconds) in [
            ("0s", 0),
            ("300s", 300),
            ("5m", 300),
            ("1h", 3600),
            ("1h30m", 5400),
            ("2h3m4s", 7384),
            ("99999s", 99_999),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert!(pattern.is_match(text), "{text}");
        }
        for text in
            ["", "5", "m", "5 m", "-5m", "+5m", "1.5h", "5m1h", "5m5m", "100ms", "123456s", "5M", "5m "]
        {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("5m"), "{error}");
            assert!(text.is_empty() || !pattern.is_match(text), "{text}");
        }
    }
}
