//! OpenTelemetry: a span for each request and one for each attempt at an upstream, and GenAI's metrics, sent by OTLP where
//! a collector is named. Without one a caller's trace context passes on untouched, and nothing is kept.
//!
//! No prompt and no answer is in a span: what is recorded is who answered, how long it took and how many tokens it was.

mod export;
mod instruments;
mod semantic;
mod trace;

use std::path::PathBuf;
use std::sync::Arc;

use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use url::Url;

use self::instruments::Instruments;
pub(crate) use self::trace::{Ended, Trace};

/// Where spans and metrics go. The rest is set as with every OpenTelemetry program, by the environment: service name and
/// resource (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`), sampling (`OTEL_TRACES_SAMPLER`), headers of the
/// export (`OTEL_EXPORTER_OTLP_HEADERS`) and its batches (`OTEL_BSP_…`, `OTEL_METRIC_EXPORT_INTERVAL`).
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The collector's OTLP endpoint over HTTP, such as `http://collector:4318`; `/v1/traces` and `/v1/metrics` are under it.
    pub collector: Url,
    /// More certificate authorities to trust, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Neither https nor http.
    #[error("--otlp-endpoint must begin with http:// or https://, such as http://collector:4318, not {0}")]
    Endpoint(Url),
    /// The file of certificate authorities can't be used.
    #[error("the collector's certificate can't be checked")]
    Trust(#[from] crate::forward::TrustError),
    /// What the environment says of the export is wrong.
    #[error("OpenTelemetry can't be set up: look at the OTEL_ variables")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The export, or none. Clones share one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telemetry(Option<Arc<Exporting>>);

#[derive(Debug)]
struct Exporting {
    tracer: SdkTracer,
    instruments: Instruments,
    spans: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

const SCOPE: &str = "weighbridge-gateway";

impl Telemetry {
    /// Begins to export, if there is where to. Must be called within the runtime that is to send.
    ///
    /// # Errors
    /// Where `config` can't be used.
    pub(crate) fn start(config: Option<&TelemetryConfig>) -> Result<Self, TelemetryError> {
        let Some(config) = config else { return Ok(Self::default()) };
        let (spans, metrics) = export::providers(config)?;
        Ok(Self::over(spans, metrics))
    }

    fn over(spans: SdkTracerProvider, metrics: SdkMeterProvider) -> Self {
        let instruments = Instruments::new(&metrics.meter(SCOPE));
        Self(Some(Arc::new(Exporting { tracer: spans.tracer(SCOPE), instruments, spans, metrics })))
    }

    /// Sends what is still here. A collector that does not answer costs a few seconds, and its loss is logged.
    pub(crate) async fn end(self) {
        let Some(exporting) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || {
            let results = [exporting.spans.shutdown(), exporting.metrics.shutdown()];
            for error in results.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "the last spans or metrics were not exported");
            }
        });
        if let Err(error) = ended.await {
            tracing::warn!(%error, "the export did not end");
        }
    }
}
