//! Meter and record: what one request used and how it ended, settled once.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;
use weighbridge_wire::canonical::{FailureClass, Usage};
use weighbridge_wire::lane::Operation;

use crate::access::Caller;
use crate::directory::{Counts, Lease, Target};
use crate::metrics::{
    Cut, CutLabels, Direction, GatewayMetrics, ModelLabels, RequestLabels, TokenLabels, TraceLabels,
};
use crate::server::RequestSlot;
use crate::telemetry::{Ended, Trace};

/// Status of a request whose client left, as nginx writes it.
const CLIENT_LEFT: u16 = 499;
/// Of one answer and direction: more is no count, and a counter must not wrap.
const MOST_TOKENS: u64 = 1 << 40;

/// The code of a request that nobody answered: the client left, unless we failed.
pub(super) fn unanswered() -> u16 {
    if std::thread::panicking() { 500 } else { CLIENT_LEFT }
}

/// The record of one request. It settles when dropped: metrics are counted and one line is logged. Where
/// nothing else was said before, the client left.
pub(super) struct Record {
    metrics: GatewayMetrics,
    operation: Operation,
    trace: Trace,
    started: Instant,
    caller: Option<Caller>,
    named: Option<Named>,
    lease: Option<Lease>,
    /// The attempt under way, where the revision that it is at is measured.
    measured: Option<Measured>,
    slot: Option<RequestSlot>,
    /// How long it waited for an endpoint, where it had to.
    held: Option<Duration>,
    code: u16,
    stream: bool,
    usage: Option<Usage>,
    /// About what a provider reads, where it never says.
    estimated_input: Option<u64>,
    /// What the upstream said at the stream's start; the usage at its end says it again.
    prompt_tokens: Option<u64>,
    /// Pieces of text seen in a stream: about one token each.
    pieces: u64,
    first_piece: Option<Duration>,
    last_piece: Option<Instant>,
    cut: Option<Cut>,
}

/// An attempt that counts for a revision.
struct Measured {
    counts: Arc<Counts>,
    began: Instant,
}

/// The model's metrics, looked up once for a request.
struct Named {
    labels: ModelLabels,
    in_flight: Gauge,
    time_to_first_token: HistogramWithExemplars<TraceLabels>,
    inter_token_latency: Histogram,
    request_duration: HistogramWithExemplars<TraceLabels>,
}

impl Record {
    pub(super) fn begin(metrics: &GatewayMetrics, operation: Operation, trace: Trace) -> Self {
        Self {
            metrics: metrics.clone(),
            operation,
            trace,
            started: Instant::now(),
            caller: None,
            named: None,
            lease: None,
            measured: None,
            slot: None,
            held: None,
            code: CLIENT_LEFT,
            stream: false,
            usage: None,
            estimated_input: None,
            prompt_tokens: None,
            pieces: 0,
            first_piece: None,
            last_piece: None,
            cut: None,
        }
    }

    /// Its trace.
    pub(super) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// The request is `caller`'s.
    pub(super) fn caller(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    /// The request waited so long for an endpoint, beside what it waited before.
    pub(super) fn held(&mut self, time: Duration) {
        self.held = Some(self.held.unwrap_or_default() + time);
    }

    /// How long it waited for an endpoint; `None` where it did not have to.
    pub(super) fn time_held(&self) -> Option<Duration> {
        self.held
    }

    /// The request keeps its place until it is settled.
    pub(super) fn keep(&mut self, slot: RequestSlot) {
        self.slot = Some(slot);
    }

    /// The request is for `target`, which has about so many tokens to read; `None` where it counts them before it answers.
    /// Named again, it is for another one.
    pub(super) fn name(&mut self, target: &Target, estimated_input: Option<u64>) {
        if let Some(before) = self.named.take() {
            before.in_flight.dec();
        }
        self.estimated_input = estimated_input;
        let labels = target.labels.clone();
        let in_flight = self.metrics.in_flight.get_or_create_owned(&labels);
        in_flight.inc();
        self.named = Some(Named {
            in_flight,
            time_to_first_token: self.metrics.time_to_first_token.get_or_create_owned(&labels),
            inter_token_latency: self.metrics.inter_token_latency.get_or_create_owned(&labels),
            request_duration: self.metrics.request_duration.get_or_create_owned(&labels),
            labels,
        });
    }

    /// The request is at this endpoint; it leaves the one before.
    pub(super) fn at(&mut self, lease: Lease) {
        let counts = lease.counts().map(Arc::clone);
        self.measured = counts.map(|counts| Measured { counts, began: Instant::now() });
        self.lease = Some(lease);
    }

    /// The attempt gave no answer. It counts whether or not the next one does.
    pub(super) fn attempt_failed(&mut self, class: FailureClass) {
        let Some(Measured { counts, began: _ }) = self.measured.take() else { return };
        if is_the_upstreams(class) { counts.failed() } else { counts.answered() }
    }

    pub(super) fn endpoint_name(&self) -> Option<&str> {
        self.lease.as_ref().map(|lease| lease.endpoint().name.as_str())
    }

    /// The caller gets an error.
    pub(super) fn fail(&mut self, code: u16) {
        self.code = code;
    }

    /// A whole answer went out with this status.
    pub(super) fn whole(&mut self, status: u16, usage: Option<Usage>) {
        (self.code, self.usage) = (status, usage);
    }

    /// A stream has begun, over a prompt of this many tokens if the upstream knows; until it ends, its client
    /// may leave.
    pub(super) fn stream_began(&mut self, prompt_tokens: Option<u64>) {
        (self.stream, self.prompt_tokens) = (true, prompt_tokens);
    }

    /// `pieces` of text arrived together.
    pub(super) fn pieces(&mut self, pieces: u32) {
        let Some(named) = self.named.as_ref().filter(|_| pieces > 0) else { return };
        let now = Instant::now();
        let mut gaps = pieces;
        let gap = match self.last_piece {
            Some(last) => now.duration_since(last).as_secs_f64() / f64::from(pieces),
            None => {
                let first = now.duration_since(self.started);
                self.first_piece = Some(first);
                let exemplar = self.trace.sampled_id().map(|trace_id| TraceLabels { trace_id });
                named.time_to_first_token.observe(first.as_secs_f64(), exemplar, None);
                self.trace.first_piece(first);
                if let Some(measured) = &self.measured {
                    measured.counts.first_token(now.duration_since(measured.began));
                }
                gaps -= 1;
                0.0
            }
        };
        for _ in 0..gaps {
            named.inter_token_latency.observe(gap);
        }
        if let Some(measured) = &self.measured {
            measured.counts.tokens(gaps, gap);
        }
        self.trace.gaps(gaps, gap);
        self.last_piece = Some(now);
        self.pieces += u64::from(pieces);
    }

    /// An attempt that gave no answer used this.
    pub(super) fn spent(&self, usage: Usage) {
        if let Some(named) = &self.named {
            self.count(&named.labels, tokens(Some(usage), Seen { whole: true, ..Seen::default() }));
        }
    }

    /// The same, where nobody said what.
    pub(super) fn spent_unseen(&self) {
        if let Some(named) = self.named.as_ref().filter(|_| self.operation.is_metered()) {
            self.estimate(&named.labels);
        }
    }

    /// The stream reported its usage; the last report counts.
    pub(super) fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The stream came to its end.
    pub(super) fn stream_ended(&mut self) {
        self.code = 200;
    }

    /// The stream broke off; `code` is what it would have been as a status.
    pub(super) fn stream_cut(&mut self, cut: Cut, code: u16) {
        (self.cut, self.code) = (Some(cut), code);
    }

    /// What an answer came to, of a revision that is measured. Who leaves says nothing of it.
    fn measure(&mut self) {
        let Some(Measured { counts, began: _ }) = self.measured.take() else { return };
        match (self.cut, self.code) {
            (Some(Cut::client | Cut::memory | Cut::residency), _) | (None, CLIENT_LEFT) => {}
            (Some(Cut::upstream | Cut::upstream_error | Cut::idle | Cut::overdue), _) | (None, 500..) => {
                counts.failed();
            }
            (None, _) => counts.answered(),
        }
    }

    fn settle(&mut self) {
        if self.code == CLIENT_LEFT {
            self.code = unanswered();
        }
        if self.stream && self.code == CLIENT_LEFT {
            self.cut = Some(Cut::client);
        }
        self.measure();
        let took = self.started.elapsed();
        let labels = self.named.as_ref().map(|named| named.labels.clone()).unwrap_or_default();
        if let Some(named) = &self.named {
            named.in_flight.dec();
            let exemplar = self.trace.sampled_id().map(|trace_id| TraceLabels { trace_id });
            named.request_duration.observe(took.as_secs_f64(), exemplar, None);
        }
        let whole = self.code != CLIENT_LEFT && self.cut.is_none();
        let seen = Seen { prompt_tokens: self.prompt_tokens, pieces: self.pieces, whole };
        self.count(&labels, tokens(self.usage, seen));
        if self.usage.is_none() && self.prompt_tokens.is_none() && self.operation.is_metered() {
            self.uncounted(&labels);
        }
        if let Some(cause) = self.cut {
            self.metrics.streams_cut.get_or_create(&CutLabels { model: labels.clone(), cause }).inc();
        }
        self.log(&labels, took);
        self.trace.end(&Ended {
            code: self.code,
            took,
            held: self.held,
            usage: self.usage,
            cut: self.cut.map(|cut| format!("{cut:?}")),
            access: self.caller.as_ref().and_then(Caller::access),
        });
        self.metrics.requests.get_or_create(&RequestLabels { model: labels, code: self.code }).inc();
    }

    /// Nobody said what the prompt came to.
    fn uncounted(&self, labels: &ModelLabels) {
        let answered = self.stream || (200..300).contains(&self.code);
        if answered {
            self.metrics.usage_missing.get_or_create(labels).inc();
        }
        // Who leaves before an answer begins leaves a provider that has read the prompt.
        if answered || (self.code == CLIENT_LEFT && self.lease.is_some()) {
            self.estimate(labels);
        }
    }

    fn count(&self, labels: &ModelLabels, tokens: [(Direction, u64); 5]) {
        for (direction, count) in tokens.into_iter().filter(|(_, count)| *count > 0) {
            let labels = TokenLabels { model: labels.clone(), direction };
            self.metrics.tokens.get_or_create(&labels).inc_by(count.min(MOST_TOKENS));
        }
    }

    fn estimate(&self, labels: &ModelLabels) {
        if let Some(estimated) = self.estimated_input {
            let labels = TokenLabels { model: labels.clone(), direction: Direction::input };
            self.metrics.tokens_estimated.get_or_create(&labels).inc_by(estimated);
        }
    }

    fn log(&self, labels: &ModelLabels, took: Duration) {
        tracing::info!(
            target: "access",
            operation = self.operation.as_str(),
            access = self.caller.as_ref().and_then(Caller::access),
            key = self.caller.as_ref().and_then(Caller::key_name),
            trace = self.trace.id(),
            namespace = labels.namespace,
            model = labels.model,
            world = labels.world,
            endpoint = self.endpoint_name().unwrap_or_default(),
            code = self.code,
            stream = self.stream,
            cut = self.cut.map(|cut| format!("{cut:?}")),
            milliseconds = took.as_secs_f64() * 1e3,
            held_milliseconds = self.held.map(|held| held.as_secs_f64() * 1e3),
            first_token_milliseconds = self.first_piece.map(|first| first.as_secs_f64() * 1e3),
            input_tokens = self.usage.map(|usage| usage.input()).or(self.prompt_tokens),
            output_tokens = self.usage.map_or(self.pieces, |usage| usage.output()),
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Whether a failure of `class` at an engine is its own: it broke, or can't take what it is given.
fn is_the_upstreams(class: FailureClass) -> bool {
    match class {
        FailureClass::Upstream
        | FailureClass::TruncatedStream
        | FailureClass::Internal
        | FailureClass::RateLimited
        | FailureClass::Overloaded
        | FailureClass::Timeout => true,
        FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::TooLarge
        | FailureClass::Credential
        | FailureClass::Forbidden
        | FailureClass::NotFound
        | FailureClass::QuotaExhausted
        | FailureClass::ContentBlocked
        | FailureClass::ResidencyUnsatisfiable => false,
    }
}

/// What is known of an answer without its usage.
#[derive(Clone, Copy, Default)]
struct Seen {
    prompt_tokens: Option<u64>,
    pieces: u64,
    /// Whether the answer came to its end.
    whole: bool,
}

/// Tokens by direction, disjoint. Without a usage, a stream counts for the prompt that it named at its start
/// and the pieces seen of it; where it was cut, a usage is what it was at the start, and the pieces are more.
fn tokens(usage: Option<Usage>, seen: Seen) -> [(Direction, u64); 5] {
    let mut usage = usage.unwrap_or(Usage {
        input_uncached: seen.prompt_tokens.unwrap_or(0),
        output_visible: seen.pieces,
        ..Usage::default()
    });
    if !seen.whole {
        usage.output_visible += seen.pieces.saturating_sub(usage.output());
    }
    [
        (Direction::input, usage.input_uncached),
        (Direction::output, usage.output_visible),
        (Direction::cache_read, usage.cache_read),
        (Direction::cache_write, usage.cache_write_5m.saturating_add(usage.cache_write_1h)),
        (Direction::reasoning, usage.reasoning),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_add_up_to_the_usage() {
        let usage = Usage {
            input_uncached: 65,
            cache_read: 30,
            cache_write_5m: 3,
            cache_write_1h: 2,
            output_visible: 13,
            reasoning: 7,
            ..Usage::default()
        };
        let counts = tokens(Some(usage), Seen { prompt_tokens: Some(99), pieces: 99, whole: true });
        assert_eq!(counts.map(|(_, count)| count), [65, 13, 30, 5, 7]);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), usage.total());
    }

    #[test]
    fn a_cut_stream_counts_what_was_seen() {
        let seen = Seen { prompt_tokens: None, pieces: 4, whole: false };
        assert_eq!(tokens(None, seen).map(|(_, count)| count), [0, 4, 0, 0, 0]);
        let seen = Seen { prompt_tokens: Some(7), ..seen };
        assert_eq!(tokens(None, seen).map(|(_, count)| count), [7, 4, 0, 0, 0]);
        // What a message began with, in Anthropic's dialect.
        let begun = Usage { input_uncached: 5, cache_read: 3, output_visible: 1, ..Usage::default() };
        assert_eq!(tokens(Some(begun), seen).map(|(_, count)| count), [5, 4, 3, 0, 0]);
        let thought = Usage { reasoning: 9, ..begun };
        assert_eq!(tokens(Some(thought), seen).map(|(_, count)| count), [5, 1, 3, 0, 9]);
    }
}
