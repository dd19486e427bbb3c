//! How much the directory knows, read at scrape time.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use weighbridge_crds::{RevisionFigures, TrialFigures};

use super::Directory;
use crate::metrics::Registry;

/// Of what was counted of a revision on trial, or of the one beside it. Which they are changes with each trial, and a label for
/// each would be ever more series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrialLabels {
    namespace: String,
    model: String,
    /// `stable` or `canary`.
    revision: &'static str,
    /// `answered` or `failed`.
    result: &'static str,
}

#[derive(Debug)]
struct Counts(Directory);

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.0.snapshot();
        let models = ConstGauge::new(snapshot.targets().len() as i64);
        let encoded =
            encoder.encode_descriptor("weighbridge_models", "Models known", None, models.metric_type())?;
        models.encode(encoded)?;
        let ready = snapshot.targets().filter(|target| !target.endpoints.is_empty()).count();
        let ready = ConstGauge::new(ready as i64);
        let encoded = encoder.encode_descriptor(
            "weighbridge_models_ready",
            "Models with at least one ready endpoint",
            None,
            ready.metric_type(),
        )?;
        ready.encode(encoded)?;
        let mut attempts = encoder.encode_descriptor(
            "weighbridge_trial_attempts",
            "Attempts at the two revisions of a trial, in its present step",
            None,
            MetricType::Gauge,
        )?;
        for (deployment, figures) in snapshot.trials() {
            let TrialFigures { key: _, stable_figures, canary_figures } = figures;
            for (revision, figures) in [("stable", stable_figures), ("canary", canary_figures)] {
                let RevisionFigures { requests, failed, .. } = figures;
                for (result, count) in [("answered", requests.saturating_sub(failed)), ("failed", failed)] {
                    let (namespace, model) = (deployment.namespace.clone(), deployment.name.clone());
                    let labels = TrialLabels { namespace, model, revision, result };
                    let count = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
                    count.encode(attempts.encode_family(&labels)?)?;
                }
            }
        }
        let gateways = ConstGauge::new(self.0.gateways() as i64);
        let encoded = encoder.encode_descriptor(
            "weighbridge_gateways",
            "Gateways that are ready, as this one sees them: each takes its share of what may wait",
            None,
            gateways.metric_type(),
        )?;
        gateways.encode(encoded)
    }
}

impl Directory {
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Counts(self.clone())));
    }
}
