//! The gateway's directory against a real apiserver.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{ExternalProvider, ModelDeployment, labels};
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::cluster;
use weighbridge_tests::door::{Answer, Client as Caller, Door};
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::{self, ControlPlane, Level, Options, Programs, TestNamespace};

/// A gateway that follows a cluster.
struct Gateway {
    door: Door,
    namespace: String,
    _watch: AbortOnDropHandle<()>,
}

impl Gateway {
    async fn start(client: &Client, namespace: &str) -> Result<Self> {
        let (directory, watch) = cluster::follow(client.clone());
        let door = Door::gateway(GatewayConfig::new(namespace), directory).await?;
        let watch = AbortOnDropHandle::new(tokio::spawn(watch));
        Ok(Self { door, namespace: namespace.to_owned(), _watch: watch })
    }

    async fn ask(&self, model: &str) -> Result<Answer> {
        let body = json!({"model": format!("{}/{model}", self.namespace), "messages": []});
        Caller::connect(self.door.address).await?.post("/v1/chat/completions", body.to_string()).await
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
                 "apiKeySecret": {"name": "acme", "key": "key"}},
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

    let gateway = Gateway::start(&client, "default").await?;
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
