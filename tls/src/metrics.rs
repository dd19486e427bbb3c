//! Metrics: until when certificates hold, files that could not be used, handshakes that failed.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::ServerTls;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub reason: &'static str,
}

/// Somebody who holds a certificate.
pub trait Certified: fmt::Debug + Send + Sync {
    /// `server` or `client`: one of each kind in a process.
    fn usage(&self) -> &'static str;
    /// When the certificate ends, in seconds since 1970, and how often changed files could not be used.
    fn look(&self) -> (i64, u64);
}

/// Names the metrics of `certified` and of `server`'s handshakes to `registry`, which puts `weighbridge` in front. A scrape
/// looks at the files, so that a bad one is seen also where nobody connects.
pub fn register(registry: &mut Registry, certified: Vec<Arc<dyn Certified>>, server: Option<&ServerTls>) {
    if let Some(server) = server {
        registry.register(
            "tls_handshakes_full",
            "Handshakes that waited because as many as allowed were under way",
            server.full.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "Connections that ended before a request: not let in or no common TLS (refused), plain_text, slow, left",
            server.failures.clone(),
        );
    }
    if !certified.is_empty() {
        registry.register_collector(Box::new(Certificates(certified)));
    }
}

#[derive(Debug)]
struct Certificates(Vec<Arc<dyn Certified>>);

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let looks: Vec<_> = self.0.iter().map(|certified| (certified.usage(), certified.look())).collect();
        let mut expiry = encoder.encode_descriptor(
            "certificate_expiry_timestamp",
            "When the certificate in use ends, in seconds since 1970",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (usage, (ends, _)) in &looks {
            one(&mut expiry, usage, &ConstGauge::new(*ends))?;
        }
        let mut failures = encoder.encode_descriptor(
            "certificate_reload_failures",
            "Times that changed certificate files could not be used; the last good ones stay in use",
            None,
            MetricType::Counter,
        )?;
        for (usage, (_, count)) in &looks {
            one(&mut failures, usage, &ConstCounter::new(*count))?;
        }
        Ok(())
    }
}

fn one(encoder: &mut MetricEncoder<'_>, usage: &'static str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_family(&[("use", usage)])?)
}
