//! The trace of one request: the caller's context, our span under it, and one under that for each attempt.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Span as SdkSpan;
use weighbridge_wire::canonical::Usage;
use weighbridge_wire::lane::Operation;

use super::semantic::{
    ACCESS, CACHE_READ_TOKENS, CACHE_WRITE_TOKENS, CUT, ERROR_TYPE, HELD, INPUT_TOKENS, METHOD, MODEL,
    OPERATION_NAME, OUTPUT_TOKENS, PROVIDER_NAME, REASONING_TOKENS, REQUEST_MODEL, ROUTE, SERVER_ADDRESS,
    SERVER_PORT, STATUS, WORLD, operation_name,
};
use super::{Exporting, Telemetry};
use crate::directory::{Endpoint, Target};

/// The trace of one request. What is not ended when it is dropped ends there.
pub(crate) struct Trace {
    operation: Operation,
    /// The caller's, or our own span's.
    context: SpanContext,
    recording: Option<Recording>,
}

struct Recording {
    telemetry: Telemetry,
    request: SdkSpan,
    /// The attempt under way, and what tells the model's metrics apart.
    attempt: Option<SdkSpan>,
    model: Vec<KeyValue>,
}

/// How a request ended.
pub(crate) struct Ended<'a> {
    /// The status that the caller got.
    pub code: u16,
    /// How long it took, and its model alone.
    pub took: Duration,
    /// How long it waited for its model to have an endpoint, where it did.
    pub held: Option<Duration>,
    /// What it used, where that is known.
    pub usage: Option<Usage>,
    /// Why a stream was cut.
    pub cut: Option<String>,
    /// Name of the ModelAccess whose key called.
    pub access: Option<&'a str>,
}

impl Trace {
    /// A request with these headers.
    pub(crate) fn begin(telemetry: &Telemetry, operation: Operation, headers: &HeaderMap) -> Self {
        let caller = caller_context(headers);
        let recording = telemetry.0.as_ref().map(|exporting| {
            let builder = exporting
                .tracer
                .span_builder(format!("POST {}", operation.as_str()))
                .with_kind(SpanKind::Server)
                .with_attributes([KeyValue::new(METHOD, "POST"), KeyValue::new(ROUTE, operation.as_str())]);
            let request = exporting.tracer.build_with_context(builder, &under(&caller));
            Recording { telemetry: telemetry.clone(), request, attempt: None, model: Vec::new() }
        });
        let context = recording.as_ref().map_or(caller, |recording| recording.request.span_context().clone());
        Self { operation, context, recording }
    }

    /// The trace's id, where somebody keeps the trace: then it is worth naming beside a figure.
    pub(crate) fn sampled_id(&self) -> Option<String> {
        (self.context.is_valid() && self.context.is_sampled()).then(|| self.context.trace_id().to_string())
    }

    /// The trace's id; `None` where nobody traces.
    pub(crate) fn id(&self) -> Option<String> {
        self.context.is_valid().then(|| self.context.trace_id().to_string())
    }

    /// An attempt at `endpoint` begins.
    pub(crate) fn attempt(&mut self, target: &Target, endpoint: &Endpoint) {
        let name = operation_name(self.operation);
        let Some(recording) = &mut self.recording else { return };
        let Some(Exporting { tracer, .. }) = recording.telemetry.0.as_deref() else { return };
        recording.model = vec![
            KeyValue::new(OPERATION_NAME, name),
            KeyValue::new(PROVIDER_NAME, target.vendor),
            KeyValue::new(REQUEST_MODEL, target.upstream_model.clone()),
        ];
        let attributes = recording.model.iter().cloned().chain([
            KeyValue::new(MODEL, target.canonical.clone()),
            KeyValue::new(WORLD, target.world.as_str()),
            KeyValue::new(SERVER_ADDRESS, endpoint.address.ip().to_string()),
            KeyValue::new(SERVER_PORT, i64::from(endpoint.address.port())),
        ]);
        let builder = tracer
            .span_builder(format!("{name} {}", target.upstream_model))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        recording.attempt = Some(tracer.build_with_context(builder, &under(&self.context)));
    }

    /// Tells the upstream whose child its work is: the attempt's. Without an export what the caller sent stays.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        let Some(attempt) = self.recording.as_ref().and_then(|recording| recording.attempt.as_ref()) else {
            return;
        };
        TraceContextPropagator::new()
            .inject_context(&under(attempt.span_context()), &mut HeaderInjector(headers));
    }

    /// The attempt gave no answer, for this kind of reason, and used so much all the same.
    pub(crate) fn attempt_failed(&mut self, class: &'static str, usage: Option<Usage>) {
        if let Some((usage, (exporting, model))) = usage.zip(self.exporting()) {
            exporting.instruments.tokens(model, usage);
        }
        let Some(mut span) = self.recording.as_mut().and_then(|recording| recording.attempt.take()) else {
            return;
        };
        if let Some(usage) = usage {
            span.set_attributes(tokens(usage));
        }
        span.set_attribute(KeyValue::new(ERROR_TYPE, class));
        span.set_status(Status::error(class));
        span.end();
    }

    /// The first piece of a stream's text came this long after the request.
    pub(crate) fn first_piece(&self, after: Duration) {
        if let Some((exporting, model)) = self.exporting() {
            exporting.instruments.first_piece(model, after);
        }
    }

    /// As many pieces came, each this many seconds after the one before.
    pub(crate) fn gaps(&self, count: u32, seconds: f64) {
        if let Some((exporting, model)) = self.exporting() {
            for _ in 0..count {
                exporting.instruments.gap(model, seconds);
            }
        }
    }

    fn exporting(&self) -> Option<(&Exporting, &[KeyValue])> {
        let recording = self.recording.as_ref()?;
        Some((recording.telemetry.0.as_deref()?, &recording.model))
    }

    /// The request has ended.
    pub(crate) fn end(&mut self, ended: &Ended<'_>) {
        let Some(mut recording) = self.recording.take() else { return };
        // A client that leaves is no error of ours, and its status no server's.
        let error = (ended.code >= 400 && ended.code != 499).then(|| ended.code.to_string());
        if let Some(exporting) = recording.telemetry.0.as_deref().filter(|_| !recording.model.is_empty()) {
            exporting.instruments.operation(&recording.model, ended.took, ended.usage, error.clone());
        }
        if let Some(mut attempt) = recording.attempt.take() {
            if let Some(usage) = ended.usage {
                attempt.set_attributes(tokens(usage));
            }
            finish(&mut attempt, ended, error.as_deref());
        }
        recording.request.set_attribute(KeyValue::new(STATUS, i64::from(ended.code)));
        if let Some(access) = ended.access {
            recording.request.set_attribute(KeyValue::new(ACCESS, access.to_owned()));
        }
        if let Some(held) = ended.held {
            recording.request.set_attribute(KeyValue::new(HELD, held.as_secs_f64()));
        }
        // Of a server's span only its own faults are errors (semantic conventions for HTTP spans).
        finish(&mut recording.request, ended, error.as_deref().filter(|_| ended.code >= 500));
    }
}

/// Where a child of `parent` begins. No parent is another thing than one that is not sampled, as the sampler sees it.
fn under(parent: &SpanContext) -> Context {
    if parent.is_valid() { Context::new().with_remote_span_context(parent.clone()) } else { Context::new() }
}

fn finish(span: &mut SdkSpan, ended: &Ended<'_>, error: Option<&str>) {
    if let Some(cut) = &ended.cut {
        span.set_attribute(KeyValue::new(CUT, cut.clone()));
    }
    if let Some(error) = error {
        span.set_attribute(KeyValue::new(ERROR_TYPE, error.to_owned()));
        span.set_status(Status::error(""));
    }
    span.end();
}

fn tokens(usage: Usage) -> impl Iterator<Item = KeyValue> {
    let counts = [
        (INPUT_TOKENS, usage.input()),
        (OUTPUT_TOKENS, usage.output()),
        (CACHE_READ_TOKENS, usage.cache_read),
        (CACHE_WRITE_TOKENS, usage.cache_write_5m.saturating_add(usage.cache_write_1h)),
        (REASONING_TOKENS, usage.reasoning),
    ];
    counts.into_iter().map(|(name, count)| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX)))
}

/// The trace context that a caller sent (W3C Trace Context); none where it is absent or malformed.
fn caller_context(headers: &HeaderMap) -> SpanContext {
    if !headers.contains_key("traceparent") {
        return SpanContext::empty_context();
    }
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    context.span().span_context().clone()
}
