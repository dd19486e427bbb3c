//! Closed APIs: the one proxy, the key that only it mounts, and the swap of worlds.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod, PodSpec, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::testbed::wait;

use super::harness::{Bench, SOURCE, apply};

const CANARY: &str = "sk-canary-4711";

async fn secret(bench: &Bench, key: &str) -> Result<()> {
    let api: Api<Secret> = bench.api();
    apply(&api, "account", json!({"stringData": {key: CANARY}})).await?;
    Ok(())
}

async fn provider(bench: &Bench) -> Result<ExternalProvider> {
    let spec = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
        "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", spec).await
}

#[tokio::test]
async fn a_missing_key_is_named_and_no_pod_is_made_until_it_is_there() -> Result<()> {
    let bench = Bench::new("key").await?;
    provider(&bench).await?;
    bench
        .provider_says("acme", "Accepted", "names the Secret", |condition| {
            condition.reason == "SecretNotFound"
                && condition.message.contains("\"account\"")
                && condition.message.contains("\"token\"")
        })
        .await?;
    secret(&bench, "other").await?;
    bench
        .provider_says("acme", "Ready", "names the key", |condition| {
            condition.reason == "SecretNotFound" && condition.message.contains("does not have")
        })
        .await?;
    for children in [
        bench.api::<Deployment>().list(&ListParams::default()).await?.items.len(),
        bench.api::<Service>().list(&ListParams::default()).await?.items.len(),
        bench.api::<NetworkPolicy>().list(&ListParams::default()).await?.items.len(),
    ] {
        assert_eq!(children, 0, "nothing is half made");
    }
    secret(&bench, "token").await?;
    bench.provider_says("acme", "Ready", "by itself", |condition| condition.status == "True").await?;
    Ok(())
}

#[tokio::test]
async fn each_missing_key_of_several_is_named_and_all_are_mounted() -> Result<()> {
    let bench = Bench::new("keys").await?;
    secret(&bench, "token").await?;
    let spec = json!({"kind": "Anthropic", "apiKeys": [{"name": "account", "key": "token"},
        {"name": "other", "key": "spare", "weight": 7}]});
    bench.provider("acme", spec).await?;
    let names = |wanted: &'static [&'static str]| {
        move |condition: &Condition| {
            condition.reason == "SecretNotFound" && wanted.iter().all(|word| condition.message.contains(word))
        }
    };
    bench.provider_says("acme", "Accepted", "names the Secret", names(&["apiKeys[1]", "\"other\""])).await?;
    let secrets: Api<Secret> = bench.api();
    apply(&secrets, "other", json!({"stringData": {"wrong": CANARY}})).await?;
    bench.provider_says("acme", "Accepted", "names the key", names(&["apiKeys[1]", "\"spare\""])).await?;
    assert!(bench.api::<Deployment>().list(&ListParams::default()).await?.items.is_empty());
    apply(&secrets, "other", json!({"stringData": {"wrong": CANARY, "spare": CANARY}})).await?;
    bench.provider_says("acme", "Ready", "by itself", |condition| condition.status == "True").await?;

    let deployment = bench.api::<Deployment>().get("acme-proxy").await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let arguments = pod.containers[0].args.clone().unwrap_or_default();
    let folder = "/var/run/secrets/weighbridge/provider";
    for argument in [
        "--kind=Anthropic".to_owned(),
        format!("--key-file={folder}/0=1"),
        format!("--key-file={folder}/1=7"),
    ] {
        assert!(arguments.contains(&argument), "{argument} is not in {arguments:?}");
    }
    assert_eq!(
        mounted(&pod),
        [
            ("account".to_owned(), "token".to_owned(), "0".to_owned()),
            ("other".to_owned(), "spare".to_owned(), "1".to_owned())
        ]
    );
    Ok(())
}

/// Secret, key and file of everything that `pod` mounts of Secrets.
fn mounted(pod: &PodSpec) -> Vec<(String, String, String)> {
    let volumes = pod.volumes.iter().flatten();
    let whole = volumes.clone().filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref());
    assert_eq!(whole.collect::<Vec<_>>(), ["acme-proxy-certificate"], "of others only the named keys");
    let sources = volumes.filter_map(|volume| volume.projected.as_ref()?.sources.as_ref()).flatten();
    let secrets = sources.filter_map(|source| source.secret.as_ref());
    let files = secrets.flat_map(|secret| {
        assert!(secret.items.is_some(), "without a list all keys are mounted");
        secret.items.iter().flatten().map(|item| (secret.name.clone(), item.key.clone(), item.path.clone()))
    });
    files.collect()
}

#[tokio::test]
async fn one_proxy_serves_every_model_and_alone_holds_the_key() -> Result<()> {
    let bench = Bench::new("proxy").await?;
    secret(&bench, "token").await?;
    for name in ["one", "two"] {
        bench.model(name, json!({"external": {"provider": "acme", "model": "large"}})).await?;
        bench
            .model_says(name, "Accepted", "no provider yet", |condition| {
                condition.reason == "ProviderNotFound"
            })
            .await?;
    }
    provider(&bench).await?;
    for name in ["one", "two"] {
        let model = bench.model_is_ready(name).await?;
        let served = model.status.and_then(|status| status.served).context("what answers")?;
        assert_eq!((served.backend.as_str(), served.model.as_str()), ("Closed", "acme/large"));
    }
    let pods = bench.api::<Pod>().list(&ListParams::default()).await?.items;
    assert_eq!(pods.len(), 1, "external models own no pods");
    let pod = pods[0].spec.as_ref().context("a pod")?;
    assert_eq!(mounted(pod), [("account".to_owned(), "token".to_owned(), "0".to_owned())]);
    assert!(bench.api::<NetworkPolicy>().get("acme-proxy").await?.spec.is_some());

    // The value is nowhere but in its Secret.
    let mut everything = String::new();
    everything += &serde_json::to_string(&bench.api::<Deployment>().list(&ListParams::default()).await?)?;
    everything += &serde_json::to_string(&pods)?;
    everything += &serde_json::to_string(&bench.api::<Event>().list(&ListParams::default()).await?)?;
    everything +=
        &serde_json::to_string(&bench.api::<ModelDeployment>().list(&ListParams::default()).await?)?;
    everything +=
        &serde_json::to_string(&bench.api::<ExternalProvider>().list(&ListParams::default()).await?)?;
    everything += &bench.operator.said();
    assert!(!everything.contains(CANARY), "the key leaked");

    // Without its proxy a model is not ready, and says whose fault it is.
    bench.namespace.pods_fare(weighbridge_tests::testbed::Behaviour::NeverReady).await?;
    bench
        .model_says("one", "Ready", "the proxy is not ready", |condition| {
            condition.reason == "ProxyNotReady" && condition.message.contains("acme")
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_swap_of_worlds_takes_the_engine_down_when_the_proxy_answers() -> Result<()> {
    let bench = Bench::new("swap").await?;
    let both = |serve: &str| json!({"serve": serve, "openWeights": {"source": SOURCE}, "external": {"provider": "acme", "model": "large"}});
    secret(&bench, "token").await?;
    provider(&bench).await?;
    bench.model("m", both("OpenWeights")).await?;
    let open = bench.model_is_ready("m").await?.status.context("a status")?;
    let engine = format!("m-{}", open.revision.unwrap_or_default());
    bench.model("m", both("External")).await?;
    bench.model_is_ready("m").await?;
    wait::until_gone(&bench.api::<Deployment>(), &engine).await?;
    wait::until_gone(&bench.api::<Service>(), "m-engine").await?;
    let closed = wait::until(
        &bench.api::<ModelDeployment>(),
        "m",
        "no pods are counted",
        |model: &ModelDeployment| model.status.as_ref().is_some_and(|status| status.replicas == 0),
    )
    .await?;
    assert_eq!(
        closed.status.and_then(|status| status.served).map(|served| served.backend),
        Some("Closed".to_owned())
    );
    bench.model("m", both("OpenWeights")).await?;
    bench.model_is_ready("m").await?;
    assert!(bench.api::<Deployment>().get_opt(&engine).await?.is_some(), "the same revision again");

    bench.api::<ExternalProvider>().delete("acme", &DeleteParams::default()).await?;
    for gone in ["Deployment", "Service", "NetworkPolicy"] {
        match gone {
            "Deployment" => wait::until_gone(&bench.api::<Deployment>(), "acme-proxy").await?,
            "Service" => wait::until_gone(&bench.api::<Service>(), "acme-proxy").await?,
            _ => wait::until_gone(&bench.api::<NetworkPolicy>(), "acme-proxy").await?,
        }
    }
    bench
        .model_says("m", "Accepted", "its other arm names nobody", |condition| {
            condition.reason == "ProviderNotFound"
        })
        .await?;
    assert!(bench.api::<Deployment>().get_opt(&engine).await?.is_some(), "what answers is not taken down");
    Ok(())
}
