//! The admin port: probes, metrics, and what one role has more to tell.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::{Body, Handler, Shutdown};
use crate::metrics::Registry;

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Ready, or the reason why not.
type Readiness = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// One more path of the admin port.
pub(crate) trait More: Send + Sync {
    /// The path.
    fn path(&self) -> &'static str;
    /// The answer to a GET of it.
    fn answer(&self, query: Option<String>) -> BoxFuture<'static, Response<Body>>;
}

/// Answers `/livez`, `/readyz` and `/metrics`.
pub(crate) struct Admin {
    registry: Registry,
    shutdown: Shutdown,
    readiness: Readiness,
    more: Option<Box<dyn More>>,
}

impl Admin {
    pub(crate) fn new(
        registry: Registry,
        shutdown: Shutdown,
        readiness: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { registry, shutdown, readiness: Box::new(readiness), more: None }
    }

    /// The same, with one more path.
    pub(crate) fn with(self, more: impl More + 'static) -> Self {
        Self { more: Some(Box::new(more)), ..self }
    }

    fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_draining() {
            return Err("draining".to_owned());
        }
        (self.readiness)()
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        if method != Method::GET {
            return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
        }
        match path {
            "/livez" => reply(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.ready() {
                Ok(()) => reply(StatusCode::OK, TEXT, "ok\n"),
                Err(reason) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
            },
            "/metrics" => {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                    Ok(()) => reply(StatusCode::OK, OPEN_METRICS, text),
                    Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "metrics can't be encoded\n"),
                }
            }
            _ => reply(StatusCode::NOT_FOUND, TEXT, "only /livez, /readyz and /metrics\n"),
        }
    }
}

impl Handler for Admin {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method(), request.uri().path());
        match &self.more {
            Some(more) if method == Method::GET && path == more.path() => {
                more.answer(request.uri().query().map(str::to_owned)).await
            }
            Some(_) | None => self.answer(method, path),
        }
    }
}

fn reply(status: StatusCode, content_type: HeaderValue, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
