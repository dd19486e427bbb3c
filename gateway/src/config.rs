//! Bounds of both roles. Every default has its reason here; flags change the few that differ by site.

use std::sync::Arc;
use std::time::Duration;

use weighbridge_tls::ClientTls;

use crate::{TelemetryConfig, Waker};

/// Bytes of one request's headers, for both protocols, which is what a connection holds at worst while nothing has begun.
/// Clients send 2 KB.
pub(crate) const HEADER_BYTES: usize = 32 << 10;

/// Bodies, connections and the process itself get a fifth of the memory each. Two fifths are for what is made of bodies
/// for a moment, when they are translated: about twice their size.
const SHARES: u64 = 5;

/// What a role takes in at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request body. Coding agents send megabytes; images as data URLs tens of them.
    pub body_bytes: usize,
    /// Bytes held at once of request bodies, as they came and as they were translated, and of whole answers, so that many
    /// large ones can't exhaust the pod's memory.
    pub buffered_bytes: usize,
    /// Connections open at once.
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

/// Limits that can't hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--max-body-bytes is {body} and --max-buffered-bytes {buffered}: a body that is translated is in memory twice, so the \
     second must be twice the first or more. Lower --max-body-bytes, or give more memory: where it is not set, \
     --max-buffered-bytes is a fifth of --memory-limit"
)]
pub struct LimitsError {
    body: usize,
    buffered: usize,
}

impl Limits {
    /// The defaults, lowered to what fits `memory` bytes.
    pub fn within(memory: u64) -> Self {
        let most = Self::default();
        let share = usize::try_from(memory / SHARES).unwrap_or(usize::MAX);
        let buffered_bytes = most.buffered_bytes.min(share);
        let connections = most.connections.min(share / HEADER_BYTES).max(1);
        Self {
            buffered_bytes,
            connections,
            requests: connections,
            // As it came and as it was translated.
            answer_bytes: most.answer_bytes.min(buffered_bytes / 2),
            ..most
        }
    }

    /// The same, if they hold together.
    ///
    /// # Errors
    /// Where the largest body could never be translated.
    pub fn checked(self) -> Result<Self, LimitsError> {
        let (body, buffered) = (self.body_bytes, self.buffered_bytes);
        if body > buffered / 2 { Err(LimitsError { body, buffered }) } else { Ok(self) }
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
    /// Before upstreams of which none could be reached are tried again, unless others take their place sooner.
    pub reach_again: Duration,
    /// From the request sent to the first byte of the answer. A whole answer is computed before its first
    /// byte, so this bounds the longest generation: OpenAI's clients wait 10 minutes.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// How long a connection that carries requests to an upstream beside each other is silent before the upstream is asked
    /// whether it is there; and how long it has to say so. One that vanished would hold all of them until each is overdue.
    pub ping: Duration,
    /// How long the caller of a begun stream hears nothing before it gets a sign of life: well below the 60 s after which
    /// common load balancers close an idle connection.
    pub keep_alive: Duration,
    /// For a client to take something of what is written to it; who takes nothing is dropped, of HTTP/2 the one stream.
    pub write_stall: Duration,
    /// For an upstream's error to arrive in full: it is a message, and all the while nothing else is tried.
    pub error_body: Duration,
    /// From a request's headers to the last byte of its answer, whatever comes meanwhile: a stream that never ends holds a
    /// place for ever.
    pub total: Duration,
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
            reach_again: Duration::from_secs(1),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            ping: Duration::from_secs(15),
            keep_alive: Duration::from_secs(15),
            write_stall: Duration::from_secs(60),
            error_body: Duration::from_secs(10),
            total: Duration::from_secs(3600),
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
    /// Who wakes models that are scaled to zero; `None` where nobody can.
    pub waker: Option<Waker>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pod may be given, to the smallest in which the default body passes.
    #[test]
    fn what_is_held_fits_the_memory_with_room_for_copies() {
        for mebibytes in [320, 512, 1000, 4096, 1 << 20] {
            let memory = mebibytes << 20;
            let Limits { body_bytes, buffered_bytes, connections, requests, answer_bytes, event_bytes: _ } =
                Limits::within(memory).checked().expect("they hold together");
            // Beside what is held, its tree and what is written of it.
            let bodies = 3 * buffered_bytes;
            assert!((bodies + connections * HEADER_BYTES) as u64 <= memory / 5 * 4, "{mebibytes} MiB");
            assert!(2 * body_bytes <= buffered_bytes && 2 * answer_bytes <= buffered_bytes);
            assert_eq!(requests, connections);
        }
        assert_eq!(Limits::within(u64::MAX), Limits::default());
        assert!(Limits::within(512 << 20).connections > 3000);
    }

    #[test]
    fn a_body_that_could_never_be_translated_is_refused_by_its_flags() {
        let error = Limits::within(256 << 20).checked().expect_err("32 MiB do not fit").to_string();
        assert!(
            error.contains("--max-body-bytes is 33554432") && error.contains("--memory-limit"),
            "{error}"
        );
        assert!(Limits::within(0).checked().is_err());
    }
}
