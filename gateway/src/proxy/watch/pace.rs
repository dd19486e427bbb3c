//! When others are told of a new state. What a person must mend is told at once; what moves all the time, now and then.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use weighbridge_crds::{KeyCondition, KeyState, ProviderState, ResidencyMismatch};

/// Between two states at the least, so that a burst of news is one.
const SHORT: Duration = Duration::from_millis(200);
/// The same where only what moves has moved: limits that come and go, the last error, times.
const LONG: Duration = Duration::from_secs(10);
/// Rests that end within so much of each other end together: the time is reckoned anew at each look.
const SAME_TIME: i64 = 2;

/// Whether `next` is told now, where `last` was told `since` ago. `None`: it says nothing new.
pub(super) fn due(last: &ProviderState, next: &ProviderState, since: Duration) -> Option<bool> {
    let next = ProviderState { version: last.version, ..next.clone() };
    if next == *last {
        return None;
    }
    let pace = if still(&next) == still(last) { LONG } else { SHORT };
    Some(since >= pace)
}

/// `next` with the times of `last` where they are the same but for how they were reckoned.
pub(super) fn settled(last: &ProviderState, mut next: ProviderState) -> ProviderState {
    for (next, last) in next.keys.iter_mut().zip(&last.keys) {
        let near = match (&next.until, &last.until) {
            (Some(next), Some(last)) => {
                next.0.as_second().abs_diff(last.0.as_second()) <= SAME_TIME.unsigned_abs()
            }
            (Some(_) | None, _) => false,
        };
        if next.state == last.state && near {
            next.until.clone_from(&last.until);
        }
    }
    next
}

/// What of a state does not move by itself.
fn still(state: &ProviderState) -> ProviderState {
    let still = |key: &KeyState| KeyState {
        state: match key.state {
            KeyCondition::RateLimited => KeyCondition::Usable,
            state => state,
        },
        until: None,
    };
    let mismatch = |mismatch: &ResidencyMismatch| ResidencyMismatch {
        time: Time(Timestamp::UNIX_EPOCH),
        ..mismatch.clone()
    };
    ProviderState {
        keys: state.keys.iter().map(still).collect(),
        last_upstream_error: None,
        residency_mismatch: state.residency_mismatch.as_ref().map(mismatch),
        ..state.clone()
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_crds::{UpstreamError, UpstreamHealth};

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("a time"))
    }

    fn keyed(state: KeyCondition, until: Option<i64>) -> ProviderState {
        ProviderState { keys: vec![KeyState { state, until: until.map(at) }], ..ProviderState::default() }
    }

    #[test]
    fn what_must_be_mended_is_told_at_once_and_what_moves_now_and_then() {
        let usable = keyed(KeyCondition::Usable, None);
        assert_eq!(due(&usable, &ProviderState { version: 9, ..usable.clone() }, LONG), None);
        let error =
            UpstreamError { time: at(1), status: None, class: "upstream".into(), message: "m".into() };
        let mismatch =
            |second| Some(ResidencyMismatch { time: at(second), required: "us".into(), stated: None });
        let told = ProviderState { residency_mismatch: mismatch(1), ..usable.clone() };
        for (last, next) in [
            (&usable, keyed(KeyCondition::RateLimited, Some(9))),
            (&keyed(KeyCondition::RateLimited, Some(9)), keyed(KeyCondition::RateLimited, Some(19))),
            (&usable, ProviderState { last_upstream_error: Some(error), ..usable.clone() }),
            (&told, ProviderState { residency_mismatch: mismatch(2), ..usable.clone() }),
        ] {
            assert_eq!(
                (due(last, &next, SHORT), due(last, &next, LONG)),
                (Some(false), Some(true)),
                "{next:?}"
            );
        }
        for next in [
            keyed(KeyCondition::Refused, None),
            keyed(KeyCondition::QuotaExhausted, Some(9)),
            ProviderState { upstream: UpstreamHealth::Failing, ..usable.clone() },
            ProviderState { probed: true, ..usable.clone() },
            told.clone(),
        ] {
            assert_eq!(
                (due(&usable, &next, Duration::ZERO), due(&usable, &next, SHORT)),
                (Some(false), Some(true))
            );
        }
    }

    #[test]
    fn a_time_that_was_reckoned_anew_is_no_news() {
        let last = keyed(KeyCondition::RateLimited, Some(100));
        for (next, expected) in [(101, 100), (98, 100), (103, 103)] {
            let next = settled(&last, keyed(KeyCondition::RateLimited, Some(next)));
            assert_eq!(next.keys[0].until, Some(at(expected)));
        }
        let other = settled(&last, keyed(KeyCondition::QuotaExhausted, Some(101)));
        assert_eq!(other.keys[0].until, Some(at(101)));
    }
}
