//! `--expires`: a span from now, a day, or a moment.

use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{self, Span, Timestamp, Unit};

/// No time to come.
#[derive(Debug, thiserror::Error)]
pub enum ExpiryError {
    /// Not one of the three.
    #[error("{0:?} is no time: write 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z")]
    NoTime(String),
    /// Past.
    #[error("{0} is past: the key would never hold")]
    Past(Timestamp),
    /// Past the end of the calendar.
    #[error("{0:?} is further than the calendar goes")]
    TooFar(String, #[source] jiff::Error),
}

/// When a key made at `now` ends, in whole seconds, as a ModelAccess has it. A day begins in UTC.
pub fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, ExpiryError> {
    let too_far = |error| ExpiryError::TooFar(text.to_owned(), error);
    let at = if let Ok(moment) = text.parse::<Timestamp>() {
        moment
    } else if let Ok(day) = text.parse::<Date>() {
        day.to_zoned(TimeZone::UTC).map_err(too_far)?.timestamp()
    } else {
        let span: Span = text.parse().map_err(|_| ExpiryError::NoTime(text.to_owned()))?;
        now.to_zoned(TimeZone::UTC).checked_add(span).map_err(too_far)?.timestamp()
    };
    let at = at.round(Unit::Second).map_err(too_far)?;
    if at > now { Ok(at) } else { Err(ExpiryError::Past(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_a_day_or_a_moment_is_a_time_to_come() {
        let now: Timestamp = "2026-11-28T10:00:00.4Z".parse().unwrap();
        for (text, at) in [
            ("90d", "2027-02-26T10:00:00Z"),
            ("12h", "2026-11-28T22:00:00Z"),
            ("1y", "2027-11-28T10:00:00Z"),
            ("2027-01-31", "2027-01-31T00:00:00Z"),
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z"),
        ] {
            assert_eq!(expiry(text, now).unwrap().to_string(), at, "{text}");
        }
        for text in ["", "soon", "90", "31.1.2027", "2027-13-01"] {
            assert!(expiry(text, now).unwrap_err().to_string().contains("write 90d"), "{text}");
        }
        for text in ["-1d", "2020-01-01", "0s", "2026-11-28T10:00:00Z"] {
            assert!(expiry(text, now).unwrap_err().to_string().contains("is past"), "{text}");
        }
        assert!(expiry("19000y", now).unwrap_err().to_string().contains("calendar"));
    }
}
