use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{ApiKey, ExternalProvider, ExternalProviderStatus, UpstreamError};

use super::conditions::{Says, current, merge, ours};
use super::model::{engine, scheduled};
use super::pods::PodsView;
use super::upstream::{Asked, BEYOND_THE_PROXY, NamedModel, Upstream, upstream};
use crate::plan::{Applied, ProviderChildren, Revision};
use crate::proxies::Heard;
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

/// The proxy's pods, what they were heard to say, and whom they serve.
#[derive(Clone, Debug, Default)]
pub struct ProviderView {
    /// Pods of every revision.
    pub pods: Vec<Arc<Pod>>,
    /// What each pod that runs said last, by its UID.
    pub heard: HashMap<String, Heard>,
    /// The models that are named at the provider.
    pub models: Vec<NamedModel>,
}

/// The status that `provider` should have.
pub fn provider(
    provider: &ExternalProvider,
    outcome: &ProviderOutcome,
    view: &ProviderView,
    now: Timestamp,
) -> ExternalProviderStatus {
    let old = provider.status.clone().unwrap_or_default();
    let generation = provider.metadata.generation.unwrap_or_default();
    let (says, keys, last_upstream_error) = match outcome {
        ProviderOutcome::Refused(refusal) => {
            let accepted = Says::no(condition::ACCEPTED, refusal.reason, refusal.message.clone());
            let ready = accepted.as_type(condition::READY);
            (vec![accepted, ready], Vec::new(), None)
        }
        ProviderOutcome::Applied { children, revision } => {
            let pods = PodsView::new(&view.pods, Some(revision.as_str()));
            let heard = pods.heard(&view.heard);
            let upstream = heard_of(provider, &heard, &old, &view.models, now);
            let error = match &heard {
                Heard::NotYet => old.last_upstream_error.clone(),
                Heard::Lost => None,
                Heard::Said(state) => state.last_upstream_error.clone(),
            };
            let keys = upstream.keys.clone();
            (applied(children, &pods, provider, upstream), keys, error)
        }
    };
    ExternalProviderStatus {
        observed_generation: Some(generation),
        conditions: merge(&ours(&old.conditions), says, generation, now),
        keys,
        last_upstream_error: last_upstream_error
            .map(|error| settled(error, old.last_upstream_error.as_ref())),
    }
}

/// What the proxy says of the provider. One that was not heard yet is likely as it was, for whoever began to listen was
/// not there before: an operator that starts anew changes no status.
fn heard_of(
    provider: &ExternalProvider,
    heard: &Heard,
    old: &ExternalProviderStatus,
    models: &[NamedModel],
    now: Timestamp,
) -> Upstream {
    let state = match heard {
        Heard::Said(state) => Some(&**state),
        Heard::NotYet | Heard::Lost => None,
    };
    let spec = &provider.spec;
    let asked = Asked {
        keys: spec.api_keys.iter().map(ApiKey::secret_key).collect(),
        region: spec.data_policy.as_ref().and_then(|policy| policy.region.clone()),
        models: models.to_vec(),
    };
    let fresh = upstream(&asked, state, now);
    if *heard != Heard::NotYet {
        return fresh;
    }
    let says = fresh.says.into_iter().map(|says| {
        let before = current(provider, says.type_);
        before.map_or_else(|| says.clone(), |before| Says::again(says.type_, before))
    });
    let dead = match current(provider, condition::READY) {
        Some(ready) if ready.status == "True" => None,
        ready => {
            let beyond = ready.and_then(|ready| {
                let reason = BEYOND_THE_PROXY.into_iter().find(|reason| reason.as_str() == ready.reason)?;
                Some((reason, ready.message.clone()))
            });
            // Who takes an engine down for a provider waits for its proxy's first word, or for it to be mute.
            let unheard = (Reason::Progressing, "the proxy is asked how it stands with the provider".to_owned());
            Some(beyond.unwrap_or(unheard))
        }
    };
    // Keys of another spec are others.
    let keys =
        if old.observed_generation == provider.metadata.generation { old.keys.clone() } else { Vec::new() };
    Upstream { says: says.collect(), dead, keys }
}

/// An error that differs from the last in nothing but its time is the last.
fn settled(error: UpstreamError, last: Option<&UpstreamError>) -> UpstreamError {
    match last {
        Some(last) if (UpstreamError { time: last.time.clone(), ..error.clone() } == *last) => last.clone(),
        Some(_) | None => error,
    }
}

fn applied(
    children: &ProviderChildren<Applied>,
    pods: &PodsView<'_>,
    provider: &ExternalProvider,
    upstream: Upstream,
) -> Vec<Says> {
    let accepted = Says::yes(condition::ACCEPTED, Reason::Valid, "the spec is valid and the keys exist");
    let scheduled = scheduled(1, Some(&children.deployment), pods);
    let mut engine = engine(1, pods.ready(), pods);
    if engine.good() {
        let spec = &provider.spec;
        let whom = spec.base_url.as_deref().unwrap_or(spec.kind.as_str());
        let message = format!("the proxy answers for {whom}");
        engine = Says::yes(condition::ENGINE_READY, Reason::ProxyAnswering, message);
    }
    let Upstream { says: of_upstream, dead, keys: _ } = upstream;
    let ready = match (scheduled.good(), engine.good(), dead) {
        (_, true, None) => {
            Says::yes(condition::READY, Reason::Serving, "the proxy answers and holds the keys")
        }
        (_, true, Some((reason, message))) => Says::no(condition::READY, reason, message),
        (false, false, _) => scheduled.as_type(condition::READY),
        (true, false, _) => engine.as_type(condition::READY),
    };
    [accepted, scheduled, engine].into_iter().chain(of_upstream).chain([ready]).collect()
}
