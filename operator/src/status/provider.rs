use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{ExternalProvider, ExternalProviderStatus};

use super::conditions::{Says, merge, ours};
use super::model::{engine, scheduled};
use super::pods::PodsView;
use crate::plan::{Applied, ProviderChildren, Revision};
use crate::validate::Refusal;

/// How far reconcile came with an ExternalProvider.
pub enum ProviderOutcome {
    /// The spec can't be served, or a child can't be made.
    Refused(Refusal),
    /// Everything planned is so.
    Applied {
        /// What the server echoed.
        children: Box<ProviderChildren<Applied>>,
        /// Revision of the proxy's pod.
        revision: Revision,
    },
}

/// The status that `provider` should have.
pub fn provider(
    provider: &ExternalProvider,
    outcome: &ProviderOutcome,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> ExternalProviderStatus {
    let old = provider.status.clone().unwrap_or_default();
    let generation = provider.metadata.generation.unwrap_or_default();
    let says = match outcome {
        ProviderOutcome::Refused(refusal) => {
            let accepted = Says::no(condition::ACCEPTED, refusal.reason, refusal.message.clone());
            let ready = accepted.as_type(condition::READY);
            vec![accepted, ready]
        }
        ProviderOutcome::Applied { children, revision } => {
            applied(children, &PodsView::new(pods, Some(revision.as_str())), provider)
        }
    };
    ExternalProviderStatus {
        observed_generation: Some(generation),
        conditions: merge(&ours(&old.conditions), says, generation, now),
    }
}

fn applied(
    children: &ProviderChildren<Applied>,
    view: &PodsView<'_>,
    provider: &ExternalProvider,
) -> Vec<Says> {
    let accepted = Says::yes(condition::ACCEPTED, Reason::Valid, "the spec is valid and the keys exist");
    let scheduled = scheduled(1, Some(&children.deployment), view);
    let mut engine = engine(1, view.ready(), view);
    if engine.good {
        let spec = &provider.spec;
        let whom = spec.base_url.as_deref().unwrap_or(spec.kind.as_str());
        let message = format!("the proxy answers for {whom}");
        engine = Says::yes(condition::ENGINE_READY, Reason::ProxyAnswering, message);
    }
    let ready = match (scheduled.good, engine.good) {
        (_, true) => Says::yes(condition::READY, Reason::Serving, "the proxy answers and holds the keys"),
        (false, false) => scheduled.as_type(condition::READY),
        (true, false) => engine.as_type(condition::READY),
    };
    vec![accepted, scheduled, engine, ready]
}
