//! Bounds of both roles. Every default has its reason here; flags change the few that differ by site.

use std::sync::Arc;
use std::time::Duration;

use weighbridge_tls::ClientTls;

use crate::TelemetryConfig;

/// What a role takes in at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request body. Coding agents send megabytes; images as data URLs tens of them.
    pub body_bytes: usize,
    /// Bytes of all request bodies held at once, so that many large ones can't exhaust the pod's memory.
    pub buffered_bytes: usize,
    /// Connections open at once. An idle stream costs about 20 KB, so this many fit 320 MB.
    pub connections: usize,
    /// Requests open at once, over all connections: as many as connections, for most carry one.
    pub requests: usize,
    /// Bytes of one answer that is not a stream. It is held whole, since its usage is at the end.
    pub answer_bytes: usize,
    /// Bytes of one event of a stream. Real ones are below 1 MB, images included.
    pub event_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            buffered_bytes: 512 << 20,
            connections: 16_384,
            requests: 16_384,
            answer_bytes: 64 << 20,
            event_bytes: 4 << 20,
        }
    }
}

/// How long each stage of a request may take, and how often a proxy looks after its provider.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For the headers of a request to arrive; also how long an idle connection is kept.
    pub headers: Duration,
    /// For the body of a request to arrive.
    pub request_body: Duration,
    /// For name lookup, TCP and TLS to an upstream.
    pub connect: Duration,
    /// From the request sent to the first byte of the answer. A whole answer is computed before its first
    /// byte, so this bounds the longest generation: OpenAI's clients wait 10 minutes.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// How long the caller of a begun stream hears nothing before it gets a sign of life: well below the 60 s after which
    /// common load balancers close an idle connection.
    pub keep_alive: Duration,
    /// For a client to take what was written to it; a slower reader is dropped. Of HTTP/2 the connection is
    /// watched, not each stream in it.
    pub write_stall: Duration,
    /// Of a proxy: between two questions for the provider's list of models with one key. A key that died while nobody
    /// called is known within this; and lists change by the week.
    pub probe: Duration,
    /// The same at first, where something is wrong; it grows up to `probe`.
    pub probe_again: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(30),
            request_body: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            keep_alive: Duration::from_secs(15),
            write_stall: Duration::from_secs(60),
            probe: Duration::from_secs(300),
            probe_again: Duration::from_secs(10),
        }
    }
}

/// How a role ends.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How long to serve on, not ready, after the signal: endpoint removal and SIGTERM race
    /// (kubernetes#67592). Zero without a cluster.
    pub delay: Duration,
    /// How long open requests may take to finish after that.
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::ZERO, timeout: Duration::from_secs(300) }
    }
}

/// Configuration of the `serve` role.
#[derive(Clone, Debug, Default)]
pub struct GatewayConfig {
    /// Bounds on size and number.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// Bounds on the end.
    pub drain: Drain,
    /// Where spans and metrics go by OpenTelemetry; `None` for nowhere.
    pub telemetry: Option<TelemetryConfig>,
    /// What engines and proxies are shown; `None` where they are called by plain HTTP.
    pub upstream: Option<Arc<ClientTls>>,
}
