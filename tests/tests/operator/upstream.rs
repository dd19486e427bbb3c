//! What an ExternalProvider says of its account. The proxy is real and runs where its simulated pod is said to be; the
//! provider behind it is simulated.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{ExternalProvider, KeyCondition, ModelDeployment, labels};
use weighbridge_gateway::cli::{Cli, Role};
use weighbridge_gateway::{Listeners, ServeError, Shutdown, serve_proxy};
use weighbridge_tests::door::Client;
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::wait;
use weighbridge_tls::{Identity, client_of_pem};

use super::harness::{Bench, apply};

const DEAD: &str = "sk-canary-dead-1618";
const GOOD: &str = "sk-canary-good-3141";
const KEYS: &str = "/var/run/secrets/weighbridge/provider";
const CERTIFICATE: &str = "/var/run/secrets/weighbridge/certificate";

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

/// Runs the program that acme's Deployment asks for, at `address`, with the kubelet's files in `folder`.
async fn run(bench: &Bench, address: IpAddr, folder: &Path) -> Result<Proxy> {
    let deployment = wait::until(&bench.api::<Deployment>(), "acme-proxy", "the proxy's", |_| true).await?;
    let certificate = folder.join("tls");
    std::fs::create_dir(&certificate)?;
    let secret = wait::until(&bench.api::<Secret>(), "acme-proxy-certificate", "its", |_| true).await?;
    for (name, value) in secret.data.context("a certificate")? {
        std::fs::write(certificate.join(name), value.0)?;
    }
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("a pod")?;
    let arguments = pod.containers[0].args.clone().unwrap_or_default();
    let (keys, certificate) = (folder.to_str().context("a path")?, certificate.to_str().context("a path")?);
    let here = |argument: &String| argument.replace(KEYS, keys).replace(CERTIFICATE, certificate);
    let arguments = arguments.iter().map(here);
    let cli = Cli::try_parse_from(std::iter::once("weighbridge-gateway".to_owned()).chain(arguments))?;
    let Role::Proxy(arguments) = cli.role else { anyhow::bail!("the pod runs no proxy") };
    let public = TcpListener::bind(SocketAddr::new(address, labels::SERVING_PORT)).await?;
    let admin = TcpListener::bind(SocketAddr::new(address, labels::ADMIN_PORT)).await?;
    let shutdown = Shutdown::new();
    let tls = arguments.tls.load(&[Identity::Gateway, Identity::Operator])?.map(Arc::new);
    assert!(tls.is_some(), "it shows a certificate");
    let listeners = Listeners { public, tls, admin: Some(admin) };
    let task = tokio::spawn(serve_proxy(arguments.config()?, listeners, shutdown.clone()));
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
    let test = NEXT.fetch_add(1, Ordering::Relaxed);
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
    let _proxy = run(&bench, address, folder.path()).await?;

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
    let _proxy = run(&bench, address, folder.path()).await?;
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

/// A provider that says the key back, in every answer: of that key nothing is in a status, an Event or a log.
#[tokio::test]
async fn a_key_that_the_provider_says_back_is_in_no_status_and_no_event() -> Result<()> {
    let bench = Bench::new("echo").await?;
    let address = address();
    bench.namespace.pods_at(address).await?;
    let provider = Echo::start().await?;
    secret(&bench, DEAD).await?;
    let spec = json!({"kind": "OpenAICompatible", "baseURL": format!("http://{}/v1", provider.address),
        "allowPrivate": true, "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", spec).await?;
    bench.model("m", json!({"external": {"provider": "acme", "model": "m"}})).await?;
    let folder = tempfile::tempdir()?;
    project(&bench, folder.path()).await?;
    let _proxy = run(&bench, address, folder.path()).await?;

    let told = bench
        .provider_says("acme", "CredentialsValid", "the key is refused", |condition| {
            condition.status == "False" && condition.reason == "CredentialsInvalid"
        })
        .await?;
    let error = told.status.and_then(|status| status.last_upstream_error).context("an error")?;
    assert!(error.message.contains("Incorrect API key"), "the provider's words are told: {error:?}");
    bench
        .model_says("m", "Ready", "as its provider", |condition| {
            condition.status == "False" && condition.reason == "CredentialsInvalid"
        })
        .await?;
    // Callers have it said back too, and what they meet is told of as well.
    let mut client = as_gateway(&bench, address).await?;
    let call = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = client.post("/v1/chat/completions", call).await?;
    assert!(!format!("{answer:?}").contains("canary"), "{answer:?}");

    let events = bench.api::<Event>().list(&ListParams::default()).await?.items;
    assert!(!events.is_empty(), "the operator tells of it");
    let mut everything = bench.operator.said();
    everything += &serde_json::to_string(&events)?;
    everything +=
        &serde_json::to_string(&bench.api::<ExternalProvider>().list(&ListParams::default()).await?)?;
    everything +=
        &serde_json::to_string(&bench.api::<ModelDeployment>().list(&ListParams::default()).await?)?;
    everything += &serde_json::to_string(&bench.api::<Deployment>().list(&ListParams::default()).await?)?;
    everything += &serde_json::to_string(&bench.api::<Pod>().list(&ListParams::default()).await?)?;
    let at =
        everything.find("canary").map(|at| everything[at.saturating_sub(200)..].chars().take(300).collect());
    assert_eq!(at, None::<String>, "a key leaked");
    assert!(provider.asked() > 0, "the key was sent");
    Ok(())
}

/// A connection to acme's proxy, as a gateway of the installation makes it.
async fn as_gateway(bench: &Bench, address: IpAddr) -> Result<Client> {
    let secret: Secret = bench.api().get("weighbridge-gateway-certificate").await?;
    let data = secret.data.context("a certificate")?;
    let pem = |name: &str| Ok::<_, anyhow::Error>(std::str::from_utf8(&data.get(name).context("a file")?.0)?);
    let config = client_of_pem(pem("tls.crt")?, pem("tls.key")?, pem("ca.crt")?)?;
    let proxy = Identity::Proxy { namespace: bench.namespace.name().to_owned(), name: "acme".to_owned() };
    let address = SocketAddr::new(address, labels::SERVING_PORT);
    Client::connect_tls(address, Arc::new(config), &proxy.to_string()).await
}

/// A provider that refuses every request with the key in its words and in its headers.
struct Echo {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Echo {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, asked) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&asked);
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                let service = service_fn(move |request: Request<Incoming>| {
                    let counted = Arc::clone(&counted);
                    async move {
                        let key = request.headers().get("authorization").cloned();
                        if key.is_some() {
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                        let key =
                            key.as_ref().and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
                        request.into_body().collect().await?;
                        let words =
                            format!("Incorrect API key provided: {key}. Find yours in your settings.");
                        let error =
                            json!({"error": {"message": words, "code": "invalid_api_key", "param": key}});
                        let answer = Response::builder()
                            .status(401)
                            .header("content-type", "application/json")
                            .header("x-request-id", key)
                            .body(Full::new(Bytes::from(error.to_string())));
                        answer.map_err(anyhow::Error::from)
                    }
                });
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        };
        Ok(Self { address, asked, _task: AbortOnDropHandle::new(tokio::spawn(serve)) })
    }

    /// Requests that came with a key.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}
