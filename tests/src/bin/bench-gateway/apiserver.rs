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

/// Starts one that knows the model `mock` in the namespace `team`, with `upstream` as its only engine.
pub async fn start(upstream: SocketAddr) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, upstream)) });
            // The gateway leaves at the end of the benchmark, and that is no error.
            tokio::spawn(async move {
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok()
            });
        }
    });
    Ok(address)
}

fn answer(request: &Request<Incoming>, upstream: SocketAddr) -> Response<Body> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if query.contains("watch=") {
        let nothing = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return json_response(StreamBody::new(nothing).boxed_unsync());
    }
    let kind = path.rsplit('/').next().unwrap_or_default();
    let (kind, version, items) = match kind {
        "modeldeployments" => ("ModelDeployment", "serving.weighbridge.dev/v1alpha1", vec![model()]),
        "modelaccesses" => ("ModelAccess", "serving.weighbridge.dev/v1alpha1", vec![access()]),
        "externalproviders" => ("ExternalProvider", "serving.weighbridge.dev/v1alpha1", Vec::new()),
        // Engines and proxies are told apart by the label that the gateway selects.
        "endpointslices" if query.contains("model") => {
            ("EndpointSlice", "discovery.k8s.io/v1", vec![slice(upstream)])
        }
        "endpointslices" => ("EndpointSlice", "discovery.k8s.io/v1", Vec::new()),
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

fn model() -> Value {
    json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "mock", "namespace": "team"},
        "spec": {"openWeights": {"source": "hf://org/repo/file.gguf"}}})
}

/// The load generator's key.
pub const KEY: &str = "sk-bench";

fn access() -> Value {
    json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelAccess",
        "metadata": {"name": "bench", "namespace": "team"},
        "spec": {"keys": [{"name": "load", "sha256": Digest::of(KEY.as_bytes()).to_string()}], "models": ["mock"]}})
}

fn slice(upstream: SocketAddr) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "mock-1", "namespace": "team", "labels": {labels::MODEL: "mock"}},
        "ports": [{"name": labels::SERVING_PORT_NAME, "port": upstream.port()}],
        "endpoints": [{"addresses": [upstream.ip()], "conditions": {"ready": true}}]})
}
