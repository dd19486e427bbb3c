//! How much the directory knows, read at scrape time.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::Directory;
use crate::metrics::Registry;

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
