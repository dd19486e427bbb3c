use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How an API write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Done.
    Success,
    /// Somebody else wrote, or a precondition did not hold.
    Conflict,
    /// Refused, or no connection.
    Error,
    /// No answer in time.
    Timeout,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconcileLabels {
    kind: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    verb: String,
    kind: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CacheLabels {
    namespace: String,
    cache: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UseLabels {
    r#use: &'static str,
}

struct Inner {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Family<KindLabels, Histogram>,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Family<KindLabels, Counter>,
    malformed: Family<KindLabels, Counter>,
    queue_full: Family<KindLabels, Counter>,
    leader: Gauge,
    certificates: Family<UseLabels, Counter>,
    certificate_expiry: Family<UseLabels, Gauge>,
    cache_bytes: Family<CacheLabels, Gauge>,
    cache_fetching_bytes: Family<CacheLabels, Gauge>,
    cache_fetch_rate: Family<CacheLabels, Gauge>,
    cache_waiting: Family<CacheLabels, Gauge>,
}

/// How a ModelCache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheGauges {
    /// Bytes that it holds.
    pub held: i64,
    /// Bytes that have come of what is not whole yet.
    pub fetching: i64,
    /// How many come in a second.
    pub per_second: i64,
    /// Entries that are to be held and are not.
    pub waiting: i64,
}

/// Counters of the operator. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weighbridge");
        let reconciles = Family::default();
        registry.register(
            "reconcile",
            "Reconciles by outcome: ok, refused, or the category of the error",
            Family::clone(&reconciles),
        );
        let durations: Family<KindLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 15)));
        registry.register("reconcile_duration_seconds", "Time that a reconcile took", durations.clone());
        let writes = Family::default();
        registry.register(
            "reconcile_api_writes",
            "Writes to the apiserver by verb, kind and outcome",
            Family::clone(&writes),
        );
        let watch_errors = Family::default();
        registry.register(
            "reconcile_watch_errors",
            "Watches that ended with an error and were begun anew",
            Family::clone(&watch_errors),
        );
        let malformed = Family::default();
        registry.register(
            "reconcile_malformed_objects",
            "Watched objects that could not be read and were left out",
            Family::clone(&malformed),
        );
        let queue_full = Family::default();
        registry.register(
            "reconcile_queue_full",
            "Times that a watch waited for room in the queue of objects to reconcile",
            Family::clone(&queue_full),
        );
        let leader = Gauge::default();
        registry.register("reconcile_leader", "1 while this process holds the Lease", leader.clone());
        let certificates = Family::default();
        registry.register(
            "certificates_issued",
            "Certificates made, by whose they are: authority, gateway, engine, proxy",
            Family::clone(&certificates),
        );
        let certificate_expiry = Family::default();
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the installation's own certificates end, in seconds since 1970; only who leads knows",
            Family::clone(&certificate_expiry),
        );
        let cache_bytes = Family::default();
        registry.register(
            "cache_bytes",
            "Bytes that a ModelCache holds; only who leads knows",
            Family::clone(&cache_bytes),
        );
        let cache_fetching_bytes = Family::default();
        registry.register(
            "cache_fetching_bytes",
            "Bytes that have come of what a ModelCache fetches",
            Family::clone(&cache_fetching_bytes),
        );
        let cache_fetch_rate = Family::default();
        registry.register(
            "cache_fetch_bytes_per_second",
            "Bytes that come in a second into a ModelCache",
            Family::clone(&cache_fetch_rate),
        );
        let cache_waiting = Family::default();
        registry.register(
            "cache_entries_missing",
            "Entries that a ModelCache is to hold and does not yet",
            Family::clone(&cache_waiting),
        );
        Metrics(Arc::new(Inner {
            registry,
            reconciles,
            durations,
            writes,
            watch_errors,
            malformed,
            queue_full,
            leader,
            certificates,
            certificate_expiry,
            cache_bytes,
            cache_fetching_bytes,
            cache_fetch_rate,
            cache_waiting,
        }))
    }
}

impl Metrics {
    /// One reconcile ended.
    pub fn reconciled(&self, kind: &str, outcome: &str, took: Duration) {
        let labels = ReconcileLabels { kind: kind.to_owned(), outcome: outcome.to_owned() };
        self.0.reconciles.get_or_create(&labels).inc();
        self.0.durations.get_or_create(&KindLabels { kind: kind.to_owned() }).observe(took.as_secs_f64());
    }

    /// One write ended.
    pub fn api_write(&self, verb: &str, kind: &str, outcome: WriteOutcome) {
        let outcome = match outcome {
            WriteOutcome::Success => "success",
            WriteOutcome::Conflict => "conflict",
            WriteOutcome::Error => "error",
            WriteOutcome::Timeout => "timeout",
        };
        let labels =
            WriteLabels { verb: verb.to_owned(), kind: kind.to_owned(), outcome: outcome.to_owned() };
        self.0.writes.get_or_create(&labels).inc();
    }

    /// A watch ended with an error.
    pub fn watch_error(&self, kind: &str) {
        self.0.watch_errors.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
    }

    /// A watched object could not be read.
    pub fn malformed(&self, kind: &str) {
        self.0.malformed.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
    }

    /// The queue of objects to reconcile had no room.
    pub fn queue_full(&self, kind: &str) {
        self.0.queue_full.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
    }

    /// This process gained or lost the Lease.
    pub fn leading(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// A certificate was made.
    pub fn certificate_issued(&self, of: &'static str) {
        self.0.certificates.get_or_create(&UseLabels { r#use: of }).inc();
    }

    /// When a certificate of the installation ends, in seconds since 1970.
    pub fn certificate_expiry(&self, of: &'static str, ends: i64) {
        self.0.certificate_expiry.get_or_create(&UseLabels { r#use: of }).set(ends);
    }

    /// A ModelCache is so now.
    pub fn cache(&self, namespace: &str, name: &str, gauges: CacheGauges) {
        let CacheGauges { held, fetching, per_second, waiting } = gauges;
        let labels = CacheLabels { namespace: namespace.to_owned(), cache: name.to_owned() };
        for (family, value) in self.of_caches().into_iter().zip([held, fetching, per_second, waiting]) {
            family.get_or_create(&labels).set(value);
        }
    }

    /// A ModelCache is not there any more.
    pub fn cache_gone(&self, namespace: &str, name: &str) {
        let labels = CacheLabels { namespace: namespace.to_owned(), cache: name.to_owned() };
        for family in self.of_caches() {
            family.remove(&labels);
        }
    }

    fn of_caches(&self) -> [&Family<CacheLabels, Gauge>; 4] {
        let Inner { cache_bytes, cache_fetching_bytes, cache_fetch_rate, cache_waiting, .. } = &*self.0;
        [cache_bytes, cache_fetching_bytes, cache_fetch_rate, cache_waiting]
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut body = String::new();
        // Writing into a String can't fail.
        let _ = text::encode(&mut body, &self.0.registry);
        body
    }
}
