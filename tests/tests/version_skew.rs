//! An operator beside the CRDs of a later version, whose objects it can't all read.
//!
//! The definitions of a cluster are one for all who use it, so that this test is a program of its own.

#[allow(dead_code)]
#[path = "operator/harness.rs"]
mod harness;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use serde_json::{Value, json};
use weighbridge_crds::ExternalProvider;
use weighbridge_tests::testbed::wait;

use harness::{Bench, apply, operator};

/// The definition of `plural`, with its schema changed.
async fn changed(client: &Client, plural: &str, change: fn(&mut Value)) -> Result<()> {
    let name = format!("{plural}.serving.weighbridge.dev");
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/manifests");
    let text = std::fs::read_to_string(manifests.join(format!("{name}.yaml")))?;
    let mut definition: Value = serde_saphyr::from_str(&text)?;
    change(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    definitions.patch(&name, &PatchParams::apply("testbed").force(), &Patch::Apply(definition)).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_later_version_wrote_is_told_on_the_object_and_left_as_it_is() -> Result<()> {
    let bench = Bench::new("later").await?;
    let checked = of_a_later_version(&bench).await;
    changed(&bench.client, "externalproviders", |_| {}).await?;
    checked
}

async fn of_a_later_version(bench: &Bench) -> Result<()> {
    apply(&bench.api::<Secret>(), "account", json!({"stringData": {"token": "x"}})).await?;
    let spec = |kind: &str| {
        json!({"kind": kind, "baseURL": "https://api.example.com/v1",
            "apiKeys": [{"name": "account", "key": "token"}]})
    };
    bench.provider("acme", spec("OpenAICompatible")).await?;
    bench.provider_says("acme", "Ready", "is True", |condition| condition.status == "True").await?;
    // A watch that is open while a definition changes goes on with the old one for a while: who looks begins after it.
    bench.operator.signal("TERM").await?;
    changed(&bench.client, "externalproviders", |schema| {
        if let Some(kinds) = schema["spec"]["properties"]["kind"]["enum"].as_array_mut() {
            kinds.push(json!("Telepathy"));
        }
    })
    .await?;
    let resource = ApiResource::erase::<ExternalProvider>(&());
    let namespace = bench.namespace.name();
    let providers: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), namespace, &resource);
    let written = json!({"apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": {"name": "acme"}, "spec": spec("Telepathy")});
    let params = PatchParams::apply("kubectl").force();
    // The apiserver goes by a definition a moment after it took it.
    let began = Instant::now();
    while let Err(error) = providers.patch("acme", &params, &Patch::Apply(&written)).await {
        ensure!(began.elapsed() < wait::DEADLINE, "{error}");
    }
    let fresh = operator(namespace, "fresh").await?;
    told_by(bench, "fresh").await?;
    let counted = fresh.count("weighbridge_reconcile_malformed_objects_total", &[]).await?;
    ensure!(counted > 0.0, "it is not counted");
    // It takes nothing away of what it can't see the owner of.
    bench.model("m", json!({"external": {"provider": "acme", "model": "large"}})).await?;
    let not_found = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.reason == "ProviderNotFound"
    };
    bench.model_says("m", "Accepted", "nobody that it knows", not_found).await?;
    let proxy = bench.api::<Deployment>().get_opt("acme-proxy").await?.context("the proxy is gone")?;
    ensure!(proxy.metadata.deletion_timestamp.is_none());
    // What it can read again it works with again.
    bench.provider("acme", spec("OpenAICompatible")).await?;
    bench.model_is_ready("m").await?;
    drop(fresh);
    Ok(())
}

/// An Event on the provider, by this operator, with the word that it does not know.
async fn told_by(bench: &Bench, identity: &'static str) -> Result<()> {
    let told = move |events: &[Event]| {
        events.iter().any(|event| {
            let words = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("Unreadable")
                && event.reporting_instance.as_deref() == Some(identity)
                && event.involved_object.name.as_deref() == Some("acme")
                && words.contains("Telepathy")
                && words.contains("update the operator")
        })
    };
    wait::until_all(&bench.api(), Config::default(), "an Event on what can't be read", told).await.map(drop)
}
