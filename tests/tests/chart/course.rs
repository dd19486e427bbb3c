//! The operator at work with what the chart lets its account do, and nothing more.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile, labels};
use weighbridge_tests::operator::Operator;
use weighbridge_tests::testbed::wait::Watched;
use weighbridge_tests::testbed::{TestNamespace, audit, wait};

const SOURCE: &str = "hf://org/repo/file.gguf";

async fn nothing_is_left<K: Watched + Resource<DynamicType = ()>>(client: &Client) -> Result<()> {
    let what = format!("no {}", K::kind(&()));
    wait::until_all(&Api::<K>::all(client.clone()), Config::default(), &what, <[K]>::is_empty).await?;
    Ok(())
}

/// Models, a provider, a cache and an access in a namespace of a team's, from their making to their end.
pub async fn all_becomes_ready(client: &Client, release: &str, account: &str) -> Result<()> {
    // What other tests leave is gone by and by, and whoever works in a namespace that ends is refused.
    nothing_is_left::<ModelDeployment>(client).await?;
    nothing_is_left::<ExternalProvider>(client).await?;
    nothing_is_left::<ModelCache>(client).await?;
    let operator = started(client, release).await?;
    let team = Team { client, namespace: TestNamespace::create(client, "team").await? };
    team.apply::<Secret>("account", json!({"stringData": {"token": "x"}})).await?;
    let provider = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
        "apiKeys": [{"name": "account", "key": "token"}]});
    team.apply::<ExternalProvider>("acme", json!({"spec": provider})).await?;
    team.model("far", json!({"external": {"provider": "acme", "model": "large"}})).await?;
    let key = json!({"name": "notebook", "sha256": format!("sha256:{}", "0".repeat(64))});
    team.apply::<ModelAccess>("apps", json!({"spec": {"keys": [key], "models": ["far", "near"]}})).await?;
    let near = |context: u32| {
        let hub = json!({"tokenSecret": {"name": "account", "key": "token"}});
        json!({"openWeights": {"source": SOURCE, "hub": hub, "engine": {"contextLength": context}}})
    };
    team.model("near", near(64)).await?;
    team.is_ready::<ExternalProvider>("acme").await?;
    for model in ["far", "near"] {
        team.is_ready::<ModelDeployment>(model).await?;
    }
    team.is_ready::<ModelAccess>("apps").await?;

    // Another revision: the old one is recorded and taken down. Then nothing serves any more.
    let old = team.deployments("near").await?;
    team.model("near", near(128)).await?;
    wait::until_gone(&team.api::<Deployment>(), old.first().context("a Deployment")?).await?;
    team.is_ready::<ModelDeployment>("near").await?;
    team.reads_a_header().await?;
    team.is_served_from_a_cache().await?;
    for model in ["near", "held"] {
        let name = team.deployments(model).await?.pop().context("a Deployment")?;
        team.api::<ModelDeployment>().delete(model, &DeleteParams::default()).await?;
        wait::until_gone(&team.api::<Deployment>(), &name).await?;
    }

    let writes = audit::writes(team.namespace.name())?;
    ensure!(writes.iter().any(|write| write.user.username == account), "nothing was written as {account}");
    let said = operator.said();
    let refused: Vec<&str> = said.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refused.is_empty(), "refused to {account}: {refused:#?}");
    let failed = operator.count("weighbridge_reconcile_api_writes_total", &["outcome=\"error\""]).await?;
    ensure!(failed == 0.0, "{failed} writes failed: {said}");
    let broken = operator.count("weighbridge_reconcile_watch_errors_total", &[]).await?;
    ensure!(broken == 0.0, "{broken} watches failed: {said}");
    Ok(())
}

/// The operator, with the flags that the chart gives it and the rights of its account.
pub(super) async fn started(client: &Client, release: &str) -> Result<Operator> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), release);
    let chart = deployments.get(&format!("{release}-weighbridge-operator")).await?;
    let pod = chart.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let flags = pod.containers.first().and_then(|container| container.args.clone()).unwrap_or_default();
    // The harness sets these itself.
    let ours = ["--metrics-listen=", "--inference-server-image=", "--gateway-image="];
    let flags = flags.into_iter().filter(|flag| !ours.iter().any(|ours| flag.starts_with(ours)));
    let program = Path::new(env!("CARGO_BIN_EXE_operator-under-test"));
    let name = format!("{release}-weighbridge-operator");
    Operator::start_as(program, client, (release, &name), "real", flags).await
}

/// A namespace that people work in, as its administrators see it.
pub(super) struct Team<'a> {
    pub client: &'a Client,
    pub namespace: TestNamespace,
}

impl Team<'_> {
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        self.namespace.api()
    }

    pub async fn apply<K>(&self, name: &str, object: Value) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        applied(&self.api::<K>(), name, object).await
    }

    pub async fn model(&self, name: &str, spec: Value) -> Result<()> {
        self.apply::<ModelDeployment>(name, json!({"spec": spec})).await
    }

    pub async fn is_ready<K>(&self, name: &str) -> Result<()>
    where
        K: Watched + Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        let what = format!("{name} to be ready");
        wait::until(&self.api::<K>(), name, &what, is_ready).await.map(drop)
    }

    async fn deployments(&self, model: &str) -> Result<Vec<String>> {
        let of_model = ListParams::default().labels(&format!("{}={model}", labels::MODEL));
        let found = self.api::<Deployment>().list(&of_model).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    }

    /// A pod of its own is made, and goes with what asked for it.
    async fn reads_a_header(&self) -> Result<()> {
        let profile = self.owned_by_the_namespace(json!({"spec": {"cpu": "1", "memory": "1Gi",
            "gpu": {"memory": "24Gi"}}}));
        let name = self.namespace.name();
        applied(&Api::<ResourceProfile>::all(self.client.clone()), name, profile.await?).await?;
        let resources = json!({"profile": name, "gpus": "auto"});
        self.model("unread", json!({"openWeights": {"source": SOURCE, "resources": resources}})).await?;
        let of_model = Config::default().labels(&format!("{}=unread", labels::INSPECTED));
        let there = |pods: &[Pod]| pods.len() == 1;
        wait::until_all(&self.api(), of_model.clone(), "a pod that reads", there).await?;
        let elsewhere = json!({"external": {"provider": "acme", "model": "large"}});
        self.model("unread", elsewhere).await?;
        wait::until_all(&self.api(), of_model, "no pod that reads", <[Pod]>::is_empty).await.map(drop)
    }

    /// A claim, and a Job that fetches.
    async fn is_served_from_a_cache(&self) -> Result<()> {
        let name = self.namespace.name();
        let volume = json!({"spec": {"capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteMany"],
            "storageClassName": name, "hostPath": {"path": "/nowhere"}}});
        let volume = self.owned_by_the_namespace(volume).await?;
        applied(&Api::<PersistentVolume>::all(self.client.clone()), name, volume).await?;
        let claim = json!({"size": "10Gi", "storageClassName": name});
        self.apply::<ModelCache>("store", json!({"spec": {"claim": claim}})).await?;
        self.model("held", json!({"openWeights": {"source": SOURCE, "cache": "store"}})).await?;
        let runs =
            |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
        let fetching = Config::default().labels("app.kubernetes.io/component=fetch");
        let pods: Api<Pod> = self.api();
        let found =
            wait::until_all(&pods, fetching, "a pod that fetches", |pods| pods.iter().any(runs)).await?;
        self.has_fetched(found.iter().find(|pod| runs(pod)).context("it was there")?).await?;
        self.is_ready::<ModelCache>("store").await?;
        self.is_ready::<ModelDeployment>("held").await
    }

    /// As a kubelet tells it.
    async fn has_fetched(&self, pod: &Pod) -> Result<()> {
        let mut status = serde_json::to_value(&pod.status)?;
        let words =
            json!({"digest": format!("sha256:{}", "0".repeat(64)), "bytes": 700, "fetchedBytes": 700});
        status["phase"] = json!("Succeeded");
        status["containerStatuses"][0]["state"] =
            json!({"terminated": {"exitCode": 0, "message": words.to_string()}});
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"].as_str().is_some_and(|type_| type_.ends_with("Ready")) {
                condition["status"] = json!("False");
            }
        }
        let patch = Patch::Merge(json!({"status": status}));
        self.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// `object`, which is the cluster's, goes with the namespace.
    async fn owned_by_the_namespace(&self, mut object: Value) -> Result<Value> {
        let name = self.namespace.name();
        let namespace = Api::<Namespace>::all(self.client.clone()).get(name).await?;
        object["metadata"] = json!({"ownerReferences":
            [{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": namespace.uid()}]});
        Ok(object)
    }
}

/// Whether `Ready` speaks of the present spec and is true.
fn is_ready(object: &impl Serialize) -> bool {
    let object = serde_json::to_value(object).unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "True"
            && condition["observedGeneration"] == object["metadata"]["generation"]
    })
}

async fn applied<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"]["name"] = json!(name);
    api.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(object)).await?;
    Ok(())
}
