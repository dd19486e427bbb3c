//! As much of an apiserver as a gateway asks for: five lists that never change.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weighbridge_crds::labels;
use weighbridge_gateway::access::Digest;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The load generator's key.
pub const KEY: &str = "sk-bench";
/// The open model, whose engine is the upstream.
pub const OPEN: &str = "mock";
/// The model of a provider, whose proxy stands before the upstream.
pub const CLOSED: &str = "far";
/// The provider of [`CLOSED`].
pub const PROVIDER: &str = "acme";
/// Where all of it is.
pub const NAMESPACE: &str = "team";

/// Where the models answer.
#[derive(Clone, Copy)]
pub struct Endpoints {
    /// The only engine of [`OPEN`].
    pub engine: SocketAddr,
    /// The only proxy of [`PROVIDER`], where there is one.
    pub proxy: Option<SocketAddr>,
}

/// Starts one that knows both models and a key for them.
///
/// # Errors
/// Where no port is free.
pub async fn start(endpoints: Endpoints) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, endpoints)) });
            // The gateway leaves at the end of the benchmark, and that is no error.
            tokio::spawn(async move {
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok()
            });
        }
    });
    Ok(address)
}

fn answer(request: &Request<Incoming>, endpoints: Endpoints) -> Response<Body> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if query.contains("watch=") {
        let nothing = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return json_response(StreamBody::new(nothing).boxed_unsync());
    }
    let kind = path.rsplit('/').next().unwrap_or_default();
    const SERVING: &str = "serving.weighbridge.dev/v1alpha1";
    const DISCOVERY: &str = "discovery.k8s.io/v1";
    let (kind, version, items) = match kind {
        "modeldeployments" => ("ModelDeployment", SERVING, models()),
        "modelaccesses" => ("ModelAccess", SERVING, vec![access()]),
        "externalproviders" => ("ExternalProvider", SERVING, vec![provider()]),
        // Engines and proxies are told apart by the label that the gateway selects.
        "endpointslices" if query.contains("model") => {
            ("EndpointSlice", DISCOVERY, vec![slice(labels::MODEL, OPEN, endpoints.engine)])
        }
        "endpointslices" => {
            let proxies = endpoints.proxy.map(|proxy| slice(labels::PROVIDER, PROVIDER, proxy));
            ("EndpointSlice", DISCOVERY, proxies.into_iter().collect())
        }
        _ => {
            let mut response = json_response(Full::from("{}").boxed_unsync());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            return response;
        }
    };
    let list = json!({"kind": format!("{kind}List"), "apiVersion": version, "metadata": {"resourceVersion": "1"},
        "items": items});
    json_response(Full::from(list.to_string()).boxed_unsync())
}

fn json_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn models() -> Vec<Value> {
    let model = |name: &str, spec: Value| {
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
    };
    vec![
        model(OPEN, json!({"openWeights": {"source": "hf://org/repo/file.gguf"}})),
        model(CLOSED, json!({"external": {"provider": PROVIDER, "model": "mock"}})),
    ]
}

fn provider() -> Value {
    json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": PROVIDER, "namespace": NAMESPACE},
        "spec": {"kind": "OpenAI", "apiKeys": [{"name": PROVIDER, "key": "api-key"}]}})
}

fn access() -> Value {
    json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelAccess",
        "metadata": {"name": "bench", "namespace": NAMESPACE},
        "spec": {"keys": [{"name": "load", "sha256": Digest::of(KEY.as_bytes()).to_string()}],
            "models": [OPEN, CLOSED]}})
}

fn slice(label: &str, owner: &str, address: SocketAddr) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{owner}-1"), "namespace": NAMESPACE, "labels": {label: owner}},
        "ports": [{"name": labels::SERVING_PORT_NAME, "port": address.port()}],
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}]})
}
