//! Bugs that are planted, each of which the sweep must find.

use weighbridge_tests::faults::Bug;

use super::finds;

pub const OPEN: &str = "a model of open weights";
pub const ANEW: &str = "a model made anew under its name";

#[test]
fn a_deletion_by_name_is_found() {
    finds(Bug::DeletesByName, &[OPEN], "Replaced at delete", "and had looked at");
}

#[test]
fn a_deletion_without_a_version_is_found() {
    finds(Bug::DeletesUnguarded, &[OPEN], "Touched at delete", "which changed since it was looked at");
}

#[test]
fn a_status_before_its_write_is_found() {
    finds(Bug::StatusFirst, &[OPEN], "no such case", "which is not there");
}

#[test]
fn children_told_by_their_parents_name_are_found() {
    finds(Bug::ChildrenByName, &[ANEW], "at once: no write, view Fresh, away", "which is not the operator's");
}

#[test]
fn writes_without_a_version_are_found() {
    finds(
        Bug::SkipsVersions,
        &["certificates"],
        "grow old: Touched at apply-over Secret",
        "which changed since it was looked at",
    );
}

#[test]
fn a_forgotten_field_is_found() {
    finds(Bug::ForgetsField, &[OPEN], "no such case", "revisionHistoryLimit");
}

#[test]
fn writes_at_rest_are_found() {
    // What the server keeps otherwise than asked is not asked for again, but by a process that starts anew.
    finds(Bug::WritesAtRest, &[OPEN], "no such case", "a new start wrote at rest");
}

#[test]
fn a_lost_try_is_found() {
    finds(
        Bug::LosesRequeue,
        &[OPEN],
        "Refused(500) at patch ModelDeployment/status",
        // What was lost is not there, or written at rest where a second has passed since.
        "at patch ModelDeployment/status team/m",
    );
}

#[test]
fn taking_by_force_is_found() {
    finds(Bug::TakesByForce, &[OPEN], "Replaced at apply-new", "without a look at it");
}

#[test]
fn adopting_what_is_somebody_elses_is_found() {
    finds(Bug::AdoptsForeign, &["a Service of somebody else"], "no such case", "which is not the operator's");
}

#[test]
fn a_scale_down_by_an_old_view_is_found() {
    finds(Bug::TrustsTheView, &[OPEN], "down and up again: no write, view Stale", "and its model asks for 3");
}

#[test]
fn deletions_that_are_never_sent_are_found() {
    finds(Bug::NeverDeletes, &[OPEN], "no such case", "written at rest: patch Event team/m:Deleted");
}

#[test]
fn deletions_that_are_never_heard_of_are_found() {
    finds(Bug::DeafToDeletions, &["children that somebody changes"], "no such case", "Service team/m-engine");
}

#[test]
fn children_without_an_owner_are_found() {
    finds(Bug::DisownsChildren, &[OPEN], "no such case", "a new start wrote at rest");
}
