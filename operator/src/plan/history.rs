//! Revisions that are over, kept as ControllerRevisions: what brings one back is its part of the spec, which the spec itself
//! does not hold any more.
//!
//! Each Deployment carries its part of the spec with it, so that nothing more is written before there is a second revision.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::Value;
use weighbridge_crds::{labels, newest_first};

use super::model::removal;
use super::{ChildKind, Decision, Guard, ObservedModel, Removal, names};
use crate::owner::Owner;

/// Past revisions kept of each model: as many as Kubernetes keeps of a Deployment.
const KEPT: usize = 10;

/// What is asked for now.
pub(super) struct Asked<'a> {
    /// The Deployment of its revision; none where a closed API is asked for, or nothing that can be served.
    pub deployment: Option<&'a str>,
    /// Whether that may be made already.
    pub may_come: bool,
    /// The part of the spec that makes it: what the spec still says is no history, whatever else has changed.
    pub made_from: Option<&'a str>,
}

/// What is to be remembered and forgotten.
pub(super) struct History {
    /// Revisions to be recorded.
    pub records: Vec<ControllerRevision>,
    /// Records that go.
    pub removals: Vec<Removal>,
}

/// Records what is there of other specs and has no record yet, and forgets what is there again and the oldest above [`KEPT`].
pub(super) fn history(
    owner: &Owner,
    asked: &Asked<'_>,
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
) -> History {
    let Asked { deployment, may_come, made_from } = *asked;
    let others = observed.deployments.iter().filter(|old| deployment != Some(&*old.name_any()));
    let past: Vec<_> = others
        .filter(|old| old.annotations().get(labels::MADE_FROM).map(String::as_str) != made_from)
        // What was only on trial never ran.
        .filter(|old| !old.annotations().contains_key(labels::CANARY_OF))
        .collect();
    let there: BTreeSet<String> = observed.history.iter().map(|record| record.name_any()).collect();
    let new = past.iter().filter(|old| !there.contains(&old.name_any()));
    let records: Vec<_> = new.filter_map(|old| record(owner, old)).collect();
    for record in &records {
        decisions.push(Decision::new(
            format!("ControllerRevision {}", record.name_any()),
            "another revision is asked for: what this one was made from is kept, to be brought back",
        ));
    }
    let mut kept = observed.history.clone();
    newest_first(&mut kept);
    let (again, kept): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|record| may_come && deployment == Some(&*record.name_any()));
    // What still has a Deployment would be recorded again.
    let is_over = |record: &&Arc<ControllerRevision>| {
        past.iter().all(|deployment| deployment.name_any() != record.name_any())
    };
    let old = kept.iter().skip(KEPT.saturating_sub(records.len())).filter(is_over);
    let why_old = format!("{KEPT} past revisions are kept");
    let forget = |record: &Arc<ControllerRevision>, why: &str| {
        removal(ChildKind::ControllerRevision, &**record, Guard::SpecOnly, why.to_owned())
    };
    let again = again.iter().filter_map(|record| forget(record, "it is what the spec asks for again"));
    let removals = again.chain(old.filter_map(|record| forget(record, &why_old))).collect();
    History { records, removals }
}

/// The record of what `old` was made from; none where an operator made it that said nothing of that.
fn record(owner: &Owner, old: &Deployment) -> Option<ControllerRevision> {
    let made_from = old.annotations().get(labels::MADE_FROM)?;
    let data: Value = serde_json::from_str(made_from).ok()?;
    let mut labels = names::model_labels(owner);
    labels.insert(labels::REVISION.to_owned(), old.labels().get(labels::REVISION)?.clone());
    Some(ControllerRevision {
        metadata: names::child(owner, old.name_any(), labels),
        data: Some(RawExtension(data)),
        // The spec that took its place: each one's is later than that of the one before.
        revision: owner.generation(),
    })
}
