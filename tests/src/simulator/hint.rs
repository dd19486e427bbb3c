//! When to come again, in headers.

use jiff::{SignedDuration, Timestamp};

use super::{HINT_MILLISECONDS, HINT_SECONDS, Hint};

/// The headers of `hint` at `now`. Each names one limit that is used up and one that is not, whose time is
/// shorter.
pub(super) fn headers(hint: Hint, now: Timestamp) -> Vec<(&'static str, String)> {
    let after = |seconds: u64| now + SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    match hint {
        // Google's is in the body.
        Hint::None | Hint::RetryInfo => Vec::new(),
        Hint::Seconds => vec![("retry-after", HINT_SECONDS.to_string())],
        Hint::Long => vec![("retry-after", "3000".to_owned())],
        Hint::Date => {
            // A second more: the header has no fractions.
            let date = after(HINT_SECONDS + 1).strftime("%a, %d %b %Y %H:%M:%S GMT");
            vec![("retry-after", date.to_string())]
        }
        Hint::Milliseconds => vec![("retry-after-ms", HINT_MILLISECONDS.to_string())],
        Hint::OpenAiResets => vec![
            ("x-ratelimit-limit-requests", "10000".to_owned()),
            ("x-ratelimit-remaining-requests", "9999".to_owned()),
            ("x-ratelimit-reset-requests", "120ms".to_owned()),
            ("x-ratelimit-limit-tokens", "150000".to_owned()),
            ("x-ratelimit-remaining-tokens", "0".to_owned()),
            ("x-ratelimit-reset-tokens", format!("{HINT_SECONDS}s")),
        ],
        Hint::AnthropicResets => vec![
            ("anthropic-ratelimit-requests-limit", "4000".to_owned()),
            ("anthropic-ratelimit-requests-remaining", "3999".to_owned()),
            ("anthropic-ratelimit-requests-reset", after(1).to_string()),
            ("anthropic-ratelimit-input-tokens-limit", "2000000".to_owned()),
            ("anthropic-ratelimit-input-tokens-remaining", "0".to_owned()),
            ("anthropic-ratelimit-input-tokens-reset", after(HINT_SECONDS).to_string()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_of_the_headers_form() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().expect("a time");
        assert_eq!(headers(Hint::Date, now), [("retry-after", "Sat, 28 Nov 2026 10:00:08 GMT".to_owned())]);
        let resets = headers(Hint::AnthropicResets, now);
        assert!(
            resets.contains(&("anthropic-ratelimit-input-tokens-reset", "2026-11-28T10:00:07Z".to_owned()))
        );
    }
}
