//! A length of time, as people write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Whole hours, minutes and seconds: `90s`, `2m`, `1h30m`. CEL's `duration` takes whatever this takes, so that a field's rule
/// says its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeSpan(Duration);

/// A text that is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time: write 90s, 2m or 1h30m")]
pub struct TimeSpanError(String);

impl TimeSpan {
    /// As many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length itself.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(given: &str) -> Result<Self, TimeSpanError> {
        let refused = || TimeSpanError(given.to_owned());
        let (mut seconds, mut rest) = (0_u64, given);
        while !rest.is_empty() {
            let unit = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(refused)?;
            let (number, after) = rest.split_at(unit);
            let each = match after.as_bytes().first() {
                Some(b'h') => 3600,
                Some(b'm') => 60,
                Some(b's') => 1,
                Some(_) | None => return Err(refused()),
            };
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(each));
            seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(refused)?;
            rest = &after[1..];
        }
        if given.is_empty() { Err(refused()) } else { Ok(Self::seconds(seconds)) }
    }
}

impl TryFrom<String> for TimeSpan {
    type Error = TimeSpanError;

    fn try_from(given: String) -> Result<Self, TimeSpanError> {
        given.parse()
    }
}

/// In seconds, however it was written.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

impl From<TimeSpan> for String {
    fn from(span: TimeSpan) -> Self {
        span.to_string()
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// Bounded, for the cost of a rule is reckoned from the longest text.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 18, "pattern": "^([0-9]{1,5}[hms]){1,3}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        for (text, seconds) in [("0s", 0), ("120s", 120), ("2m", 120), ("1h30m", 5400), ("1h0m7s", 3607)] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span, TimeSpan::seconds(seconds), "{text}");
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
            assert_eq!(serde_json::from_str::<TimeSpan>(&format!("{text:?}")).unwrap(), span);
        }
        assert_eq!(serde_json::to_value(TimeSpan::seconds(90)).unwrap(), "90s");
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        let many = "9".repeat(30) + "h";
        for text in [
            "",
            "0",
            "5",
            "s",
            "1d",
            "-1s",
            "1.5h",
            "1h ",
            "1 h",
            "2ms",
            "ü",
            "1hü",
            &many,
            "99999999999999999h",
        ] {
            let error = text.parse::<TimeSpan>().unwrap_err().to_string();
            assert!(error.contains("write 90s, 2m or 1h30m"), "{error}");
        }
    }
}
