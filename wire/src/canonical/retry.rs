//! How long an upstream's headers ask to wait.
//!
//! `retry-after-ms` counts first, then `retry-after`. Where neither is there, the limits say it: each has what is left
//! of it and when it is full again, and of those that are used up the last one to come back counts. A limit that
//! still has something left is not what the request waits for. What a body says (Gemini's `RetryInfo`) is the affair
//! of its dialect. Nothing is capped here: what a client is told, [`super::Failure::retry_hint`] caps.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The wait that the headers of an answer with `status` ask for; `None` where they say nothing of use, or where waiting
/// is not the point of the status. `now` is in seconds since 1970; dates in the past are a wait of nothing.
pub fn wait<'a>(
    status: u16,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    now: i64,
) -> Option<Duration> {
    if !matches!(status, 429 | 503 | 529) {
        return None;
    }
    let mut said = Said::default();
    for (name, value) in headers {
        said.add(&name.to_ascii_lowercase(), value.trim(), now);
    }
    said.wait()
}

/// A wait in whole seconds, as `Retry-After` and [`super::Failure::retry_after_seconds`] have it: rounded up, so that
/// nobody comes back too early.
pub fn whole_seconds(wait: Duration) -> u32 {
    let up = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    u32::try_from(up).unwrap_or(u32::MAX)
}

/// What the headers said so far.
#[derive(Debug, Default)]
struct Said {
    retry_after_ms: Option<Duration>,
    retry_after: Option<Duration>,
    limits: BTreeMap<String, Limit>,
}

/// One limit, such as that of requests.
#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    used_up: Option<bool>,
    full_in: Option<Duration>,
}

impl Said {
    fn add(&mut self, name: &str, value: &str, now: i64) {
        match name {
            "retry-after-ms" => {
                self.retry_after_ms = self.retry_after_ms.or_else(|| seconds(value).map(|wait| wait / 1_000));
            }
            "retry-after" => {
                let date = || rfc2822::DateTimeParser::new().parse_timestamp(value).ok();
                let wait = || seconds(value).or_else(|| date().and_then(|date| until(date, now)));
                self.retry_after = self.retry_after.or_else(wait);
            }
            _ => self.limit(name, value, now),
        }
    }

    /// `x-ratelimit-remaining-tokens` and `anthropic-ratelimit-tokens-remaining`, and the same with `reset`.
    fn limit(&mut self, name: &str, value: &str, now: i64) {
        if let Some(limit) = name.strip_prefix("x-ratelimit-remaining-") {
            self.limits.entry(limit.to_owned()).or_default().used_up = used_up(value);
        } else if let Some(limit) = name.strip_prefix("x-ratelimit-reset-") {
            self.limits.entry(limit.to_owned()).or_default().full_in = duration(value);
        } else if let Some(limit) = name.strip_prefix("anthropic-") {
            if let Some(limit) = limit.strip_suffix("-remaining") {
                self.limits.entry(limit.to_owned()).or_default().used_up = used_up(value);
            } else if let Some(limit) = limit.strip_suffix("-reset") {
                let reset: Option<Timestamp> = value.parse().ok();
                self.limits.entry(limit.to_owned()).or_default().full_in =
                    reset.and_then(|reset| until(reset, now));
            }
        }
    }

    fn wait(&self) -> Option<Duration> {
        let longest = |used_up: Option<bool>| {
            self.limits
                .values()
                .filter(|limit| limit.used_up == used_up)
                .filter_map(|limit| limit.full_in)
                .max()
        };
        // Some servers say when a limit is full again, and not what is left of it.
        self.retry_after_ms.or(self.retry_after).or_else(|| longest(Some(true))).or_else(|| longest(None))
    }
}

fn used_up(remaining: &str) -> Option<bool> {
    remaining.parse::<f64>().ok().filter(|left| left.is_finite()).map(|left| left <= 0.0)
}

/// A number of seconds, which may be a fraction.
fn seconds(value: &str) -> Option<Duration> {
    value.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// `120ms`, `6.5s`, `1m30s` or `2h0m0.5s`; a number alone is seconds.
fn duration(value: &str) -> Option<Duration> {
    if let Some(wait) = seconds(value) {
        return Some(wait);
    }
    let (mut total, mut rest) = (Duration::ZERO, value);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(unit_at)?;
        let next = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(next)?;
        let in_seconds = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * in_seconds).ok()?)?;
        rest = after;
    }
    (!value.is_empty()).then_some(total)
}

/// From `now`, in seconds since 1970, until `date`.
fn until(date: Timestamp, now: i64) -> Option<Duration> {
    let whole = i128::from(date.as_second()).checked_sub(i128::from(now))?;
    let nanoseconds = whole.checked_mul(1_000_000_000)?.checked_add(i128::from(date.subsec_nanosecond()))?;
    let nanoseconds = u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX);
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-03-05 12:00:00 UTC.
    const NOW: i64 = 1_772_712_000;

    fn milliseconds(headers: &[(&str, &str)]) -> Option<u128> {
        wait(429, headers.iter().copied(), NOW).map(|wait| wait.as_millis())
    }

    #[test]
    fn retry_after_is_seconds_a_fraction_or_a_date() {
        for (value, expected) in [
            ("107", Some(107_000)),
            ("0", Some(0)),
            ("1.5", Some(1_500)),
            (" 20 ", Some(20_000)),
            ("Thu, 05 Mar 2026 12:01:30 GMT", Some(90_000)),
            ("Thu, 05 Mar 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-3", None),
            ("inf", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(&[("Retry-After", value)]), expected, "{value}");
        }
        assert_eq!(milliseconds(&[("retry-after", "2"), ("retry-after-ms", "1250")]), Some(1_250));
        assert_eq!(milliseconds(&[("retry-after", "2"), ("retry-after-ms", "x")]), Some(2_000));
    }

    /// agentgateway takes the minimum, and comes back to a limit that is still used up.
    #[test]
    fn the_limit_that_is_used_up_counts_and_not_the_first_to_come_back() {
        let openai = |requests_left, tokens_left| {
            milliseconds(&[
                ("x-ratelimit-limit-requests", "500"),
                ("X-RateLimit-Remaining-Requests", requests_left),
                ("x-ratelimit-reset-requests", "120ms"),
                ("x-ratelimit-remaining-tokens", tokens_left),
                ("x-ratelimit-reset-tokens", "1m30s"),
            ])
        };
        assert_eq!(openai("499", "0"), Some(90_000));
        assert_eq!(openai("0", "150000"), Some(120));
        assert_eq!(openai("0", "0"), Some(90_000), "both have to come back");
        assert_eq!(openai("499", "150000"), None, "neither is what the request waits for");
        let unsaid = [("x-ratelimit-reset-requests", "2ms"), ("x-ratelimit-reset-tokens", "6.5s")];
        assert_eq!(milliseconds(&unsaid), Some(6_500));
        let stated = [unsaid[0], unsaid[1], ("retry-after", "3")];
        assert_eq!(milliseconds(&stated), Some(3_000), "what the server says itself counts first");
    }

    #[test]
    fn anthropics_limits_are_times() {
        let anthropic = |output_left| {
            milliseconds(&[
                ("anthropic-ratelimit-requests-remaining", "49"),
                ("anthropic-ratelimit-requests-reset", "2026-03-05T12:00:01Z"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-03-05T12:00:20.5Z"),
                ("anthropic-ratelimit-output-tokens-remaining", output_left),
                ("anthropic-ratelimit-output-tokens-reset", "2026-03-05T13:00:45+01:00"),
                ("anthropic-organization-id", "org"),
            ])
        };
        assert_eq!(anthropic("8000"), Some(20_500));
        assert_eq!(anthropic("0"), Some(45_000));
    }

    #[test]
    fn durations_have_units() {
        for (value, expected) in [
            ("120ms", Some(120)),
            ("2m30s", Some(150_000)),
            ("6.5s", Some(6_500)),
            ("1h0m0.25s", Some(3_600_250)),
            ("1d", Some(86_400_000)),
            ("1500us", Some(1)),
            ("60", Some(60_000)),
            ("5 s", None),
            ("5x", None),
            ("1m30", None),
            ("s", None),
            ("1.2.3s", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(milliseconds(&[("x-ratelimit-reset-tokens", value)]), expected, "{value}");
        }
    }

    #[test]
    fn only_a_status_that_asks_to_wait_is_waited_for() {
        let headers = [("retry-after", "7")];
        for status in [429, 503, 529] {
            assert_eq!(wait(status, headers, NOW), Some(Duration::from_secs(7)), "{status}");
        }
        for status in [200, 400, 401, 500, 502, 504] {
            assert_eq!(wait(status, headers, NOW), None, "{status}");
        }
    }

    #[test]
    fn whole_seconds_are_rounded_up() {
        for (milliseconds, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (u64::MAX, u32::MAX)] {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds);
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(
            names in proptest::collection::vec(0usize..9, 0..6),
            values in proptest::collection::vec("[-+.:,0-9a-zTZµ ]{0,24}|\\PC{0,12}|[0-9]{1,40}(ms|[smhd])?", 6),
            now in any::<i64>(),
        ) {
            const NAMES: [&str; 9] = [
                "retry-after", "Retry-After-Ms", "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-", "anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining",
                "anthropic--reset", "anthropic-remaining",
            ];
            let headers = names.iter().zip(&values).map(|(name, value)| (NAMES[*name], value.as_str()));
            if let Some(wait) = wait(429, headers, now) {
                whole_seconds(wait);
            }
        }

        #[test]
        fn a_date_is_waited_for_whatever_the_time(ahead in 0i64..4_000_000, now in 0i64..4_000_000_000) {
            let date = Timestamp::from_second(now + ahead).expect("in range");
            let http = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let expected = Some(Duration::from_secs(ahead.unsigned_abs()));
            prop_assert_eq!(wait(503, [("retry-after", http.as_str())], now), expected);
            let limits = [
                ("anthropic-ratelimit-tokens-reset", &*date.to_string()),
                ("anthropic-ratelimit-tokens-remaining", "0"),
            ];
            prop_assert_eq!(wait(429, limits, now), expected);
        }
    }
}
