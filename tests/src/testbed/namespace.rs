//! A namespace of its own for each test, gone afterwards.

use std::thread;

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tracing::warn;

use super::kubelet::{self, Behaviour, Rule};
use super::nodes::{POOL, SimulatedNode};
use super::{record, wait};

/// A fresh namespace under Pod Security "restricted"; deleted, with its nodes, on drop.
pub struct TestNamespace {
    client: Client,
    name: String,
    nodes: Vec<String>,
}

impl TestNamespace {
    /// A namespace named after `hint`, whose pods may run on the shared simulated nodes.
    pub async fn create(client: &Client, hint: &str) -> Result<Self> {
        Self::with_nodes(client, hint, Vec::new()).await
    }

    /// A namespace whose pods run on `nodes` only, which no other namespace may use: for tests that
    /// count GPUs or fill a node.
    pub async fn with_nodes(client: &Client, hint: &str, nodes: Vec<SimulatedNode>) -> Result<Self> {
        record::note()?;
        let labels = json!({
            "pod-security.kubernetes.io/enforce": "restricted",
            "testbed.weighbridge.dev/test": hint,
        });
        let namespace: Namespace = serde_json::from_value(
            json!({"metadata": {"generateName": format!("{hint}-"), "labels": labels}}),
        )?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        let name = created.with_context(|| format!("create a namespace for {hint}"))?.name_any();
        let mut this = Self { client: client.clone(), name, nodes: Vec::new() };
        if !nodes.is_empty() {
            this.annotate(json!({
                "scheduler.alpha.kubernetes.io/node-selector": format!("{POOL}={}", this.name),
                "scheduler.alpha.kubernetes.io/defaultTolerations":
                    json!([{"key": POOL, "value": this.name, "effect": "NoSchedule"}]).to_string(),
            }))
            .await?;
        }
        for node in nodes {
            let node = node.in_pool(&this.name);
            this.nodes.push(node.name().to_owned());
            node.create(client).await?;
        }
        // Pods are refused until the controller-manager has made the account they run as.
        let accounts: Api<ServiceAccount> = this.api();
        wait::until(&accounts, "default", "the namespace's service account", |_| true).await?;
        Ok(this)
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the nodes that are this namespace's own.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// A typed view of the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// From now on every pod on a simulated node fares like this; pods that run already, too.
    pub async fn pods_fare(&self, fare: Behaviour) -> Result<()> {
        self.script(&[Rule { pods: Default::default(), fare }]).await
    }

    /// From now on pods on simulated nodes fare by the first rule that fits them.
    pub async fn script(&self, rules: &[Rule]) -> Result<()> {
        self.annotate(json!({kubelet::ANNOTATION: serde_json::to_string(rules)?})).await
    }

    /// From now on pods on simulated nodes have this address: the test runs their program there.
    pub async fn pods_at(&self, address: std::net::IpAddr) -> Result<()> {
        self.annotate(json!({kubelet::ADDRESS: address.to_string()})).await
    }

    async fn annotate(&self, annotations: serde_json::Value) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        namespaces.patch(&self.name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Deletes the namespace and waits until everything in it is gone.
    pub async fn delete(mut self) -> Result<()> {
        let (name, nodes) = (std::mem::take(&mut self.name), std::mem::take(&mut self.nodes));
        remove(&self.client, &name, &nodes).await?;
        wait::until_gone(&Api::<Namespace>::all(self.client.clone()), &name).await
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let (name, nodes) = (std::mem::take(&mut self.name), std::mem::take(&mut self.nodes));
        if name.is_empty() {
            return;
        }
        // The test's own runtime is the one that is ending, and a client lives on the runtime that
        // made it: hence a thread with a runtime and a client of its own.
        let cleanup = thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { remove(&super::connect(None).await?, &name, &nodes).await })
        });
        match cleanup.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "a test's namespace was left behind"),
            Err(_) => warn!("a test's namespace was left behind"),
        }
    }
}

async fn remove(client: &Client, namespace: &str, nodes: &[String]) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // Pods that were told to linger would hold the namespace for ever.
    let forget = json!({"metadata": {"annotations": {kubelet::ANNOTATION: null}}});
    match namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(forget)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        other => {
            other?;
            namespaces.delete(namespace, &DeleteParams::background()).await?;
        }
    }
    for node in nodes {
        SimulatedNode::delete(client, node).await?;
    }
    Ok(())
}
