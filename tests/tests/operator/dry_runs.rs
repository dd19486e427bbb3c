//! What plans make of any model, cache and provider, asked of the apiserver itself: nothing is kept.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Status};
use kube::{Api, Client};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use weighbridge_crds::{CacheEntry, ModelCache};
use weighbridge_operator::plan::{self, Bounds, Images, ObservedCache, Proxies, PullPolicy, plan_offline};
use weighbridge_operator::validate::{self, CacheReferences};
use weighbridge_tests::testbed::{self, TestNamespace};

// What every plan of these holds to without a server is in the operator's own tests.
#[allow(clippy::expect_used)]
#[path = "../../../operator/tests/generated/mod.rs"]
mod generated;

const MODELS: usize = 50;

/// Kinds and components of all that is ever planned but certificates and records.
const EVERYTHING: [&str; 11] = [
    "Deployment engine",
    "Deployment provider-proxy",
    "Job evict",
    "Job fetch",
    "NetworkPolicy cache",
    "NetworkPolicy provider-proxy",
    "PersistentVolumeClaim cache",
    "Pod inspection",
    "ResourceClaimTemplate engine",
    "Service engine",
    "Service provider-proxy",
];

fn images() -> Images {
    Images {
        inference_server: "images.example/inference-server:1".to_owned(),
        gateway: "images.example/gateway:1".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: vec!["registry".to_owned()],
        gateway_namespace: "weighbridge-system".to_owned(),
        operator_namespace: "weighbridge-system".to_owned(),
        bounds: Bounds::default(),
        proxies: Proxies::default(),
    }
}

#[tokio::test]
async fn whatever_a_model_asks_for_the_apiserver_takes_what_is_planned_and_its_pods() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "dry-run").await?;
    // The same models each time.
    let mut runner = TestRunner::deterministic();
    let mut objects = eviction()?;
    for _ in 0..MODELS {
        let tree = generated::model().new_tree(&mut runner).map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let plans = plan_offline(&tree.current(), &images(), &mut |_| Ok(None))?;
        objects.extend(plans.into_iter().flat_map(|plan| plan.objects));
    }
    let mut refused = Vec::new();
    let mut met = BTreeSet::new();
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let component = text(&object["metadata"]["labels"]["app.kubernetes.io/component"]);
        met.insert(format!("{} {component}", text(&object["kind"])));
        for object in [pod_of(&object), Some(object)].into_iter().flatten() {
            if let Err(status) = dry_run(&client, namespace.name(), object.clone()).await? {
                refused.push(format!("{}: {object}", status.message));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert_eq!(met, BTreeSet::from(EVERYTHING.map(str::to_owned)), "what is drawn makes some of each");
    Ok(())
}

/// The Job of a cache that makes room: no file asks for that, and its status does.
fn eviction() -> Result<Vec<Value>> {
    let cache: ModelCache = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelCache",
        "metadata": {"name": "c".repeat(40), "namespace": "n", "uid": "00000000-0000-0000-0000-000000000000"},
        "spec": {"claim": {"name": "weights"}}}))?;
    let entry = |name: &str, state: &str| -> Result<CacheEntry> {
        let entry = json!({"name": name, "source": "hf://org/repo/m.gguf", "state": state});
        Ok(serde_json::from_value(entry)?)
    };
    let recorded = vec![entry("0123456789", "Evicting")?, entry("abcdef0123", "Held")?];
    let observed = ObservedCache { recorded, ..ObservedCache::default() };
    let valid = validate::cache(&cache, &CacheReferences::default())?;
    let plan = plan::cache(&valid, &observed, &images(), Timestamp::UNIX_EPOCH);
    Ok(plan.jobs.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

/// As the controller of a Deployment or a Job would make it.
fn pod_of(object: &Value) -> Option<Value> {
    let template = object.pointer("/spec/template")?;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = object["metadata"]["name"].clone();
    Some(pod)
}

/// What the apiserver says of making an object, with a field that it does not know as an error.
async fn dry_run(client: &Client, namespace: &str, mut object: Value) -> Result<Result<(), Status>> {
    object["metadata"]["namespace"] = json!(namespace);
    let text = |field: &str| object[field].as_str().with_context(|| format!("{field} of {object}"));
    let (group, version) = text("apiVersion")?.split_once('/').unwrap_or(("", text("apiVersion")?));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")?));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let url = format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url());
    let request = http::Request::post(url).header("content-type", "application/json");
    match client.request::<Value>(request.body(serde_json::to_vec(&object)?)?).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => Ok(Err(*status)),
        Err(error) => Err(error.into()),
    }
}
