//! The gateway's metrics: DESIGN §6's names. Never a prompt, a user or a request id in a label.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
pub(crate) use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// Who answers. All empty where a request named no known model: a caller must not be able to make labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ModelLabels {
    /// Namespace of the ModelDeployment.
    pub namespace: String,
    /// Name of the ModelDeployment.
    pub model: String,
    /// `open` or `closed`.
    pub world: &'static str,
    /// Name of the ExternalProvider; empty for open weights.
    pub provider: String,
}

/// Of an exemplar: the trace of one observation. No label of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TraceLabels {
    pub trace_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    #[prometheus(flatten)]
    pub model: ModelLabels,
    /// HTTP status that the caller got; 499 where it left, 502 or 504 where a begun stream was cut.
    pub code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TokenLabels {
    #[prometheus(flatten)]
    pub model: ModelLabels,
    pub direction: Direction,
}

/// What a token was. The five are disjoint, so that a sum over them counts nothing twice: `input` leaves
/// out what a cache served or took, `output` leaves out reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the derive takes label values from the variants' names")]
pub(crate) enum Direction {
    input,
    output,
    cache_read,
    cache_write,
    reasoning,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RetryLabels {
    #[prometheus(flatten)]
    pub model: ModelLabels,
    /// Class of the failure before.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MismatchLabels {
    #[prometheus(flatten)]
    pub model: ModelLabels,
    /// `withheld` or `delivered`.
    pub action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CutLabels {
    #[prometheus(flatten)]
    pub model: ModelLabels,
    pub cause: Cut,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HoldLabels {
    #[prometheus(flatten)]
    pub model: ModelLabels,
    pub end: HoldEnd,
}

/// What became of a request that came while its model had no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the derive takes label values from the variants' names")]
pub(crate) enum HoldEnd {
    /// It waited, and an endpoint came.
    released,
    /// It waited as long as it may.
    timed_out,
    /// As many requests as may waited for the model already.
    full,
    /// As many requests or bytes as may waited at this gateway already.
    no_room,
    /// It waited, and its client left.
    left,
    /// This gateway ends.
    draining,
    /// It waited, and then nothing was to come any more: the model was refused, suspended or deleted, or can't be woken.
    refused,
    /// It waited, and then another upstream answered for the model: the request was made anew for that one.
    changed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WakeLabels {
    /// Namespace of the ModelDeployment.
    pub namespace: String,
    /// Name of the ModelDeployment.
    pub model: String,
    /// `written`, `awake` where somebody else was faster, or `failed`.
    pub result: &'static str,
}

/// Why a begun stream did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the derive takes label values from the variants' names")]
pub(crate) enum Cut {
    /// The client left.
    client,
    /// The upstream's stream ended without `[DONE]`, or its connection broke.
    upstream,
    /// The upstream sent an error into the stream.
    upstream_error,
    /// The upstream fell silent.
    idle,
    /// It took longer than a request may in all.
    overdue,
    /// There was no memory left for what a translation keeps of it.
    memory,
    /// The upstream said that it answers from elsewhere than it is to.
    residency,
}

/// Seconds from 1 ms (a cached first token) to 10 minutes (the longest generation).
const DURATIONS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0,
];
/// Seconds from 0.5 ms (tokens that arrive together) to 5 s (a stall).
const INTER_TOKEN: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Seconds from a moment (a pod that is replaced) to the hour that a request may wait at most.
const HELD: [f64; 13] = [0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

type HistogramFamily = Family<ModelLabels, Histogram, fn() -> Histogram>;
type TracedFamily =
    Family<ModelLabels, HistogramWithExemplars<TraceLabels>, fn() -> HistogramWithExemplars<TraceLabels>>;

/// The gateway's metrics. Clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct GatewayMetrics {
    pub requests: Family<RequestLabels, Counter>,
    pub in_flight: Family<ModelLabels, Gauge>,
    pub tokens: Family<TokenLabels, Counter>,
    pub time_to_first_token: TracedFamily,
    pub inter_token_latency: HistogramFamily,
    pub request_duration: TracedFamily,
    pub streams_cut: Family<CutLabels, Counter>,
    pub retries: Family<RetryLabels, Counter>,
    /// Answers whose input is in no count.
    pub usage_missing: Family<ModelLabels, Counter>,
    pub tokens_estimated: Family<TokenLabels, Counter>,
    pub residency_mismatches: Family<MismatchLabels, Counter>,
    pub held_requests: Family<ModelLabels, Gauge>,
    pub held_bytes: Family<ModelLabels, Gauge>,
    pub held: HistogramFamily,
    pub holds: Family<HoldLabels, Counter>,
    pub wakes: Family<WakeLabels, Counter>,
}

impl GatewayMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let durations: fn() -> HistogramWithExemplars<TraceLabels> =
            || HistogramWithExemplars::new(DURATIONS.into_iter());
        let inter_token: fn() -> Histogram = || Histogram::new(INTER_TOKEN);
        let held_seconds: fn() -> Histogram = || Histogram::new(HELD);
        let metrics = Self {
            requests: Family::default(),
            in_flight: Family::default(),
            tokens: Family::default(),
            time_to_first_token: Family::new_with_constructor(durations),
            inter_token_latency: Family::new_with_constructor(inter_token),
            request_duration: Family::new_with_constructor(durations),
            streams_cut: Family::default(),
            retries: Family::default(),
            usage_missing: Family::default(),
            tokens_estimated: Family::default(),
            residency_mismatches: Family::default(),
            held_requests: Family::default(),
            held_bytes: Family::default(),
            held: Family::new_with_constructor(held_seconds),
            holds: Family::default(),
            wakes: Family::default(),
        };
        let Self {
            requests,
            in_flight,
            tokens,
            time_to_first_token,
            inter_token_latency,
            request_duration,
            streams_cut,
            retries,
            usage_missing,
            tokens_estimated,
            residency_mismatches,
            held_requests,
            held_bytes,
            held,
            holds,
            wakes,
        } = &metrics;
        registry.register(
            "weighbridge_requests",
            "Requests, by the status they ended with",
            requests.clone(),
        );
        registry.register("weighbridge_requests_in_flight", "Requests not yet answered", in_flight.clone());
        registry.register("weighbridge_tokens", "Tokens; directions are disjoint", tokens.clone());
        registry.register_with_unit(
            "weighbridge_time_to_first_token",
            "From the request's headers to the first piece of text, in streams",
            Unit::Seconds,
            time_to_first_token.clone(),
        );
        registry.register_with_unit(
            "weighbridge_inter_token_latency",
            "Between two pieces of text of one stream",
            Unit::Seconds,
            inter_token_latency.clone(),
        );
        registry.register_with_unit(
            "weighbridge_request_duration",
            "From the request's headers to the end of the answer",
            Unit::Seconds,
            request_duration.clone(),
        );
        registry.register("weighbridge_streams_cut", "Begun streams that did not end", streams_cut.clone());
        registry.register(
            "weighbridge_retries",
            "Attempts after the first, by what the one before came to; the caller saw nothing of it",
            retries.clone(),
        );
        registry.register(
            "weighbridge_usage_missing",
            "Answers, whole or cut, without a token count of their prompt: weighbridge_tokens lacks their input",
            usage_missing.clone(),
        );
        registry.register(
            "weighbridge_tokens_estimated",
            "Tokens that a provider was made to read and never counted, by their bytes: none of weighbridge_tokens",
            tokens_estimated.clone(),
        );
        registry.register(
            "weighbridge_residency_mismatches",
            "Answers that came from elsewhere than dataPolicy.region says, or did not say whence",
            residency_mismatches.clone(),
        );
        registry.register(
            "weighbridge_held_requests",
            "Requests that wait for their model to have an endpoint",
            held_requests.clone(),
        );
        registry.register("weighbridge_held_bytes", "Bodies of requests that wait", held_bytes.clone());
        registry.register_with_unit(
            "weighbridge_held",
            "How long requests waited for their model to have an endpoint, whatever came of it",
            Unit::Seconds,
            held.clone(),
        );
        registry.register(
            "weighbridge_holds",
            "Requests for a model without an endpoint that was to have one, by what became of their wait",
            holds.clone(),
        );
        registry.register(
            "weighbridge_wakes",
            "Attempts at waking a model that is scaled to zero, by how they ended",
            wakes.clone(),
        );
        metrics
    }
}
