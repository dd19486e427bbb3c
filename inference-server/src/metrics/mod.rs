//! Prometheus metrics of the server: names, labels, buckets, and the text that `/metrics` answers.
//!
//! `weighbridge_requests_total` and its like are the door's view, counted once by the gateway; what this server
//! sees of the same requests is `weighbridge_engine_…`, so that no sum counts a token twice. No label ever holds
//! a prompt, a user or a request id.

mod card;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use weighbridge_cuda::device::CardGauges;
use weighbridge_tls::{Certified, ServerTls};

use crate::engine::LoadSnapshot;
use card::Watched;

/// Seconds; from a token of a small model to a long answer.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// What every request metric is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    model: String,
    world: &'static str,
}

impl ModelLabels {
    /// Labels of a served model; only names that we serve may come here, or anyone could make new series.
    pub fn new(model: &str) -> Self {
        Self { model: model.to_owned(), world: "open" }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    world: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    world: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// What the engine thread counts.
#[derive(Debug)]
pub struct EngineMetrics {
    /// Requests refused because as many waited as may.
    pub queue_full: Counter,
    /// Steps that failed as a whole.
    pub failed_steps: Counter,
    /// Sequences that ended because nobody listened any more.
    pub cancelled: Counter,
    /// Sequences that lost their blocks to older ones.
    pub preemptions: Counter,
    step_seconds: Histogram,
    step_tokens: Counter,
}

impl EngineMetrics {
    /// Notes a step of `tokens` tokens.
    pub fn observe_step(&self, took: Duration, tokens: usize) {
        self.step_seconds.observe(took.as_secs_f64());
        self.step_tokens.inc_by(tokens as u64);
    }
}

impl Default for EngineMetrics {
    fn default() -> Self {
        Self {
            queue_full: Counter::default(),
            failed_steps: Counter::default(),
            cancelled: Counter::default(),
            preemptions: Counter::default(),
            step_seconds: seconds(),
            step_tokens: Counter::default(),
        }
    }
}

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    in_flight: Gauge,
    tokens: Family<TokenLabels, Counter>,
    first_token: Family<ModelLabels, Histogram, fn() -> Histogram>,
    inter_token: Family<ModelLabels, Histogram, fn() -> Histogram>,
    duration: Family<ModelLabels, Histogram, fn() -> Histogram>,
    streams_cut: Family<CauseLabels, Counter>,
    connections_full: Counter,
    write_stalls: Counter,
    cold_start: Family<PhaseLabels, Gauge<f64, AtomicU64>>,
    engine: EngineGauges,
    cards: Watched,
}

#[derive(Debug, Default)]
struct EngineGauges {
    queue_tokens: Gauge,
    waiting: Gauge,
    running: Gauge,
    kv_usage: Gauge<f64, AtomicU64>,
    asleep: Gauge,
}

impl Metrics {
    /// All metrics, at zero. `engine` is what the engine thread counts.
    pub fn new(engine: &EngineMetrics) -> Self {
        let mut registry = Registry::with_prefix("weighbridge");
        let seconds = || seconds as fn() -> Histogram;
        let metrics = Self {
            requests: Family::default(),
            in_flight: Gauge::default(),
            tokens: Family::default(),
            first_token: Family::new_with_constructor(seconds()),
            inter_token: Family::new_with_constructor(seconds()),
            duration: Family::new_with_constructor(seconds()),
            streams_cut: Family::default(),
            connections_full: Counter::default(),
            write_stalls: Counter::default(),
            cold_start: Family::default(),
            engine: EngineGauges::default(),
            cards: Watched::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("engine_requests", "Requests answered, by status", metrics.requests.clone());
        r.register("engine_requests_in_flight", "Requests being answered", metrics.in_flight.clone());
        r.register("engine_tokens", "Tokens read (input) and drawn (output)", metrics.tokens.clone());
        let unit = || Unit::Seconds;
        let help = "From a request's arrival to its first token";
        r.register_with_unit("engine_time_to_first_token", help, unit(), metrics.first_token.clone());
        let help = "Between two tokens of an answer";
        r.register_with_unit("engine_inter_token_latency", help, unit(), metrics.inter_token.clone());
        let help = "From a request's arrival to the end of its answer";
        r.register_with_unit("engine_request_duration", help, unit(), metrics.duration.clone());
        r.register("engine_streams_cut", "Answers that did not reach their end", metrics.streams_cut.clone());
        let help = "Connections that had to wait for a place";
        r.register("engine_connections_full", help, metrics.connections_full.clone());
        let help = "Connections given up because the client took nothing of what was written to it";
        r.register("engine_write_stalls", help, metrics.write_stalls.clone());
        r.register_with_unit(
            "cold_start",
            "Time of each phase until ready: fetch (wait, lookup, download, verify), open, load (adapters, map, repack, reserve), tokenizer, warm; total",
            unit(),
            metrics.cold_start.clone(),
        );
        let gauges = &metrics.engine;
        r.register("queue_tokens", "Tokens known but not computed", gauges.queue_tokens.clone());
        r.register("queue_requests", "Sequences that wait", gauges.waiting.clone());
        r.register("running_requests", "Sequences in the batch", gauges.running.clone());
        r.register("kv_cache_usage_ratio", "Share of KV blocks in use", gauges.kv_usage.clone());
        let help = "1 while the engine has given its device's memory back, else 0";
        r.register("asleep", help, gauges.asleep.clone());
        r.register(
            "preemptions",
            "Sequences that lost their blocks to older ones",
            engine.preemptions.clone(),
        );
        r.register_with_unit("step", "Time of an engine step", unit(), engine.step_seconds.clone());
        r.register("step_tokens", "Tokens computed, prompts included", engine.step_tokens.clone());
        r.register("queue_full", "Requests refused by a full queue", engine.queue_full.clone());
        r.register("failed_steps", "Steps that failed as a whole", engine.failed_steps.clone());
        r.register("cancelled_sequences", "Sequences whose client left", engine.cancelled.clone());
        r.register_collector(metrics.cards.collector());
        Self { registry, ..metrics }
    }

    /// With what is known of the server's certificate.
    pub fn with_tls(mut self, tls: Option<&Arc<ServerTls>>) -> Self {
        let certified = tls.map(|tls| Arc::clone(tls) as Arc<dyn Certified>);
        let certified = certified.into_iter().collect();
        weighbridge_tls::register(&mut self.registry, certified, tls.map(Arc::as_ref));
        self
    }

    /// Shows `cards`, which compute from here on: each scrape asks them.
    pub fn watch(&self, cards: Vec<Box<dyn CardGauges>>) {
        self.cards.set(cards);
    }

    /// Notes that a request came in. Pairs with [`Metrics::request_ended`].
    pub fn request_began(&self) {
        self.in_flight.inc();
    }

    /// Notes that a request's answer ended, however it did. `model` is `None` where none was found.
    pub fn request_ended(&self, model: Option<&ModelLabels>, code: u16, took: Duration) {
        self.in_flight.dec();
        let name = model.map_or("", |labels| labels.model.as_str());
        let labels = RequestLabels { model: name.to_owned(), world: "open", code };
        self.requests.get_or_create(&labels).inc();
        if let Some(labels) = model {
            self.duration.get_or_create(labels).observe(took.as_secs_f64());
        }
    }

    /// Notes tokens read and drawn.
    pub fn count_tokens(&self, model: &ModelLabels, input: usize, output: usize) {
        for (direction, count) in [("input", input), ("output", output)] {
            let ModelLabels { model, world } = model.clone();
            self.tokens.get_or_create(&TokenLabels { model, world, direction }).inc_by(count as u64);
        }
    }

    /// Notes the first token of an answer.
    pub fn first_token(&self, model: &ModelLabels, after: Duration) {
        self.first_token.get_or_create(model).observe(after.as_secs_f64());
    }

    /// Notes a later token of an answer.
    pub fn next_token(&self, model: &ModelLabels, after: Duration) {
        self.inter_token.get_or_create(model).observe(after.as_secs_f64());
    }

    /// Notes an answer that did not reach its end.
    pub fn stream_cut(&self, cause: &'static str) {
        self.streams_cut.get_or_create(&CauseLabels { cause }).inc();
    }

    /// Notes a connection that found no place.
    pub fn connections_full(&self) {
        self.connections_full.inc();
    }

    /// Notes a connection whose client stopped reading.
    pub fn write_stalled(&self) {
        self.write_stalls.inc();
    }

    /// Notes how long a phase of the start took; one that comes again adds to itself.
    pub fn cold_start(&self, phase: &'static str, took: Duration) {
        self.cold_start.get_or_create(&PhaseLabels { phase }).inc_by(took.as_secs_f64());
    }

    /// The text format, with the engine's gauges as of `load`. Asks the cards that compute, which can take their driver's time.
    pub fn render(&self, load: Option<&LoadSnapshot>) -> String {
        if let Some(load) = load {
            let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.engine.queue_tokens.set(signed(load.queued_tokens));
            self.engine.waiting.set(signed(load.waiting));
            self.engine.running.set(signed(load.running));
            self.engine.kv_usage.set(load.kv_usage());
            self.engine.asleep.set(i64::from(load.asleep));
        }
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            // Writing to a string does not fail.
            Err(_) => String::new(),
        }
    }
}
