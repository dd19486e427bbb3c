//! The proxy's metrics. Their names differ from the gateway's, which counts the same requests: a sum over
//! all pods must count nothing twice.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

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

/// Seconds from 1 ms to the longest generation.
const BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 600.0];

/// The proxy's metrics. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct ProxyMetrics {
    labels: ProviderLabels,
    requests: Family<CodeLabels, Counter>,
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
        let first_byte = Family::<ProviderLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(BUCKETS)
        });
        let answer_bytes = Family::<ProviderLabels, Counter>::default();
        let metrics = Self {
            requests: Family::default(),
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

    pub(super) fn count(&self, code: u16) {
        self.requests.get_or_create(&CodeLabels { provider: self.labels.clone(), code }).inc();
    }
}
