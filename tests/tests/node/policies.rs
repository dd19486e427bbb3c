//! NetworkPolicies, enforced: what ours mean to let through arrives, and nothing else does.
//!
//! Each refusal has its control: the same address, called at the same time by a pod that no policy holds.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use kube::api::PostParams;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use weighbridge_crds::{
    EntryState, ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile, labels,
};
use weighbridge_tests::door::{Client as Caller, model_access};
use weighbridge_tests::engine::random_model;
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::node::{BRIDGE, GATEWAY, NodeCluster};
use weighbridge_tests::testbed::{Level, Programs, TestNamespace, wait};

use super::bed::{build_images, claim, images, make, root};
use super::hub::Hub;
use super::inside::connects;
use super::{INSIDE, again_on_a_machine_of_its_own, difference, machine_state, pod};

/// The namespace of the chart's own release.
const SYSTEM: &str = "weighbridge-system";
const KEY: &str = "wb-test-0815";
/// Addresses that the node has for the test: one that counts as public, and one where a cloud gives its nodes'
/// credentials away.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 47, 11);
const HTTPS: u16 = 443;
/// Where the probe answers, and a gateway.
const HTTP: u16 = 8080;
const DNS: u16 = 53;

#[tokio::test]
async fn network_policies_let_through_what_is_meant_and_nothing_else() -> Result<()> {
    let programs = Programs::prepare(Level::Node)?;
    if env::var_os(INSIDE).is_none() {
        build_images(&["operator", "gateway", "inference-server"])?;
        return again_on_a_machine_of_its_own();
    }
    let before = machine_state()?;
    {
        let bed = Bed::start(&programs).await?;
        bed.a_cache_says_how_far_it_is_and_fetches_from_no_link_local_address().await?;
        bed.models_answer().await?;
        bed.operators_gateways_and_engines_call_whom_they_may().await?;
        bed.proxies_are_called_by_ours_and_call_their_provider().await?;
    }
    assert_eq!(difference(&before, &machine_state()?), "", "the node left something on this machine");
    Ok(())
}

/// A node with the chart, a hub, an API, and a stranger: a pod that no policy holds.
struct Bed {
    // Before the cluster, which takes the addresses with it.
    _listeners: Vec<TcpListener>,
    client: Client,
    namespace: TestNamespace,
    hub: Hub,
    api: Simulator,
    stranger: Pod,
    _cluster: NodeCluster,
    _folder: tempfile::TempDir,
}

impl Bed {
    async fn start(programs: &Programs) -> Result<Self> {
        let cluster = NodeCluster::start_with(programs, 0, &images()?).await?;
        let client = cluster.control_plane().client().await?;
        let restricted =
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        make(&Api::<Namespace>::all(client.clone()), SYSTEM, restricted).await?;
        let namespace = TestNamespace::create(&client, "policies").await?;
        install(programs, cluster.control_plane().kubeconfig(), namespace.name())?;
        let pods: Api<Pod> = namespace.api();
        pods.create(&PostParams::default(), &pod("stranger", 0)?).await?;
        let stranger = running(&pods, Config::default().fields("metadata.name=stranger")).await?;

        let mut listeners = vec![TcpListener::bind((GATEWAY, HTTPS)).await?];
        for address in [PUBLIC, LINK_LOCAL] {
            let arguments = ["address", "add", &format!("{address}/32"), "dev", BRIDGE];
            ensure!(Command::new("ip").args(arguments).status()?.success(), "ip {}", arguments.join(" "));
            listeners.push(TcpListener::bind((address, HTTPS)).await?);
        }
        let folder = tempfile::tempdir()?;
        let model = random_model(folder.path())?;
        let hub = Hub::start(GATEWAY, std::fs::read(model)?).await?;
        let api = Simulator::on(TcpListener::bind((GATEWAY, 0)).await?, None)?;
        let store = folder.path().join("store");
        std::fs::create_dir(&store)?;
        claim(&client, &namespace, "weights", &store, "ReadWriteMany").await?;
        Ok(Bed {
            _listeners: listeners,
            client,
            namespace,
            hub,
            api,
            stranger,
            _cluster: cluster,
            _folder: folder,
        })
    }

    async fn a_cache_says_how_far_it_is_and_fetches_from_no_link_local_address(&self) -> Result<()> {
        let profile = json!({"spec": {"cpu": "100m", "memory": "512Mi"}});
        make(&Api::<ResourceProfile>::all(self.client.clone()), "policies", profile).await?;
        let caches: Api<ModelCache> = self.namespace.api();
        make(&caches, "store", json!({"spec": {"claim": {"name": "weights"}}})).await?;
        let open = json!({"source": "hf://org/repo/model.gguf", "hub": {"endpoint": self.hub.url},
            "cache": "store", "resources": {"profile": "policies"},
            "engine": {"contextLength": 256, "maxSequences": 4}});
        self.model("open", json!({"openWeights": open})).await?;

        let fetch = self.ours("app.kubernetes.io/component=fetch").await?;
        let half = |cache: &ModelCache| {
            let entries = cache.status.iter().flat_map(|status| &status.entries);
            entries.into_iter().any(|entry| entry.state == EntryState::Fetching && entry.bytes > 0)
        };
        wait::until(&caches, "store", "bytes of what is being fetched", half).await?;
        // A hub may be anywhere, inside too.
        self.check(&fetch, at(GATEWAY, HTTPS), true).await?;
        self.check(&fetch, at(GATEWAY, DNS), true).await?;
        self.check(&fetch, at(LINK_LOCAL, HTTPS), false).await?;
        self.check(&fetch, of(&self.stranger, HTTP)?, false).await?;
        self.check(&self.stranger, of(&fetch, labels::ADMIN_PORT)?, true).await?;

        self.hub.release();
        self.is_ready("open").await
    }

    /// By a gateway of the chart, from an engine and from a provider, of whom the operator hears.
    async fn models_answer(&self) -> Result<()> {
        make(&self.namespace.api::<Secret>(), "acme", json!({"stringData": {"key": "sk-acme"}})).await?;
        let keys = json!([{"name": "acme", "key": "key"}]);
        let acme = json!({"kind": "OpenAICompatible", "baseURL": format!("http://{}/v1", self.api.address()),
            "allowPrivate": true, "apiKeys": keys});
        let providers: Api<ExternalProvider> = self.namespace.api();
        make(&providers, "acme", json!({ "spec": acme })).await?;
        make(&providers, "public", json!({"spec": {"kind": "OpenAI", "apiKeys": keys}})).await?;
        self.model("closed", json!({"external": {"provider": "acme", "model": "normal"}})).await?;
        self.is_ready("closed").await?;
        let ready = |provider: &ExternalProvider| {
            let conditions = provider.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        wait::until(&providers, "acme", "the provider to be ready, by its proxy's word", ready).await?;

        let access = model_access(self.namespace.name(), "tests", &[("test", KEY)], &["*"]);
        self.namespace.api::<ModelAccess>().create(&PostParams::default(), &access).await?;
        let services: Api<Service> = Api::namespaced(self.client.clone(), SYSTEM);
        let service = services.get("weighbridge-gateway").await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("its address")?;
        let door = SocketAddr::new(address.parse()?, 80);
        for model in ["open", "closed"] {
            self.answers(door, model).await?;
        }
        Ok(())
    }

    async fn operators_gateways_and_engines_call_whom_they_may(&self) -> Result<()> {
        let system: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        let component = |name: &str| Config::default().labels(&format!("app.kubernetes.io/component={name}"));
        let operator = running(&system, component("operator")).await?;
        let gateway = running(&system, component("gateway")).await?;
        let engine = self.ours(&format!("{}=open", labels::MODEL)).await?;
        let proxy = self.ours(&format!("{}=acme", labels::PROVIDER)).await?;
        let (serving, admin, state) = (labels::SERVING_PORT, labels::ADMIN_PORT, labels::GATEWAY_STATE_PORT);
        for (from, to, port, goes) in [
            (&gateway, &engine, serving, true),
            (&gateway, &proxy, serving, true),
            (&gateway, &engine, admin, false),
            (&gateway, &self.stranger, HTTP, false),
            (&operator, &engine, admin, true),
            (&operator, &proxy, serving, true),
            (&operator, &gateway, state, true),
            (&operator, &engine, serving, false),
            (&operator, &gateway, HTTP, false),
            (&operator, &self.stranger, HTTP, false),
            // Callers and scrapers may be anywhere.
            (&self.stranger, &gateway, HTTP, true),
            (&self.stranger, &gateway, admin, true),
            (&self.stranger, &operator, admin, true),
            (&self.stranger, &engine, admin, true),
            (&self.stranger, &engine, serving, false),
            (&self.stranger, &gateway, state, false),
            (&engine, &self.stranger, HTTP, true),
        ] {
            self.check(from, of(to, port)?, goes).await?;
        }
        self.check(&engine, at(GATEWAY, HTTPS), true).await?;
        self.check(&engine, at(LINK_LOCAL, HTTPS), false).await
    }

    async fn proxies_are_called_by_ours_and_call_their_provider(&self) -> Result<()> {
        let [private, public] = ["acme", "public"].map(|name| format!("{}={name}", labels::PROVIDER));
        let (private, public) = (self.ours(&private).await?, self.ours(&public).await?);
        self.check(&self.stranger, of(&private, labels::SERVING_PORT)?, false).await?;
        self.check(&self.stranger, of(&private, labels::ADMIN_PORT)?, true).await?;
        self.check(&private, of(&self.stranger, HTTP)?, false).await?;
        for (from, address, goes) in [
            (&public, PUBLIC, true),
            (&public, GATEWAY, false),
            (&public, LINK_LOCAL, false),
            (&self.stranger, PUBLIC, true),
            (&self.stranger, GATEWAY, true),
            (&self.stranger, LINK_LOCAL, true),
        ] {
            self.check(from, at(address, HTTPS), goes).await?;
        }
        self.check(&public, at(GATEWAY, DNS), true).await
    }

    /// Waits until a connection comes about, or does not: an enforcer takes a moment to hear of a pod.
    async fn check(&self, from: &Pod, to: SocketAddr, goes: bool) -> Result<()> {
        let deadline = Instant::now() + wait::DEADLINE;
        while connects(from, to)? != goes {
            let met = if goes { "does not reach" } else { "reaches" };
            ensure!(Instant::now() < deadline, "{} {met} {to}", from.name_any());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn model(&self, name: &str, spec: Value) -> Result<()> {
        make(&self.namespace.api::<ModelDeployment>(), name, json!({ "spec": spec })).await
    }

    async fn is_ready(&self, name: &str) -> Result<()> {
        let ready = |model: &ModelDeployment| {
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        wait::until(&self.namespace.api(), name, "the model to be ready", ready).await.map(drop)
    }

    /// Asks until the gateway knows of the key and the model, and has an answer.
    async fn answers(&self, door: SocketAddr, model: &str) -> Result<()> {
        let model = format!("{}/{model}", self.namespace.name());
        let body =
            json!({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "Hello."}]});
        let headers = [("content-type", "application/json"), ("x-api-key", KEY)];
        let deadline = Instant::now() + wait::DEADLINE;
        loop {
            let asked = async {
                let mut caller = Caller::connect(door).await?;
                let open = caller.open(Method::POST, "/v1/chat/completions", &headers, body.to_string());
                open.await?.whole().await
            };
            let said = match asked.await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status, answer.text()?),
                Err(error) => format!("{error:#}"),
            };
            ensure!(Instant::now() < deadline, "{model} does not answer: {said}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A running pod of the team's namespace.
    async fn ours(&self, labels: &str) -> Result<Pod> {
        running(&self.namespace.api(), Config::default().labels(labels)).await
    }
}

/// The chart, with a policy for the engines of `namespace`.
fn install(programs: &Programs, kubeconfig: PathBuf, namespace: &str) -> Result<()> {
    let mut helm = Command::new(programs.helm()?);
    let engines = format!("--set=networkPolicy.engineNamespaces={{{namespace}}}");
    helm.args(["install", "weighbridge"]).arg(root().join("charts/weighbridge")).arg(engines).args([
        "--namespace",
        SYSTEM,
        "--set=gateway.replicas=1,operator.replicas=1",
        "--wait",
        "--timeout=180s",
    ]);
    let output = helm.env("KUBECONFIG", kubeconfig).output()?;
    ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The one of these pods that runs.
async fn running(pods: &Api<Pod>, which: Config) -> Result<Pod> {
    let runs = |pod: &Pod| {
        let status = pod.status.as_ref();
        let containers = status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let mut states = containers.into_iter().filter_map(|container| container.state.as_ref());
        pod.metadata.deletion_timestamp.is_none() && states.any(|state| state.running.is_some())
    };
    let found = wait::until_all(pods, which, "a pod that runs", |pods| pods.iter().any(runs)).await?;
    found.into_iter().find(runs).context("it was there")
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address), port)
}

fn of(pod: &Pod, port: u16) -> Result<SocketAddr> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    Ok(SocketAddr::new(address.context("the pod has no address")?.parse()?, port))
}
