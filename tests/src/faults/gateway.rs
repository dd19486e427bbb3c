//! A gateway beside the operator, which tells it where calls go: those that the world, as it is, would have it send.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::ResourceExt as _;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use weighbridge_crds::{self as crds, GatewayState, ModelDeployment, ModelRoutes, labels};
use weighbridge_operator::{Connection, Dial, Tcp};

use super::cluster::is_ready;
use super::kinds::Kind;
use super::world::{Key, Shared, Stored, World};

/// The Service in front of it.
pub const SERVICE: &str = "gateways";
/// Where the operator and its gateways are.
pub const INSTALLATION: &str = "weighbridge-system";
/// Where it is; nothing leaves this process for it.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// How late its view is.
const LAG: Duration = Duration::from_millis(400);
/// How long it lets one wait for news.
const HOLD: Duration = Duration::from_secs(25);

/// Calls the gateway of `shared`, and everybody else by TCP.
pub struct Network(pub Shared);

impl Dial for Network {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        if address.ip() != ADDRESS {
            return Tcp.dial(address);
        }
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let shared = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(shared, theirs).await {
                tracing::debug!(%error, "the gateway hangs up");
            }
        });
        async move { Ok(Box::new(ours) as Box<dyn Connection>) }.boxed()
    }
}

/// Has a gateway be ready in `world`.
pub fn install(world: &mut World) {
    let Some(kind) = Kind::named("EndpointSlice") else { return };
    let key = Key::new(kind, INSTALLATION, "gateways-1");
    let endpoint = json!({"addresses": [ADDRESS], "conditions": {"ready": true},
        "targetRef": {"kind": "Pod", "name": "gateway"}});
    let object = json!({"apiVersion": kind.api_version, "kind": kind.kind, "addressType": "IPv4", "endpoints": [endpoint],
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": "gateways",
            "labels": {"kubernetes.io/service-name": SERVICE}}});
    world.put(&key, Some(Stored { object, managers: Vec::new() }));
}

async fn serve(shared: Shared, stream: DuplexStream) -> Result<()> {
    let config = shown(&shared.lock())?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let answer = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let after = request.uri().query().and_then(|query| query.strip_prefix("after=")?.parse().ok());
            let body = serde_json::to_vec(&news(&shared, after).await)?;
            anyhow::Ok(Response::new(Full::new(Bytes::from(body))))
        }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await?)
}

/// What it shows: the certificate that the operator has made for it.
fn shown(world: &World) -> Result<Arc<ServerConfig>> {
    let secret = world.of("Secret").find(|(key, _)| key.name == "weighbridge-gateway-certificate");
    let (_, secret) = secret.context("no certificate yet")?;
    let pem = |name: &str| STANDARD.decode(secret["data"][name].as_str().unwrap_or_default());
    let chain = vec![CertificateDer::from_pem_slice(&pem("tls.crt")?)?];
    let key = PrivateKeyDer::from_pem_slice(&pem("tls.key")?)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// What who knows the state `after` does not know, as soon as there is something.
async fn news(shared: &Shared, after: Option<u64>) -> GatewayState {
    let mut changes = shared.changes();
    let mut state = routed(&shared.lock());
    let other = async {
        while after == Some(state.version) {
            if changes.changed().await.is_err() {
                return;
            }
            sleep(LAG).await;
            state = routed(&shared.lock());
        }
    };
    if timeout(HOLD, other).await.is_err() {
        return GatewayState { version: state.version, ..GatewayState::default() };
    }
    state
}

/// All that it routes.
fn routed(world: &World) -> GatewayState {
    let models: Vec<_> = world.of("ModelDeployment").filter_map(|(_, model)| routes(world, model)).collect();
    let mut hasher = DefaultHasher::new();
    format!("{models:?}").hash(&mut hasher);
    GatewayState { version: hasher.finish(), whole: true, more: false, models, gone: Vec::new() }
}

/// As the gateway's directory has it: the world before goes on while it can.
fn routes(world: &World, model: &Value) -> Option<ModelRoutes> {
    let model: ModelDeployment = serde_json::from_value(model.clone()).ok()?;
    let namespace = model.namespace().unwrap_or_default();
    let at = |of: crds::World| match (of, &model.spec.external) {
        (crds::World::OpenWeights, _) => ready(world, &namespace, labels::MODEL, &model.name_any()),
        (crds::World::External, Some(external)) => {
            ready(world, &namespace, labels::PROVIDER, &external.provider)
        }
        (crds::World::External, None) => Vec::new(),
    };
    let called = model.world_before().filter(|before| !at(*before).is_empty()).or(model.spec.world())?;
    let out_of_service = model.spec.out_of_service().is_some();
    Some(ModelRoutes {
        name: model.name_any(),
        uid: model.uid().unwrap_or_default(),
        generation: model.metadata.generation.unwrap_or_default(),
        world: called,
        pods: if out_of_service { Vec::new() } else { at(called) },
        trial: None,
        namespace,
    })
}

fn ready(world: &World, namespace: &str, label: &str, owner: &str) -> Vec<String> {
    let pods = world.of("Pod").filter(|(key, pod)| {
        key.namespace == namespace && pod["metadata"]["labels"][label] == owner && is_ready(pod)
    });
    pods.map(|(key, _)| key.name.clone()).collect()
}
