//! The proxy's metrics. Their names differ from the gateway's, which counts the same requests: a sum over
//! all pods must count nothing twice. A key is named by its place, never by what it is.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::keys::{Keys, Rest, Standing};
use crate::metrics::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    namespace: String,
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    #[prometheus(flatten)]
    provider: ProviderLabels,
    /// Status that the gateway got; 499 where it left.
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    #[prometheus(flatten)]
    provider: ProviderLabels,
    /// Place in `spec.apiKeys`, from 0.
    key: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StandingLabels {
    #[prometheus(flatten)]
    key: KeyLabels,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    #[prometheus(flatten)]
    provider: ProviderLabels,
    outcome: &'static str,
}

/// Seconds from 1 ms to the longest generation.
const BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 600.0];

/// The proxy's metrics. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct ProxyMetrics {
    labels: ProviderLabels,
    requests: Family<CodeLabels, Counter>,
    probes: Family<ProbeLabels, Counter>,
    answering: Gauge,
    /// Requests not yet answered.
    pub in_flight: Gauge,
    /// From sending to the head of the provider's answer.
    pub first_byte: Histogram,
    /// Bytes passed on.
    pub answer_bytes: Counter,
}

impl ProxyMetrics {
    pub(super) fn register(registry: &mut Registry, namespace: &str, provider: &str) -> Self {
        let labels = ProviderLabels { namespace: namespace.to_owned(), provider: provider.to_owned() };
        let by_provider = Family::<ProviderLabels, Gauge>::default();
        let answering = Family::<ProviderLabels, Gauge>::default();
        let first_byte = Family::<ProviderLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(BUCKETS)
        });
        let answer_bytes = Family::<ProviderLabels, Counter>::default();
        let metrics = Self {
            requests: Family::default(),
            probes: Family::default(),
            answering: answering.get_or_create_owned(&labels),
            in_flight: by_provider.get_or_create_owned(&labels),
            first_byte: first_byte.get_or_create_owned(&labels),
            answer_bytes: answer_bytes.get_or_create_owned(&labels),
            labels,
        };
        registry.register(
            "weighbridge_provider_requests",
            "Requests to the provider, by the status they ended with",
            metrics.requests.clone(),
        );
        registry.register(
            "weighbridge_provider_probes",
            "Times that the provider was asked for its list of models, by what came of it",
            metrics.probes.clone(),
        );
        registry.register(
            "weighbridge_provider_answering",
            "1 while the provider answers, 0 while the last few requests all failed there or on the way",
            answering,
        );
        registry.register(
            "weighbridge_provider_requests_in_flight",
            "Requests not yet answered",
            by_provider,
        );
        registry.register_with_unit(
            "weighbridge_provider_time_to_first_byte",
            "From sending a request to the head of the provider's answer",
            Unit::Seconds,
            first_byte,
        );
        registry.register_with_unit(
            "weighbridge_provider_answer",
            "Bytes of answers passed on",
            Unit::Bytes,
            answer_bytes,
        );
        metrics
    }

    pub(super) fn probed(&self, outcome: &'static str) {
        self.probes.get_or_create(&ProbeLabels { provider: self.labels.clone(), outcome }).inc();
    }

    pub(super) fn answering(&self, answers: bool) {
        self.answering.set(i64::from(answers));
    }

    pub(super) fn count(&self, code: u16) {
        self.requests.get_or_create(&CodeLabels { provider: self.labels.clone(), code }).inc();
    }
}

/// What happened to each key. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct KeyMetrics {
    labels: ProviderLabels,
    retires: Family<KeyLabels, Counter>,
    rests: Family<KeyLabels, Counter>,
}

impl KeyMetrics {
    pub(super) fn register(registry: &mut Registry, namespace: &str, provider: &str) -> Self {
        let labels = ProviderLabels { namespace: namespace.to_owned(), provider: provider.to_owned() };
        let metrics = Self { labels, retires: Family::default(), rests: Family::default() };
        registry.register(
            "weighbridge_provider_key_retires",
            "Keys that the provider refused: out of use until their Secret changes or a probe succeeds",
            metrics.retires.clone(),
        );
        registry.register(
            "weighbridge_provider_key_rests",
            "Times that the provider limited a key, or its account was used up",
            metrics.rests.clone(),
        );
        metrics
    }

    pub(super) fn retired(&self, index: usize) {
        self.retires.get_or_create(&key_labels(&self.labels, index)).inc();
    }

    pub(super) fn rested(&self, index: usize) {
        self.rests.get_or_create(&key_labels(&self.labels, index)).inc();
    }

    /// Shows where each of `keys` stands.
    pub(super) fn show(&self, registry: &mut Registry, keys: Arc<Keys>) {
        registry.register_collector(Box::new(Standings { labels: self.labels.clone(), keys }));
    }
}

fn key_labels(provider: &ProviderLabels, index: usize) -> KeyLabels {
    KeyLabels { provider: provider.clone(), key: u32::try_from(index).unwrap_or(u32::MAX) }
}

/// Read at scrape time: a rest ends with no request to notice it.
#[derive(Debug)]
struct Standings {
    labels: ProviderLabels,
    keys: Arc<Keys>,
}

const STATES: [&str; 6] = ["usable", "resting", "exhausted", "forbidden", "retired", "missing"];

impl Collector for Standings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauges = Family::<StandingLabels, Gauge>::default();
        for (index, standing) in self.keys.standings().into_iter().enumerate() {
            let stands = match standing {
                Standing::Usable => "usable",
                Standing::Resting { until: _, why: Rest::Limited } => "resting",
                Standing::Resting { until: _, why: Rest::Exhausted } => "exhausted",
                Standing::Forbidden => "forbidden",
                Standing::Retired => "retired",
                Standing::Missing => "missing",
            };
            for state in STATES {
                let labels = StandingLabels { key: key_labels(&self.labels, index), state };
                gauges.get_or_create(&labels).set(i64::from(state == stands));
            }
        }
        let encoded = encoder.encode_descriptor(
            "weighbridge_provider_key_state",
            "1 for the state that a key is in",
            None,
            gauges.metric_type(),
        )?;
        gauges.encode(encoded)
    }
}
