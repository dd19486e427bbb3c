//! The gateway's directory against a real apiserver.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use http::Method;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelDeployment, labels};
use weighbridge_gateway::directory::cluster;
use weighbridge_gateway::{GatewayConfig, access};
use weighbridge_tests::door::{Answer, Client as Caller, Door, model_access};
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::{self, ControlPlane, Level, Options, Programs, TestNamespace};

/// Of the callers in here.
const KEY: &str = "wb-test-0815";
const CHAT: &str = "/v1/chat/completions";

/// A gateway that follows a cluster.
struct Gateway {
    door: Door,
    namespace: String,
    _watches: [AbortOnDropHandle<()>; 2],
}

impl Gateway {
    async fn start(client: &Client, namespace: &str) -> Result<Self> {
        let (directory, models) = cluster::follow(client.clone());
        let (access, keys) = access::follow(client.clone());
        let door = Door::guarded(GatewayConfig::default(), directory, access).await?;
        let watches =
            [AbortOnDropHandle::new(tokio::spawn(models)), AbortOnDropHandle::new(tokio::spawn(keys))];
        Ok(Self { door, namespace: namespace.to_owned(), _watches: watches })
    }

    /// Lets `KEY` call every model of the namespace.
    async fn open_to_key(&self, client: &Client) -> Result<()> {
        let api: Api<ModelAccess> = Api::namespaced(client.clone(), &self.namespace);
        let access = model_access(&self.namespace, "tests", &[("test", KEY)], &["*"]);
        api.create(&PostParams::default(), &access).await?;
        while self.with_key(KEY, "nobody").await?.status == 401 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn ask(&self, model: &str) -> Result<Answer> {
        self.with_key(KEY, &format!("{}/{model}", self.namespace)).await
    }

    async fn with_key(&self, key: &str, model: &str) -> Result<Answer> {
        let body = json!({"model": model, "messages": []}).to_string();
        let headers = [("content-type", "application/json"), ("x-api-key", key)];
        let mut caller = Caller::connect(self.door.address).await?;
        caller.open(Method::POST, CHAT, &headers, body).await?.whole().await
    }

    /// Asks until the answer has this status: the watch brings what was written a moment ago.
    async fn until(&self, model: &str, status: u16) -> Result<Answer> {
        loop {
            let answer = self.ask(model).await?;
            if answer.status.as_u16() == status {
                return Ok(answer);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A simulator that an EndpointSlice can name: it may hold no loopback address.
async fn reachable_simulator() -> Result<Simulator> {
    // Connecting a UDP socket sends nothing; it only chooses the address that would be used.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.1:9").context("this machine has no address but loopback")?;
    let listener = TcpListener::bind((socket.local_addr()?.ip(), 0)).await?;
    Ok(Simulator::on(listener, None)?)
}

fn slice(
    name: &str,
    label: &str,
    owner: &str,
    endpoints: &[(IpAddr, bool)],
    port: u16,
) -> Result<EndpointSlice> {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
        .collect();
    Ok(serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {label: owner}},
        "ports": [{"name": labels::SERVING_PORT_NAME, "port": port}],
        "endpoints": endpoints,
    }))?)
}

fn at(address: SocketAddr, ready: bool) -> (IpAddr, bool) {
    (address.ip(), ready)
}

fn open_weights(name: &str) -> Result<ModelDeployment> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name}, "spec": {"openWeights": {"source": "hf://org/repo/file.gguf"}},
    }))?)
}

#[tokio::test]
async fn a_model_is_served_from_ready_endpoints_while_it_exists() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "gateway").await?;
    let simulator = reachable_simulator().await?;
    let address = simulator.address();
    let gateway = Gateway::start(&client, namespace.name()).await?;
    gateway.open_to_key(&client).await?;
    let (models, slices) = (namespace.api::<ModelDeployment>(), namespace.api::<EndpointSlice>());

    gateway.until("m", 404).await?;
    models.create(&PostParams::default(), &open_weights("m")?).await?;
    let answer = gateway.until("m", 503).await?;
    ensure!(answer.text()?.contains("model_not_ready"), "{answer:?}");

    let ready = |ready| slice("m-1", labels::MODEL, "m", &[at(address, ready)], address.port());
    slices.create(&PostParams::default(), &ready(true)?).await?;
    // The simulator knows no model `namespace/m`: its 404 shows that the request got there.
    while simulator.counts().requests == 0 {
        gateway.ask("m").await?;
    }
    let asked: Value = serde_json::from_slice(&simulator.seen().first().context("a request")?.body)?;
    ensure!(asked["model"] == format!("{}/m", namespace.name()), "{asked}");

    let apply = PatchParams::apply("test").force();
    slices.patch("m-1", &apply, &Patch::Apply(ready(false)?)).await?;
    gateway.until("m", 503).await?;

    // The swap of worlds: the same name now answers from the provider's proxy.
    let provider: ExternalProvider = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider", "metadata": {"name": "acme"},
        "spec": {"kind": "OpenAICompatible", "baseURL": "https://acme.example/v1",
                 "apiKeys": [{"name": "acme", "key": "key"}]},
    }))?;
    namespace.api::<ExternalProvider>().create(&PostParams::default(), &provider).await?;
    let proxy = slice("acme-1", labels::PROVIDER, "acme", &[at(address, true)], address.port())?;
    slices.create(&PostParams::default(), &proxy).await?;
    let swap = json!({"spec": {"serve": "External", "external": {"provider": "acme", "model": "normal"}}});
    models.patch("m", &PatchParams::default(), &Patch::Merge(swap)).await?;
    let answer = gateway.until("m", 200).await?;
    ensure!(answer.headers["x-weighbridge-world"] == "closed", "{answer:?}");

    models.delete("m", &Default::default()).await?;
    gateway.until("m", 404).await?;
    Ok(())
}

/// A change of keys holds without a restart: each of these waits for the watch and for nothing else.
#[tokio::test]
async fn keys_come_change_and_go_while_the_gateway_runs() -> Result<()> {
    const FIRST: &str = "wb-first-4711";
    const SECOND: &str = "wb-second-4711";
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "access").await?;
    let gateway = Gateway::start(&client, namespace.name()).await?;
    let accesses: Api<ModelAccess> = namespace.api();
    let until = async |key: &str, model: &str, status: u16| -> Result<Answer> {
        loop {
            let answer = gateway.with_key(key, model).await?;
            if answer.status.as_u16() == status {
                return Ok(answer);
            }
            tokio::task::yield_now().await;
        }
    };
    let apply = PatchParams::apply("kubectl").force();
    let applied = async |keys: &[(&str, &str)], models: &[&str]| {
        let access = model_access(namespace.name(), "apps", keys, models);
        accesses.patch("apps", &apply, &Patch::Apply(access)).await
    };
    // Nobody passes before the first ModelAccess, once the keys are listed.
    until(FIRST, "m", 401).await?;
    // 404: who may call every model is told that one is not there.
    applied(&[("first", FIRST)], &["*"]).await?;
    until(FIRST, "m", 404).await?;
    ensure!(gateway.with_key(SECOND, "m").await?.status == 401);
    // Another model, another key beside it.
    applied(&[("first", FIRST), ("second", SECOND)], &["n"]).await?;
    until(SECOND, "n", 404).await?;
    let forbidden = gateway.with_key(FIRST, "m").await?;
    ensure!(forbidden.status == 403, "{forbidden:?}");
    // A key that is taken out, and then the whole object.
    applied(&[("second", SECOND)], &["n"]).await?;
    until(FIRST, "n", 401).await?;
    ensure!(gateway.with_key(SECOND, "n").await?.status == 404);
    accesses.delete("apps", &Default::default()).await?;
    until(SECOND, "n", 401).await?;
    Ok(())
}

/// A control plane of its own, since it is killed; its CRDs take anything, since a real one refuses most of
/// what an older gateway could not read.
#[tokio::test]
async fn a_malformed_object_stalls_nothing_and_serving_outlives_the_apiserver() -> Result<()> {
    testbed::client().await?;
    let folder = tempfile::tempdir()?;
    let programs = Programs::prepare(Level::ControlPlane)?;
    let plane = ControlPlane::start(&programs, folder.path(), &Options::default()).await?;
    let client = plane.client().await?;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in weighbridge_crds::custom_resource_definitions() {
        let name = crd.name_any();
        let mut crd = serde_json::to_value(crd)?;
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let crd: CustomResourceDefinition = serde_json::from_value(crd)?;
        crds.create(&PostParams::default(), &crd).await?;
        await_condition(crds.clone(), &name, conditions::is_crd_established()).await?;
    }
    let simulator = reachable_simulator().await?;
    let address = simulator.address();
    let kind = GroupVersionKind::gvk("serving.weighbridge.dev", "v1alpha1", "ModelDeployment");
    let anything: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind));
    let malformed: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "malformed"}, "spec": {"serve": 7, "openWeights": []},
    }))?;
    anything.create(&PostParams::default(), &malformed).await?;
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let endpoints = slice("m-1", labels::MODEL, "m", &[at(address, true)], address.port())?;
    slices.create(&PostParams::default(), &endpoints).await?;
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), "default");
    models.create(&PostParams::default(), &open_weights("m")?).await?;

    let kind = GroupVersionKind::gvk("serving.weighbridge.dev", "v1alpha1", "ModelAccess");
    let accesses: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        "default",
        &ApiResource::from_gvk_with_plural(&kind, "modelaccesses"),
    );
    let malformed: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelAccess",
        "metadata": {"name": "malformed"}, "spec": {"keys": 7},
    }))?;
    accesses.create(&PostParams::default(), &malformed).await?;

    let gateway = Gateway::start(&client, "default").await?;
    gateway.open_to_key(&client).await?;
    while simulator.counts().requests == 0 {
        gateway.ask("m").await?;
    }
    gateway.until("malformed", 404).await?;

    drop(plane);
    let before = simulator.counts().requests;
    for _ in 0..20 {
        gateway.ask("m").await?;
    }
    ensure!(simulator.counts().requests == before + 20);
    let mut probe = Caller::connect(gateway.door.admin).await?;
    ensure!(probe.get("/readyz").await?.status == 200);
    Ok(())
}
