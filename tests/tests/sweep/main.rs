//! The operator against faults: every write of every scenario, crashed once and with its answer lost once; bugs that are
//! planted, each of which the sweep must find; and the shapes of bugs that other operators had.

mod planted;
mod shapes;

use std::collections::BTreeSet;

use weighbridge_tests::faults::{Bug, Mode, POINTS, Scenario, Sweep, scenarios, sweep};

fn words(sweep: &Sweep) -> String {
    sweep.divergences.iter().map(ToString::to_string).collect()
}

#[test]
fn every_write_may_be_the_last_or_go_unheard() {
    let swept = sweep(&scenarios(), Mode::Bounded, None, "");
    assert!(swept.divergences.is_empty(), "of {} cases:\n{}", swept.cases, words(&swept));
    assert!(swept.missed * 50 <= swept.cases, "{} of {} cases had no occasion", swept.missed, swept.cases);
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

fn named(names: &[&str]) -> Vec<Scenario> {
    scenarios().into_iter().filter(|scenario| names.contains(&scenario.name)).collect()
}

/// The sweep of these scenarios finds `bug`, in these words.
fn finds(bug: Bug, names: &[&str], only: &str, expected: &str) {
    let swept = sweep(&named(names), Mode::Whole(1), Some(bug), only);
    let words = words(&swept);
    assert!(words.contains(expected), "{bug:?} was not found in {} cases:\n{words}", swept.cases);
}
