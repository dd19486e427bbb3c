//! What an engine's answers mean. Pure.

use std::time::Duration;

/// What an engine on the CPU says before its reason.
const ON_CPU: &str = "ready; on the CPU: ";
/// The series of its `/metrics` that says how long a phase took.
const PHASES: &str = "weighbridge_cold_start_seconds{phase=\"";
/// What moved by less than this share of the whole is no news.
const NEWS_PERCENT: u64 = 5;

/// What an engine said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Said {
    /// Nothing yet.
    #[default]
    Nothing,
    /// How far it is, in its own words.
    Starting(String),
    /// It has started.
    Started {
        /// Why it computes on the CPU, where it was given a GPU or found one.
        without_gpu: Option<String>,
        /// Its phases, in the order of their names.
        phases: Vec<Took>,
    },
}

/// How long a phase of a start took.
#[derive(Clone, Debug, PartialEq)]
pub struct Took {
    /// As the metric's label has it.
    pub phase: String,
    /// Seconds.
    pub seconds: f64,
}

impl Said {
    /// By the words of `/readyz` of an engine that is ready, and its `/metrics`.
    pub(super) fn started(words: &str, metrics: &str) -> Self {
        let mut phases: Vec<_> = metrics.lines().filter_map(took).collect();
        phases.sort_by(|one, other| one.phase.cmp(&other.phase));
        Said::Started { without_gpu: words.strip_prefix(ON_CPU).map(str::to_owned), phases }
    }
}

fn took(line: &str) -> Option<Took> {
    let (phase, value) = line.strip_prefix(PHASES)?.split_once("\"}")?;
    let seconds = value.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
    Some(Took { phase: phase.to_owned(), seconds })
}

/// What an engine, or a fetch, says while bytes come in, before and after their counts.
const DOWNLOAD: (&str, &str) = ("fetching the model (download: ", " MB)");
/// Bytes of what it counts.
const COUNTED: u64 = 1_000_000;

/// Bytes that have come, and bytes in all where they are known, by the words of a fetch.
pub fn fetched(words: &str) -> Option<(u64, Option<u64>)> {
    let (done, total) = words.strip_prefix(DOWNLOAD.0)?.strip_suffix(DOWNLOAD.1)?.split_once(" of ")?;
    let bytes = |count: &str| count.parse::<u64>().ok().map(|count| count.saturating_mul(COUNTED));
    Some((bytes(done)?, bytes(total).filter(|total| *total > 0)))
}

/// Bytes in a second between two answers that came so long after one another.
pub(super) fn speed(old: &Said, new: &Said, between: Duration) -> Option<u64> {
    let (Said::Starting(old), Said::Starting(new)) = (old, new) else { return None };
    let more = fetched(new)?.0.checked_sub(fetched(old)?.0)?;
    let milliseconds = u64::try_from(between.as_millis()).ok().filter(|passed| *passed > 0)?;
    Some(more.saturating_mul(1000) / milliseconds)
}

/// Whether people are to be told: something else than a count changed, or a count by much.
pub(super) fn is_news(old: &Said, new: &Said) -> bool {
    match (old, new) {
        (Said::Starting(old), Said::Starting(new)) => {
            let (before, now) = (counts(old), counts(new));
            let moved = |(old, new): (&u64, &u64)| old.abs_diff(*new).saturating_mul(100);
            let total = now.last().copied().unwrap_or_default();
            words(old) != words(new)
                || before.last() != now.last()
                || before
                    .iter()
                    .zip(&now)
                    .any(|pair| moved(pair) >= total.saturating_mul(NEWS_PERCENT).max(1))
        }
        (old, new) => old != new,
    }
}

fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn counts(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_engine_says_its_phases_and_why_it_has_no_gpu() {
        let metrics = "# TYPE weighbridge_cold_start_seconds gauge\n\
            weighbridge_cold_start_seconds{phase=\"warm\"} 0.25\n\
            weighbridge_cold_start_seconds{phase=\"fetch\"} 12.5\n\
            weighbridge_cold_start_seconds{phase=\"odd\"} NaN\nweighbridge_asleep 0\n";
        let took = |phase: &str, seconds| Took { phase: phase.to_owned(), seconds };
        let phases = vec![took("fetch", 12.5), took("warm", 0.25)];
        let why = Some("no CUDA backend: why".to_owned());
        assert_eq!(
            Said::started("ready; on the CPU: no CUDA backend: why", metrics),
            Said::Started { without_gpu: why, phases: phases.clone() }
        );
        assert_eq!(Said::started("ready", metrics), Said::Started { without_gpu: None, phases });
    }

    #[test]
    fn how_fast_bytes_come_is_reckoned_from_two_answers() {
        let at = |words: &str| Said::Starting(format!("fetching the model ({words} MB)"));
        assert_eq!(
            fetched("fetching the model (download: 12 of 100 MB)"),
            Some((12_000_000, Some(100_000_000)))
        );
        assert_eq!(fetched("fetching the model (download: 12 of 0 MB)"), Some((12_000_000, None)));
        assert_eq!(fetched("fetching the model (verify: 12 of 100 MB)"), None);
        let (early, late) = (at("download: 10 of 100"), at("download: 60 of 100"));
        assert_eq!(speed(&early, &late, Duration::from_secs(10)), Some(5_000_000));
        assert_eq!(speed(&late, &early, Duration::from_secs(10)), None, "it began anew");
        assert_eq!(speed(&at("verify: 1 of 2"), &late, Duration::from_secs(10)), None);
        assert_eq!(speed(&early, &late, Duration::ZERO), None);
    }

    #[test]
    fn a_count_that_moved_by_little_is_no_news() {
        let at =
            |step: &str, done: u64| Said::Starting(format!("fetching the model ({step}: {done} of 1000 MB)"));
        assert!(is_news(&Said::Nothing, &at("download", 0)));
        assert!(!is_news(&at("download", 100), &at("download", 149)));
        assert!(is_news(&at("download", 100), &at("download", 150)));
        assert!(is_news(&at("download", 100), &at("verify", 100)));
        assert!(!is_news(&Said::Starting("opening".to_owned()), &Said::Starting("opening".to_owned())));
        let unknown = |done: u64| Said::Starting(format!("fetching ({done} of 0 MB)"));
        assert!(is_news(&unknown(1), &unknown(2)));
        assert!(is_news(&at("download", 1000), &Said::started("ready", "")));
    }
}
