use proptest::prelude::*;
use weighbridge_crds::{Capacity, TimeSpan};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn step(pause: Pause) -> CanaryStep {
    CanaryStep { capacity: Capacity::Pods(1), traffic: 10, pause }
}

fn figures(requests: u64, failed: u64) -> RevisionFigures {
    RevisionFigures { requests, failed, ..RevisionFigures::default() }
}

/// With so many streams whose tokens come after so many seconds each.
fn streamed(count: u64, first: f64, between: f64) -> RevisionFigures {
    let mut figures = figures(count, 0);
    figures.time_to_first_token.count_in(Latencies::bucket(first), count);
    figures.inter_token_latency.count_in(Latencies::bucket(between), count * 9);
    figures
}

fn judged(stable: &RevisionFigures, canary: &RevisionFigures, elapsed: Duration) -> Verdict {
    verdict(stable, canary, elapsed, OnInconclusive::Hold)
}

fn verdict(
    stable: &RevisionFigures,
    canary: &RevisionFigures,
    elapsed: Duration,
    on_inconclusive: OnInconclusive,
) -> Verdict {
    let step = step(Pause::For(TimeSpan::seconds(60)));
    let abort = AbortThresholds::default();
    judge(&Judged { step: &step, abort, on_inconclusive, elapsed, told: false, stable, canary })
}

/// At the end of a step, by these thresholds.
fn verdict_by(abort: AbortThresholds, stable: &RevisionFigures, canary: &RevisionFigures) -> Verdict {
    let step = step(Pause::For(TimeSpan::seconds(60)));
    let on_inconclusive = OnInconclusive::Hold;
    judge(&Judged { step: &step, abort, on_inconclusive, elapsed: MINUTE, told: false, stable, canary })
}

fn aborts(verdict: Verdict) -> String {
    match verdict {
        Verdict::Abort(words) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_step_is_passed_at_its_end_and_not_before() {
    let (stable, canary) = (figures(900, 3), figures(100, 1));
    assert_eq!(judged(&stable, &canary, MINUTE / 2), Verdict::Continue);
    assert_eq!(judged(&stable, &canary, MINUTE), Verdict::Advance);
}

#[test]
fn what_fails_more_is_aborted_at_once_with_its_figures() {
    let words = aborts(judged(&figures(3708, 11), &figures(412, 29), Duration::ZERO));
    assert_eq!(words, "error rate 7.0 % against 0.3 % over 412 requests");
    // Both fail alike, and that is no fault of the new one.
    assert_eq!(judged(&figures(900, 180), &figures(100, 20), MINUTE), Verdict::Advance);
    // Two points more are allowed, and so is less than that.
    assert_eq!(judged(&figures(90_000, 900), &figures(10_000, 300), MINUTE), Verdict::Advance);
}

#[test]
fn what_may_be_chance_is_neither_passed_nor_aborted() {
    // Three of a hundred, where the other has two of three hundred.
    let (stable, canary) = (figures(900, 6), figures(100, 3));
    assert_eq!(judged(&stable, &canary, MINUTE / 2), Verdict::Continue);
    let Verdict::Hold(words) = judged(&stable, &canary, MINUTE) else { panic!("chance") };
    assert!(words.contains("no more than chance may do"), "{words}");
    // The same shares of more are none.
    assert!(aborts(judged(&figures(9000, 60), &figures(1000, 30), MINUTE)).starts_with("error rate 3.0 %"));
}

#[test]
fn with_too_few_requests_it_is_as_the_spec_says() {
    for (stable, canary) in [(900, 99), (99, 900), (0, 0), (1000, 0)] {
        let (stable, canary) = (figures(stable, 0), figures(canary, canary));
        let end = |on| verdict(&stable, &canary, MINUTE, on);
        assert_eq!(judged(&stable, &canary, MINUTE / 2), Verdict::Continue);
        assert!(
            matches!(end(OnInconclusive::Hold), Verdict::Hold(words) if words.contains("fewer than 100 requests"))
        );
        assert_eq!(end(OnInconclusive::Promote), Verdict::Advance);
        assert!(aborts(end(OnInconclusive::Abort)).contains("onInconclusive is Abort"));
    }
}

#[test]
fn a_person_passes_a_step_that_is_not_known_to_be_worse() {
    let told = |pause, stable: &RevisionFigures, canary: &RevisionFigures, told| {
        let (step, abort) = (step(pause), AbortThresholds::default());
        let on_inconclusive = OnInconclusive::Hold;
        judge(&Judged { step: &step, abort, on_inconclusive, elapsed: MINUTE / 2, told, stable, canary })
    };
    let few = figures(3, 0);
    assert!(
        matches!(told(Pause::Manual, &few, &few, false), Verdict::Hold(words) if words.contains("Manual"))
    );
    assert_eq!(told(Pause::Manual, &few, &few, true), Verdict::Advance);
    assert_eq!(told(Pause::For(TimeSpan::seconds(60)), &few, &few, true), Verdict::Advance);
    let worse = figures(400, 80);
    for pause in [Pause::Manual, Pause::For(TimeSpan::seconds(60))] {
        assert!(matches!(told(pause, &figures(400, 1), &worse, true), Verdict::Abort(_)));
    }
}

#[test]
fn what_is_slower_is_aborted_where_streams_enough_say_so() {
    let usual = streamed(900, 0.4, 0.02);
    let words = aborts(judged(&usual, &streamed(100, 0.8, 0.02), MINUTE / 2));
    assert!(
        words.starts_with("time to first token 8") && words.contains("at the 95th percentile of 100"),
        "{words}"
    );
    let words = aborts(judged(&usual, &streamed(100, 0.4, 0.04), MINUTE / 2));
    assert!(words.starts_with("time between two tokens 4"), "{words}");
    // Within half as much again, and faster.
    for canary in [streamed(100, 0.5, 0.025), streamed(100, 0.1, 0.001)] {
        assert_eq!(judged(&usual, &canary, MINUTE), Verdict::Advance);
    }
    // Too few streams among requests enough: latencies are not judged.
    let few = RevisionFigures { requests: 1000, ..streamed(99, 9.0, 0.02) };
    let few = RevisionFigures { inter_token_latency: Latencies::default(), ..few };
    assert_eq!(judged(&usual, &few, MINUTE), Verdict::Advance);
    // Six of a hundred are slow, where five are: that is chance.
    let mut unlucky = streamed(94, 0.4, 0.02);
    unlucky.add(&streamed(6, 4.0, 0.02));
    assert!(matches!(judged(&usual, &unlucky, MINUTE), Verdict::Hold(words) if words.contains("chance")));
}

/// A length of time that is counted so many buckets later.
fn later(seconds: f64, buckets: f64) -> f64 {
    seconds * (buckets / 8.0).exp2()
}

/// Buckets later, and the thresholds in percent that so much longer is just over and just under: 18.9 and 83.4 percent.
const JUST_LONGER: [(f64, i32, i32); 2] = [(2.0, 18, 19), (7.0, 83, 84)];

#[test]
fn time_to_first_token_is_held_against_the_threshold_of_the_spec() {
    for (buckets, over, under) in JUST_LONGER {
        let (stable, canary) = (streamed(1000, 0.4, 0.02), streamed(1000, later(0.4, buckets), 0.02));
        let by = |time_to_first_token| {
            let abort = AbortThresholds { time_to_first_token, ..AbortThresholds::default() };
            verdict_by(abort, &stable, &canary)
        };
        let words = aborts(by(over));
        assert!(words.starts_with("time to first token"), "{words}");
        assert_eq!(by(under), Verdict::Advance);
    }
}

#[test]
fn time_between_tokens_is_held_against_the_threshold_of_the_spec() {
    for (buckets, over, under) in JUST_LONGER {
        let (stable, canary) = (streamed(1000, 0.4, 0.02), streamed(1000, 0.4, later(0.02, buckets)));
        let by = |inter_token_latency| {
            let abort = AbortThresholds { inter_token_latency, ..AbortThresholds::default() };
            verdict_by(abort, &stable, &canary)
        };
        let words = aborts(by(over));
        assert!(words.starts_with("time between two tokens"), "{words}");
        assert_eq!(by(under), Verdict::Advance);
    }
}

#[test]
fn the_error_rate_is_held_against_the_threshold_of_the_spec() {
    // Half a point more than one percent, and six and a half.
    for (failed, over, under) in [(15_000, 0, 1), (75_000, 6, 7)] {
        let (stable, canary) = (figures(1_000_000, 10_000), figures(1_000_000, failed));
        let by = |error_rate| {
            verdict_by(AbortThresholds { error_rate, ..AbortThresholds::default() }, &stable, &canary)
        };
        let words = aborts(by(over));
        assert!(words.starts_with("error rate"), "{words}");
        assert_eq!(by(under), Verdict::Advance);
    }
}

fn any_figures() -> impl Strategy<Value = RevisionFigures> {
    let lengths = || prop::collection::vec((0..Latencies::BUCKETS, 1..300_u64), 0..6);
    (0..5000_u64, 0..5000_u64, lengths(), lengths()).prop_map(|(answered, failed, first, between)| {
        let mut figures = figures(answered + failed, failed);
        first.into_iter().for_each(|(at, count)| figures.time_to_first_token.count_in(at, count));
        between.into_iter().for_each(|(at, count)| figures.inter_token_latency.count_in(at, count));
        figures
    })
}

proptest! {
    #[test]
    fn nothing_is_aborted_by_what_both_share(same in any_figures(), seconds in 0..120_u64) {
        let said = judged(&same, &same, Duration::from_secs(seconds));
        prop_assert!(!matches!(said, Verdict::Abort(_)), "{said:?}");
    }

    #[test]
    fn nothing_is_passed_with_fewer_than_the_least_requests(
        stable in any_figures(), canary in any_figures(), seconds in 0..120_u64, least in 1..2000_i32,
    ) {
        let step = step(Pause::For(TimeSpan::seconds(60)));
        let abort = AbortThresholds { min_requests: least, ..AbortThresholds::default() };
        let (elapsed, on_inconclusive) = (Duration::from_secs(seconds), OnInconclusive::Hold);
        let said = judge(&Judged { step: &step, abort, on_inconclusive, elapsed, told: false, stable: &stable, canary: &canary });
        let enough = stable.requests.min(canary.requests) >= u64::try_from(least).unwrap();
        prop_assert!(enough || matches!(said, Verdict::Continue | Verdict::Hold(_)), "{said:?}");
        prop_assert!(seconds >= 60 || said != Verdict::Advance);
    }

    #[test]
    fn more_failures_never_make_it_better(
        stable in any_figures(), canary in any_figures(), more in 1..5000_u64,
    ) {
        let worse = RevisionFigures { failed: canary.failed + more, requests: canary.requests + more, ..canary.clone() };
        let enough = stable.requests.min(canary.requests) >= 100;
        if enough && matches!(judged(&stable, &canary, MINUTE), Verdict::Abort(_)) {
            prop_assert!(matches!(judged(&stable, &worse, MINUTE), Verdict::Abort(_)));
        }
    }
}
