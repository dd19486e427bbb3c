//! A simulated kubelet: it speaks for every pod that the scheduler binds to a simulated node.
//!
//! It does what controllers see of a kubelet (statuses and the end of deletions) and nothing more:
//! no process runs and no address answers, unless a test runs the process and says where. What pods do is scripted per
//! namespace, see [`Behaviour`].

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tracing::warn;

use super::nodes::NAME_PREFIX;

mod behaviour;
mod heartbeat;
mod status;

pub use behaviour::{ADDRESS, ANNOTATION, Behaviour, Rule};

/// Runs until its future is dropped.
pub async fn run(client: Client) {
    tokio::join!(speak_for_pods(client.clone()), heartbeat::run(client));
}

async fn speak_for_pods(client: Client) {
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    let controller = Controller::new(Api::<Pod>::all(client.clone()), bound);
    let pods = controller.store();
    let of_namespace = move |namespace: Namespace| {
        let name = namespace.name_any();
        let affected = pods.state().into_iter().filter(move |pod| pod.namespace().as_ref() == Some(&name));
        affected.map(|pod| ObjectRef::from_obj(&*pod)).collect::<Vec<_>>()
    };
    let context = Arc::new(Context { client: client.clone(), addresses: AtomicU32::new(1) });
    controller
        .watches(Api::<Namespace>::all(client), watcher::Config::default(), of_namespace)
        .run(reconcile, retry, context)
        .for_each(|_| ready(()))
        .await;
}

struct Context {
    client: Client,
    addresses: AtomicU32,
}

impl Context {
    fn address(&self, pod: &Pod) -> String {
        if let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) {
            return address;
        }
        let [_, _, high, low] = self.addresses.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        // Beside the range that real nodes hand out, so that no simulated pod is taken for a real one.
        format!("10.245.{high}.{low}")
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the namespace's rules can't be read: {0}")]
    Rules(#[from] serde_json::Error),
}

async fn reconcile(pod: Arc<Pod>, context: Arc<Context>) -> Result<Action, Error> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let name = pod.name_any();
    let namespace = pod.namespace().unwrap_or_default();
    if !node.starts_with(NAME_PREFIX) || finished(&pod) && pod.metadata.deletion_timestamp.is_none() {
        return Ok(Action::await_change());
    }
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let Some(rules) = namespaces.get_opt(&namespace).await? else { return Ok(Action::await_change()) };
    let fare = behaviour::of(&rules, &pod)?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);

    if pod.metadata.deletion_timestamp.is_some() && fare != Behaviour::LingersWhenDeleted {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }
            .preconditions(Preconditions { uid: pod.uid(), resource_version: None });
        ignore_gone(pods.delete(&name, &params).await.map(drop))?;
        return Ok(Action::await_change());
    }
    let address = behaviour::address(&rules).cloned().unwrap_or_else(|| context.address(&pod));
    if let Some(patch) = status::patch(&pod, fare, &address, Timestamp::now()) {
        let params = PatchParams::default();
        ignore_gone(pods.patch_status(&name, &params, &Patch::Strategic(&patch)).await.map(drop))?;
    }
    Ok(Action::await_change())
}

fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A pod that went away, or was replaced by another of its name, needs nothing more.
fn ignore_gone(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other,
    }
}

fn retry(pod: Arc<Pod>, error: &Error, _: Arc<Context>) -> Action {
    warn!(pod = pod.name_any(), %error, "the simulated kubelet tries again");
    Action::requeue(Duration::from_secs(1))
}
