//! What an ExternalProvider says of its account. The proxy is real and runs where its simulated pod is said to be; the
//! provider behind it is simulated.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weighbridge_crds::{ExternalProvider, KeyCondition, ModelDeployment, labels};
use weighbridge_gateway::cli::{Cli, Role};
use weighbridge_gateway::{Listeners, ServeError, Shutdown, serve_proxy};
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::wait;

use super::harness::{Bench, apply};

const DEAD: &str = "sk-canary-dead-1618";
const GOOD: &str = "sk-canary-good-3141";
const KEYS: &str = "/var/run/secrets/weighbridge/provider";

/// A proxy as its pod would run it; it ends when dropped.
struct Proxy {
    shutdown: Shutdown,
    _task: JoinHandle<Result<(), ServeError>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shutdown.abort();
    }
}

/// Runs the program that `deployment` asks for, at `address`, with the kubelet's files in `folder`.
async fn run(deployment: &Deployment, address: IpAddr, folder: &Path) -> Result<Proxy> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("a pod")?;
    let arguments = pod.containers[0].args.clone().unwrap_or_default();
    let here = folder.to_str().context("a path")?;
    let arguments = arguments.iter().map(|argument| argument.replace(KEYS, here));
    let cli = Cli::try_parse_from(std::iter::once("weighbridge-gateway".to_owned()).chain(arguments))?;
    let Role::Proxy(arguments) = cli.role else { anyhow::bail!("the pod runs no proxy") };
    let public = TcpListener::bind(SocketAddr::new(address, labels::SERVING_PORT)).await?;
    let admin = TcpListener::bind(SocketAddr::new(address, labels::ADMIN_PORT)).await?;
    let shutdown = Shutdown::new();
    let listeners = Listeners { public, tls: None, admin: Some(admin) };
    let task = tokio::spawn(serve_proxy(arguments.config(), listeners, shutdown.clone()));
    Ok(Proxy { shutdown, _task: task })
}

/// Puts what the Secret holds into the file that the pod mounts, as the kubelet does: a new file takes the name.
async fn project(bench: &Bench, folder: &Path) -> Result<()> {
    let secret: Secret = bench.api().get("account").await?;
    let value = secret.data.as_ref().and_then(|data| data.get("token")).context("a value")?;
    std::fs::write(folder.join("next"), &value.0)?;
    std::fs::rename(folder.join("next"), folder.join("0"))?;
    Ok(())
}

async fn secret(bench: &Bench, key: &str) -> Result<()> {
    let api: Api<Secret> = bench.api();
    apply(&api, "account", json!({"stringData": {"token": key}})).await?;
    Ok(())
}

/// An address of this machine that no other test has: the whole of 127/8 is loopback.
fn address() -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(64);
    let test = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Ipv4Addr::new(127, test, high, low).into()
}

#[tokio::test]
async fn dead_credentials_are_told_and_a_rotated_secret_mends_them_without_a_restart() -> Result<()> {
    let bench = Bench::new("credentials").await?;
    let address = address();
    bench.namespace.pods_at(address).await?;
    let simulator = Simulator::start().await?;
    simulator.take(&[GOOD]);
    secret(&bench, DEAD).await?;
    let spec = json!({"kind": "Anthropic", "baseURL": format!("http://{}", simulator.address()),
        "allowPrivate": true, "dataPolicy": {"region": "us"}, "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", spec).await?;
    bench.model("m", json!({"external": {"provider": "acme", "model": "faithful"}})).await?;

    let folder = tempfile::tempdir()?;
    project(&bench, folder.path()).await?;
    let deployment = wait::until(&bench.api::<Deployment>(), "acme-proxy", "the proxy's", |_| true).await?;
    let _proxy = run(&deployment, address, folder.path()).await?;

    let provider = bench
        .provider_says("acme", "CredentialsValid", "the key is dead", |condition| {
            condition.status == "False"
                && condition.reason == "CredentialsInvalid"
                && condition.message.contains("apiKeys[0] (key \"token\" of Secret \"account\")")
        })
        .await?;
    bench
        .provider_says("acme", "Ready", "no call can be answered", |condition| {
            condition.status == "False" && condition.reason == "CredentialsInvalid"
        })
        .await?;
    let status = provider.status.context("a status")?;
    assert_eq!(status.keys.iter().map(|key| key.state).collect::<Vec<_>>(), [KeyCondition::Refused]);
    assert_eq!((status.keys[0].name.as_str(), status.keys[0].key.as_str()), ("account", "token"));
    let error = status.last_upstream_error.context("an error")?;
    assert_eq!((error.status, error.class.as_str()), (Some(401), "credential"));
    assert_eq!(error.message, "the provider said: invalid x-api-key");
    for type_ in ["Healthy", "Ready"] {
        bench
            .model_says("m", type_, "as its provider", |condition| {
                condition.status == "False" && condition.reason == "CredentialsInvalid"
            })
            .await?;
    }

    let pods = async || -> Result<Vec<_>> {
        let pods = bench.api::<Pod>().list(&ListParams::default()).await?.items;
        Ok(pods
            .iter()
            .map(|pod| (pod.uid(), pod.status.as_ref().and_then(|s| s.start_time.clone())))
            .collect())
    };
    let (before, operator) = (pods().await?, bench.operator.id()?);
    secret(&bench, GOOD).await?;
    project(&bench, folder.path()).await?;
    for (type_, reason) in [
        ("CredentialsValid", "CredentialsAccepted"),
        ("QuotaAvailable", "QuotaLeft"),
        ("ModelsCurrent", "ModelsListed"),
        ("ResidencyKept", "RegionKept"),
        ("Ready", "Serving"),
    ] {
        bench
            .provider_says("acme", type_, "mended", move |condition| {
                condition.status == "True" && condition.reason == reason
            })
            .await?;
    }
    let model = bench.model_is_ready("m").await?;
    let healthy = model.status.iter().flat_map(|status| &status.conditions);
    assert!(healthy.into_iter().any(|condition| condition.reason == "ProviderAnswering"), "{model:?}");
    assert_eq!((pods().await?, bench.operator.id()?), (before, operator), "nothing was started again");

    let mut everything = bench.operator.said();
    everything +=
        &serde_json::to_string(&bench.api::<ExternalProvider>().list(&ListParams::default()).await?)?;
    everything +=
        &serde_json::to_string(&bench.api::<ModelDeployment>().list(&ListParams::default()).await?)?;
    assert!(!everything.contains("canary"), "a key leaked");
    Ok(())
}

#[tokio::test]
async fn a_model_that_the_provider_does_not_list_is_named_and_an_operator_that_starts_anew_changes_nothing()
-> Result<()> {
    let mut bench = Bench::new("listed").await?;
    let address = address();
    bench.namespace.pods_at(address).await?;
    let simulator = Simulator::start().await?;
    secret(&bench, GOOD).await?;
    let spec = json!({"kind": "Gemini", "baseURL": format!("http://{}", simulator.address()),
        "allowPrivate": true, "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", spec).await?;
    let folder = tempfile::tempdir()?;
    project(&bench, folder.path()).await?;
    let deployment = wait::until(&bench.api::<Deployment>(), "acme-proxy", "the proxy's", |_| true).await?;
    let _proxy = run(&deployment, address, folder.path()).await?;
    bench.model("m", json!({"external": {"provider": "acme", "model": "gone-1"}})).await?;
    bench
        .provider_says("acme", "ModelsCurrent", "names the model", |condition| {
            condition.status == "False"
                && condition.reason == "ModelNotFound"
                && condition.message.contains("gone-1 of ModelDeployment m")
        })
        .await?;
    bench
        .model_says("m", "Healthy", "names the model", |condition| {
            condition.reason == "ModelNotFound" && condition.message.contains("gone-1")
        })
        .await?;
    // The list may lack what can be called all the same: only a call shows.
    bench.model_is_ready("m").await?;

    // A new operator has heard nothing yet: what is known stays known.
    let told = bench.api::<ExternalProvider>().get("acme").await?;
    let (namespace, client) = (bench.namespace, bench.client.clone());
    bench.operator.signal("TERM").await?;
    bench.operator.ended().await?;
    bench = Bench::in_namespace(client, namespace).await?;
    bench.model("n", json!({"external": {"provider": "acme", "model": "normal"}})).await?;
    bench
        .model_says("n", "Healthy", "is listed", |condition| {
            condition.status == "True" && condition.reason == "ProviderAnswering"
        })
        .await?;
    let after = bench.api::<ExternalProvider>().get("acme").await?;
    assert_eq!(after.status, told.status, "nothing that it says has changed");

    bench.model("m", json!({"external": {"provider": "acme", "model": "faithful"}})).await?;
    bench
        .provider_says("acme", "ModelsCurrent", "is well again", |condition| {
            condition.status == "True" && condition.reason == "ModelsListed"
        })
        .await?;
    Ok(())
}
