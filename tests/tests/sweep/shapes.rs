//! Ten shapes of bugs that operators had, by the literature on them (Sieve, OSDI '22; Acto, SOSP '23; Anvil, OSDI '24), each
//! tried on ours: it does not have them, and has each as soon as what guards against it is taken out.

use weighbridge_tests::faults::{Bug, Mode, sweep};

use super::planted::{ANEW, OPEN};
use super::{finds, named, words};

/// Ours passes these cases, of which there are some, and no more so without its guard.
fn guarded(without: Bug, scenario: &str, only: &str, expected: &str) {
    let swept = sweep(&named(&[scenario]), (Mode::Whole(1), None, only), 1, |_, _| {});
    assert!(swept.divergences.is_empty(), "{}", words(&swept));
    finds(without, &[scenario], only, expected);
}

/// Those of a past object's children that are live are taken for its successor's: pravega/zookeeper-operator#312.
#[test]
fn b01_nothing_of_another_object_of_the_same_name_is_deleted() {
    guarded(Bug::ChildrenByName, ANEW, "at once: no write, view Fresh, away", "which is not the operator's");
}

/// From 2 to 1 and to 2 again, and a new start that sees the 1: pravega/zookeeper-operator#314.
#[test]
fn b02_an_old_view_scales_nothing_down() {
    guarded(Bug::TrustsTheView, OPEN, "down and up again: no write, view Stale", "and its model asks for 3");
}

/// What is to go waits for what never comes: pravega/zookeeper-operator#513.
#[test]
fn b03_what_is_to_be_replaced_is_not_waited_for() {
    guarded(Bug::NeverDeletes, OPEN, ", mended: Crash at apply-new Deployment", "team/m:Deleted");
}

/// A crash between a deletion and the note of it: the Cassandra operator, by Sieve.
#[test]
fn b04_a_crash_in_the_middle_leaves_nothing_begun() {
    guarded(Bug::LeavesBegun, OPEN, ", mended: Crash at apply-new Deployment", "Deployment team/m-");
}

/// A mistake in the spec, mended, and still in the way: datastax/cass-operator#74.
#[test]
fn b05_a_spec_that_is_mended_recovers_by_itself() {
    guarded(Bug::StaysRefused, OPEN, ", mended again: Crash", "ModelDeployment team/m.status");
}

/// A field that is taken and changes nothing: pravega/zookeeper-operator#517.
#[test]
fn b06_a_field_that_is_set_does_something() {
    let changes_nothing = "the edit changes nothing that the operator makes";
    guarded(Bug::IgnoresWeight, "a field and nothing else", "no such case", changes_nothing);
}

/// Ready, with what it depends on down: openstack-k8s-operators/infra-operator#535.
#[test]
fn b07_ready_is_what_answers() {
    guarded(Bug::SaysReady, "a provider", "no such case", "says that it is ready, and nothing answers");
}

/// A slow writer that always loses against a fast one: Anvil, on fairness.
#[test]
fn b08_who_writes_all_the_time_keeps_nobody_from_writing() {
    guarded(Bug::DemandsVersions, OPEN, ", scaled up: Busy at apply-over Deployment", "Deployment team/m-");
}

/// Secrets take a write that names no version: Anvil, on unconditional updates.
#[test]
fn b09_what_changed_since_it_was_read_is_not_written_over() {
    let changed = "which changed since it was looked at";
    guarded(Bug::SkipsVersions, "certificates", "grow old: Touched at apply-over Secret", changed);
}

/// Children under generated names, and a view that does not show them yet: KubeAI's model controller waits for it.
#[test]
fn b10_a_child_is_made_once_however_late_its_maker_sees_it() {
    guarded(Bug::NamesAtRandom, OPEN, "created: no write, view Coalesced", "it never rests");
}
