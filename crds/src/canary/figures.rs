//! What gateways measure of two revisions, since a step of the trial began.
//!
//! Counts only grow, and add up over gateways. They are counted by the step itself, so that nobody has to know what was counted
//! before it: who starts anew begins at nothing, and knows no less than that.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// One step of one trial: nothing that is counted for another counts for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialKey {
    /// The revision that runs.
    pub stable: String,
    /// The revision on trial.
    pub canary: String,
    /// The step.
    pub step: i32,
    /// When it began: a step may come twice.
    pub begun_at: Time,
}

/// What was measured of both revisions in one step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialFigures {
    /// The step.
    #[serde(flatten)]
    pub key: TrialKey,
    /// Of the revision that runs.
    pub stable_figures: RevisionFigures,
    /// Of the revision on trial.
    pub canary_figures: RevisionFigures,
}

/// What was measured of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionFigures {
    /// Attempts at an answer that came to an end: one that failed and was made good elsewhere is one of these.
    pub requests: u64,
    /// Those that failed, by no fault of the caller's.
    pub failed: u64,
    /// Seconds until the first token of a stream.
    pub time_to_first_token: Latencies,
    /// Seconds between two tokens.
    pub inter_token_latency: Latencies,
}

impl TrialFigures {
    /// Adds what another gateway measured of the same step; of another step it counts for nothing.
    pub fn add(&mut self, other: &Self) {
        let Self { key, stable_figures, canary_figures } = other;
        if self.key == *key {
            self.stable_figures.add(stable_figures);
            self.canary_figures.add(canary_figures);
        }
    }
}

impl RevisionFigures {
    /// Adds what another gateway measured.
    pub fn add(&mut self, other: &Self) {
        let Self { requests, failed, time_to_first_token, inter_token_latency } = other;
        self.requests = self.requests.saturating_add(*requests);
        self.failed = self.failed.saturating_add(*failed);
        self.time_to_first_token.add(time_to_first_token);
        self.inter_token_latency.add(inter_token_latency);
    }
}

/// Lengths of time, counted in buckets that are each an eighth of an octave wide, so that a quantile is known to 9 %.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Latencies(BTreeMap<u16, u64>);

/// Lower bound of the first bucket, in seconds.
const LEAST: f64 = 1e-4;
/// Buckets to each doubling.
const TO_AN_OCTAVE: f64 = 8.0;

impl Latencies {
    /// As many buckets as there are: up to 1,600 s, and whatever is longer in the last.
    pub const BUCKETS: u16 = 192;

    /// The bucket of a length of time.
    pub fn bucket(seconds: f64) -> u16 {
        let place = ((seconds.max(LEAST) / LEAST).log2() * TO_AN_OCTAVE).floor();
        // Between 0 and the last by the bounds.
        place.clamp(0.0, f64::from(Self::BUCKETS - 1)) as u16
    }

    /// Upper bound of a bucket, in seconds.
    pub fn bound(bucket: u16) -> f64 {
        LEAST * ((f64::from(bucket) + 1.0) / TO_AN_OCTAVE).exp2()
    }

    /// Counts `count` more in `bucket`.
    pub fn count_in(&mut self, bucket: u16, count: u64) {
        if count > 0 {
            let counted = self.0.entry(bucket.min(Self::BUCKETS - 1)).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Adds what another gateway counted.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(bucket, count)| self.count_in(*bucket, *count));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A length of time that so many of a hundred are at most, in seconds; none where there are none.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let wanted = self.count().saturating_mul(percent).div_ceil(100);
        let mut seen = 0_u64;
        self.0.iter().find_map(|(bucket, count)| {
            seen = seen.saturating_add(*count);
            (seen >= wanted).then(|| Self::bound(*bucket))
        })
    }

    /// How many are longer than so many seconds, by their buckets.
    pub fn longer_than(&self, seconds: f64) -> u64 {
        let longer = self.0.iter().filter(|(bucket, _)| Self::bound(**bucket) > seconds);
        longer.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lengths: &[f64]) -> Latencies {
        let mut counted = Latencies::default();
        lengths.iter().for_each(|seconds| counted.count_in(Latencies::bucket(*seconds), 1));
        counted
    }

    #[test]
    fn a_quantile_is_known_to_nine_percent_from_a_moment_to_minutes() {
        for seconds in [0.000_2, 0.013, 0.25, 1.0, 33.0, 600.0, 1_500.0] {
            let known = of(&[seconds]).percentile(95).unwrap();
            assert!((1.0..1.095).contains(&(known / seconds)), "{seconds}: {known}");
        }
        assert_eq!(Latencies::bucket(0.0), 0);
        assert_eq!(Latencies::bucket(-1.0), 0);
        assert_eq!(Latencies::bucket(f64::NAN), 0);
        assert_eq!(Latencies::bucket(1e9), Latencies::BUCKETS - 1);
        assert_eq!(of(&[]).percentile(95), None);
    }

    #[test]
    fn of_a_hundred_the_ninety_fifth_counts() {
        let mut hundred = vec![0.1; 95];
        hundred.extend([2.0; 5]);
        assert!(of(&hundred).percentile(95).unwrap() < 0.12);
        hundred[94] = 2.0;
        assert!(of(&hundred).percentile(95).unwrap() > 1.9);
        assert_eq!(of(&hundred).longer_than(1.0), 6);
    }

    #[test]
    fn gateways_add_up_and_their_words_are_read_as_they_are_written() {
        let one = RevisionFigures {
            requests: 3,
            failed: 1,
            time_to_first_token: of(&[0.1, 0.2]),
            inter_token_latency: of(&[0.01]),
        };
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.requests, sum.failed), (6, 2));
        assert_eq!((sum.time_to_first_token.count(), sum.inter_token_latency.count()), (4, 2));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<RevisionFigures>(&text).unwrap(), one, "{text}");
    }
}
