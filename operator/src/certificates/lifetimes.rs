use jiff::{SignedDuration, Span, SpanRelativeTo};

/// An authority is replaced when two thirds of its life are over, and the old one signs on until a certificate would
/// outlive it. In between every certificate has to be renewed once, and with it learn whom else to trust: that is a
/// certificate's life, and as much again for an operator that is away.
const LEAST_RATIO: i32 = 6;

/// How long certificates hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    authority: SignedDuration,
    leaf: SignedDuration,
}

/// Lifetimes with which a rotation would cut something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--authority-lifetime must be at least {LEAST_RATIO} times --certificate-lifetime, and both more than nothing: every \
     certificate has to learn of a new authority before that one signs"
)]
pub struct LifetimeError;

impl Lifetimes {
    /// Of authorities, and of what they sign.
    ///
    /// # Errors
    /// An authority that lives too short a time for what it signs.
    pub fn new(authority: SignedDuration, leaf: SignedDuration) -> Result<Self, LifetimeError> {
        let least = leaf.checked_mul(LEAST_RATIO).ok_or(LifetimeError)?;
        if leaf < SignedDuration::from_secs(1) || authority < least {
            return Err(LifetimeError);
        }
        Ok(Self { authority, leaf })
    }

    /// Seconds that an authority holds.
    pub fn authority_seconds(&self) -> i64 {
        self.authority.as_secs()
    }

    /// Seconds that a certificate holds.
    pub fn leaf_seconds(&self) -> i64 {
        self.leaf.as_secs()
    }
}

/// Reads `7d`, `36h` or `90m`.
///
/// # Errors
/// Anything else.
pub fn lifetime(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text.parse().map_err(|_| "write it as 7d, 36h or 90m".to_owned())?;
    span.to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "write it in days, hours or minutes, such as 7d, 36h or 90m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_written_in_days_or_hours() {
        for (text, hours) in [("7d", 168), ("36h", 36), ("120m", 2), ("1d 12h", 36)] {
            assert_eq!(lifetime(text), Ok(SignedDuration::from_hours(hours)), "{text}");
        }
        for text in ["", "7", "soon", "1y", "2mo"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_authority_outlives_what_it_signs_by_far() {
        let of = |authority, leaf| Lifetimes::new(lifetime(authority).unwrap(), lifetime(leaf).unwrap());
        assert!(of("1825d", "7d").is_ok());
        assert!(of("6d", "1d").is_ok());
        for (authority, leaf) in [("6d", "25h"), ("7d", "7d"), ("1d", "0s"), ("-7d", "-2d")] {
            assert_eq!(of(authority, leaf), Err(LifetimeError), "{authority} {leaf}");
        }
    }
}
