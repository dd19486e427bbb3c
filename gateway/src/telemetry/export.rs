//! OTLP over HTTP, through the runtime that serves: the SDK sends from threads of its own, which have none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use url::Url;

use super::{SCOPE, TelemetryConfig, TelemetryError};
use crate::forward::client_tls;

/// As OTLP's own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Providers that send to the collector.
pub(super) fn providers(
    config: &TelemetryConfig,
) -> Result<(SdkTracerProvider, SdkMeterProvider), TelemetryError> {
    if !matches!(config.collector.scheme(), "http" | "https") {
        return Err(TelemetryError::Endpoint(config.collector.clone()));
    }
    let client = client(config)?;
    let spans = SpanExporter::builder()
        .with_http()
        .with_shared_http_client(Arc::clone(&client))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .with_endpoint(under(&config.collector, "v1/traces"))
        .build()?;
    let metrics = MetricExporter::builder()
        .with_http()
        .with_shared_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .with_endpoint(under(&config.collector, "v1/metrics"))
        .build()?;
    let spans = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(spans).build();
    let metrics =
        SdkMeterProvider::builder().with_resource(resource()).with_periodic_exporter(metrics).build();
    Ok((spans, metrics))
}

/// What the environment says of this process; a name where it says none.
fn resource() -> Resource {
    let named = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]
        .into_iter()
        .filter_map(|name| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| (name, value))
        })
        .any(|(name, value)| name == "OTEL_SERVICE_NAME" || value.contains("service.name="));
    let builder = Resource::builder();
    if named { builder.build() } else { builder.with_service_name(SCOPE).build() }
}

fn under(collector: &Url, path: &str) -> String {
    format!("{}/{path}", collector.as_str().trim_end_matches('/'))
}

fn client(config: &TelemetryConfig) -> Result<Arc<dyn HttpClient>, TelemetryError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(client_tls(config.ca_file.as_deref())?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Arc::new(Sender { client: HyperClient::new(connector, TIMEOUT, None), runtime: Handle::current() }))
}

/// Sends within the runtime, whatever thread asks.
#[derive(Debug)]
struct Sender {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
}

impl HttpClient for Sender {
    // As `async_trait` writes it.
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> BoxFuture<'async_trait, Result<Response<Bytes>, HttpError>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send_bytes(request).await });
        Box::pin(async move { sent.await? })
    }
}
