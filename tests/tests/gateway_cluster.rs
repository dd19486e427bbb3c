//! The gateway's directory against a real apiserver.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

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
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelDeployment, labels};
use weighbridge_gateway::directory::cluster;
use weighbridge_gateway::{GatewayConfig, Waker, access};
use weighbridge_tests::demo::{Outcome, Steady};
use weighbridge_tests::door::{Answer, Client as Caller, Door, model_access};
use weighbridge_tests::operator::Operator;
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::{
    self, ControlPlane, Level, Options, Programs, TestNamespace, audit, crds, wait,
};

/// Of the callers in here.
const KEY: &str = "wb-test-0815";
const CHAT: &str = "/v1/chat/completions";
/// The Service in front of the gateways, in each test's own namespace.
const SERVICE: &str = "gateways";

/// A gateway that follows a cluster.
struct Gateway {
    door: Door,
    namespace: String,
    _watches: [AbortOnDropHandle<()>; 2],
}

impl Gateway {
    async fn start(client: &Client, namespace: &str) -> Result<Self> {
        // As in a gateway's pod, whose own namespace is the default.
        let administrator = client.clone();
        let send = move |request| {
            let administrator = administrator.clone();
            async move { administrator.send(request).await }
        };
        let client = Client::new(tower::service_fn(send), namespace);
        let (directory, models) = cluster::follow(client.clone(), Some(SERVICE));
        let (access, keys) = access::follow(client.clone());
        let config = GatewayConfig { waker: Some(Waker::new(client)), ..GatewayConfig::default() };
        let door = Door::guarded(config, directory, access).await?;
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
        ask(self.door.address, key, model).await
    }

    /// A request under way.
    fn asking(&self, model: &str) -> AbortOnDropHandle<Result<Answer>> {
        let (address, model) = (self.door.address, format!("{}/{model}", self.namespace));
        AbortOnDropHandle::new(tokio::spawn(async move { ask(address, KEY, &model).await }))
    }

    /// The sum of what a metric's series with this label show.
    async fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let answer = Caller::connect(self.door.admin).await?.get("/metrics").await?;
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        let lines = answer.text()?.lines().filter(of);
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    async fn until_metric(&self, name: &str, label: &str, value: f64) -> Result<()> {
        while self.metric(name, label).await? != value {
            tokio::task::yield_now().await;
        }
        Ok(())
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

async fn ask(door: SocketAddr, key: &str, model: &str) -> Result<Answer> {
    let body = json!({"model": model, "messages": []}).to_string();
    let headers = [("content-type", "application/json"), ("x-api-key", key)];
    let mut caller = Caller::connect(door).await?;
    caller.open(Method::POST, CHAT, &headers, body).await?.whole().await
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

fn at_address(address: SocketAddr, ready: bool) -> (IpAddr, bool) {
    (address.ip(), ready)
}

fn open_weights(name: &str) -> Result<ModelDeployment> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name},
        // Whoever asks hears at once how it stands.
        "spec": {"openWeights": {"source": "hf://org/repo/file.gguf"}, "hold": {"maxWait": "0s"}},
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

    let ready = |ready| slice("m-1", labels::MODEL, "m", &[at_address(address, ready)], address.port());
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
    let proxy = slice("acme-1", labels::PROVIDER, "acme", &[at_address(address, true)], address.port())?;
    slices.create(&PostParams::default(), &proxy).await?;
    let swap = json!({"spec": {"serve": "External", "external": {"provider": "acme", "model": "normal"}}});
    models.patch("m", &PatchParams::default(), &Patch::Merge(swap)).await?;
    let answer = gateway.until("m", 200).await?;
    ensure!(answer.headers["x-weighbridge-world"] == "closed", "{answer:?}");

    models.delete("m", &Default::default()).await?;
    gateway.until("m", 404).await?;
    Ok(())
}

/// Scale to zero, with the bugs that its users report: the first request refused, the second wake lost, replicas fought over.
#[tokio::test]
async fn a_model_that_sleeps_is_woken_once_by_all_who_ask_and_answers_them() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "wake").await?;
    let simulator = reachable_simulator().await?;
    let address = simulator.address();
    let (models, slices) = (namespace.api::<ModelDeployment>(), namespace.api::<EndpointSlice>());
    // Two gateways are ready, each of which may let five wait.
    let pod = |name: &str, address: &str| json!({"addresses": [address], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": name}});
    let gateways: EndpointSlice = serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "gateways-1", "labels": {"kubernetes.io/service-name": SERVICE}},
        "ports": [{"name": "http", "port": 8080}], "endpoints": [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")],
    }))?;
    slices.create(&PostParams::default(), &gateways).await?;
    let gateways =
        [Gateway::start(&client, namespace.name()).await?, Gateway::start(&client, namespace.name()).await?];
    gateways[0].open_to_key(&client).await?;
    for gateway in &gateways {
        gateway.until("nobody", 404).await?;
    }
    let model: ModelDeployment = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "m"},
        "spec": {"openWeights": {"source": "hf://org/repo/file.gguf"}, "replicas": 0,
                 "hold": {"maxWait": "10m", "maxQueued": 10}},
    }))?;
    models.create(&PostParams::default(), &model).await?;
    let out_of_service: ModelDeployment = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "off"},
        "spec": {"external": {"provider": "acme", "model": "m"}, "replicas": 0},
    }))?;
    models.create(&PostParams::default(), &out_of_service).await?;

    for gateway in &gateways {
        // Whoever knows of this model knows of the one that was made before.
        let off = gateway.until("off", 503).await?;
        ensure!(off.text()?.contains("model_out_of_service"), "{off:?}");
        gateway.until_metric("weighbridge_gateways", "", 2.0).await?;
    }
    let asking: Vec<_> = gateways.iter().flat_map(|gateway| (0..5).map(|_| gateway.asking("m"))).collect();
    for gateway in &gateways {
        gateway.until_metric("weighbridge_held_requests", "model=\"m\"", 5.0).await?;
        let full = gateway.ask("m").await?;
        ensure!(full.status == 503 && full.text()?.contains("hold_full"), "{full:?}");
    }
    let at =
        |replicas| move |model: Option<&ModelDeployment>| model.is_some_and(|m| m.spec.replicas == replicas);
    let woken = await_condition(models.clone(), "m", at(1)).await?.context("it is there")?;
    let wakes = async |result: &str| -> Result<f64> {
        let label = format!("result=\"{result}\"");
        let of = async |gateway: &Gateway| gateway.metric("weighbridge_wakes_total", &label).await;
        Ok(of(&gateways[0]).await? + of(&gateways[1]).await?)
    };
    while wakes("written").await? + wakes("awake").await? < 2.0 {
        tokio::task::yield_now().await;
    }
    ensure!(wakes("written").await? == 1.0 && wakes("failed").await? == 0.0);
    let by_scale = |model: &ModelDeployment| {
        let managers = model.metadata.managed_fields.iter().flatten();
        managers.filter(|entry| entry.subresource.as_deref() == Some("scale")).cloned().collect::<Vec<_>>()
    };
    let writers = by_scale(&woken);
    ensure!(
        writers.len() == 1 && writers[0].manager.as_deref() == Some("weighbridge-gateway"),
        "{writers:?}"
    );
    let attempts = audit::writes(namespace.name())?;
    let attempts = attempts.iter().filter(|write| write.object_ref.subresource == "scale");
    ensure!((1..=2).contains(&attempts.count()), "each gateway tries once at most");

    let ready = |ready| slice("m-1", labels::MODEL, "m", &[at_address(address, ready)], address.port());
    slices.create(&PostParams::default(), &ready(true)?).await?;
    for answer in asking {
        let answer = answer.await??;
        // The simulator knows no model `namespace/m`: its 404 shows that the request got there.
        ensure!(answer.status == 404 && answer.headers.contains_key("x-weighbridge-held"), "{answer:?}");
    }
    ensure!(simulator.counts().requests == 10, "{:?}", simulator.counts());
    let model = models.get("m").await?;
    ensure!(
        model.metadata.generation == Some(2) && model.spec.replicas == 1,
        "created, and woken once: {model:?}"
    );

    // Somebody's own number stands, and one who sleeps again is woken again.
    let scale = async |replicas: i32| {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        models.patch_scale("m", &PatchParams::default(), &patch).await
    };
    scale(3).await?;
    gateways[0].ask("m").await?;
    ensure!(models.get("m").await?.spec.replicas == 3);
    scale(0).await?;
    slices.patch("m-1", &PatchParams::apply("test").force(), &Patch::Apply(ready(false)?)).await?;
    let _waits = loop {
        let mut asking = gateways[0].asking("m");
        tokio::select! {
            // The watch has not brought it yet.
            answered = &mut asking => drop(answered??),
            held = gateways[0].until_metric("weighbridge_held_requests", "model=\"m\"", 1.0) => {
                held?;
                break asking;
            }
        }
    };
    await_condition(models.clone(), "m", at(1)).await?;
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
    let endpoints = slice("m-1", labels::MODEL, "m", &[at_address(address, true)], address.port())?;
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
        // The simulator knows no model `default/m`: its 404 shows that the request got there.
        let answer = gateway.ask("m").await?;
        ensure!(answer.status == 404, "{answer:?}");
    }
    ensure!(simulator.counts().requests == before + 20);
    let mut probe = Caller::connect(gateway.door.admin).await?;
    ensure!(probe.get("/readyz").await?.status == 200);
    Ok(())
}

/// The ten minutes of `make cluster-demo S=outage` in short, with a control plane of its own.
#[tokio::test]
async fn no_request_fails_while_apiserver_and_operator_are_gone_and_what_comes_after_is_served() -> Result<()>
{
    testbed::client().await?;
    let folder = tempfile::tempdir()?;
    let programs = Programs::prepare(Level::ControlPlane)?;
    let mut plane = ControlPlane::start(&programs, folder.path(), &Options::default()).await?;
    let client = plane.client().await?;
    crds::apply(&client, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/manifests")).await?;
    let simulator = reachable_simulator().await?;
    let address = simulator.address();
    let provider: ExternalProvider = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider", "metadata": {"name": "acme"},
        "spec": {"kind": "OpenAICompatible", "baseURL": "https://acme.example/v1",
                 "apiKeys": [{"name": "acme", "key": "key"}]},
    }))?;
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &provider).await?;
    let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let proxy = slice("acme-1", labels::PROVIDER, "acme", &[at_address(address, true)], address.port())?;
    slices.create(&PostParams::default(), &proxy).await?;
    let models: Api<ModelDeployment> = Api::default_namespaced(client.clone());
    let model = |name: &str| {
        let spec = json!({"external": {"provider": "acme", "model": "normal"}});
        serde_json::from_value::<ModelDeployment>(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
            "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}))
    };
    models.create(&PostParams::default(), &model("before")?).await?;
    let (program, kubeconfig) = (Path::new(env!("CARGO_BIN_EXE_operator-under-test")), plane.kubeconfig());
    let image = "images.weighbridge.local/inference-server:test";
    let scope = "--watch-namespace=default";
    let place = (kubeconfig.as_os_str(), "default");
    let mut operator = Operator::start_at(program, place, "alone", image, [scope]).await?;
    wait::until(&models, "before", "the operator's word", |model: &ModelDeployment| model.status.is_some())
        .await?;
    let gateway = Gateway::start(&client, "default").await?;
    gateway.open_to_key(&client).await?;
    gateway.until("before", 200).await?;

    let (stop, stopped) = watch::channel(false);
    let (door, model_name, key) = (gateway.door.address, "default/before".to_owned(), KEY.to_owned());
    let load = Steady { address: door, model: model_name, key, streams: 4, stream_tokens: 16, rate: 50 };
    let load = AbortOnDropHandle::new(tokio::spawn(load.run(stopped)));
    let answered = async |more: u64| -> Result<()> {
        let enough = simulator.counts().requests + more;
        while simulator.counts().requests < enough {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    timeout(wait::DEADLINE, answered(100)).await.context("the load does not begin")??;
    operator.signal("KILL").await?;
    operator.ended().await?;
    plane.stop_apiserver();
    timeout(wait::DEADLINE, answered(500)).await.context("nothing is answered in the outage")??;
    plane.start_apiserver().await?;
    models.create(&PostParams::default(), &model("after")?).await?;
    gateway.until("after", 200).await?;
    stop.send_replace(true);
    let Outcome { requests, failed, streams, cut, words } = load.await?;
    ensure!(failed == 0 && cut == 0, "{failed} failed, {cut} were cut: {words:?}");
    ensure!(requests > 0 && streams > 0, "{requests} requests, {streams} streams");
    Ok(())
}
