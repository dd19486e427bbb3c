//! The operator against faults: every write of every scenario, crashed once and with its answer lost once; bugs that are
//! planted, each of which the sweep must find; and the shapes of bugs that other operators had.

mod planted;
mod shapes;

use std::collections::BTreeSet;

use weighbridge_tests::faults::{Bug, Mode, POINTS, Scenario, Sweep, installed, scenarios, sweep};

fn words(sweep: &Sweep) -> String {
    sweep.divergences.iter().map(ToString::to_string).collect()
}

#[test]
fn every_write_may_be_the_last_or_go_unheard() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let swept = sweep(&scenarios(), (Mode::Bounded, None, ""), threads, |_, _| {});
    assert!(swept.divergences.is_empty(), "of {} cases:\n{}", swept.cases, words(&swept));
    assert!(swept.missed * 50 <= swept.cases, "{} of {} cases had no occasion", swept.missed, swept.cases);
    // Every class of faults, and every way of writing, had its turn.
    let faults = "Busy Coalesced Crash Dropped Late Lost Never Refused(409) Refused(429) Refused(500) Refused(503) Reordered \
                  Replaced Stale Touched noise";
    let met: Vec<_> = swept.faults.iter().map(String::as_str).collect();
    assert_eq!(met.join(" "), faults);
    let known: BTreeSet<String> = POINTS.iter().map(|point| (*point).to_owned()).collect();
    let (new, unmet) = (swept.points.difference(&known), known.difference(&swept.points));
    assert_eq!(
        swept.points,
        known,
        "new: {:?}, never met: {:?}",
        new.collect::<Vec<_>>(),
        unmet.collect::<Vec<_>>()
    );
}

#[test]
fn a_model_takes_six_writes_from_apply_to_ready() {
    let (start, _) = installed(None).unwrap();
    let model = named(&["a model of open weights"]).pop().unwrap();
    let mut sweep = Sweep::default();
    let writes = sweep.course(&model, &start, None).writes("created");
    assert!(sweep.divergences.is_empty(), "{}", words(&sweep));
    assert!(!writes.is_empty() && writes.len() <= 6, "{writes:#?}");
}

fn named(names: &[&str]) -> Vec<Scenario> {
    scenarios().into_iter().filter(|scenario| names.contains(&scenario.name)).collect()
}

/// The sweep of these scenarios finds `bug`, in these words.
fn finds(bug: Bug, names: &[&str], only: &str, expected: &str) {
    let swept = sweep(&named(names), (Mode::Whole(1), Some(bug), only), 1, |_, _| {});
    let words = words(&swept);
    assert!(words.contains(expected), "{bug:?} was not found in {} cases:\n{words}", swept.cases);
}
