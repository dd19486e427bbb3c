//! Residency: what an upstream says of the place that an answer came from, held against the place that the provider's
//! owner demands, before the answer goes out. What is demanded and where an answer says it is
//! [`weighbridge_wire::provider::DataPolicy`]'s affair.
//!
//! A mismatch is counted, and told to the provider's proxy, whose state others subscribe to.

use std::sync::Arc;

use http::HeaderMap;
use weighbridge_wire::canonical::{Failure, FailureClass};
use weighbridge_wire::provider::{DataPolicy, Evidence, Mismatch};

use super::admit::Call;
use super::reports::Reports;
use crate::directory::Endpoint;
use crate::forward::{RESIDENCY_PATH, Residency as Report};
use crate::metrics::{GatewayMetrics, MismatchLabels, ModelLabels};

/// Where mismatches go.
#[derive(Debug)]
pub(super) struct Residency {
    reports: Arc<Reports>,
    metrics: GatewayMetrics,
}

/// One answer's check.
pub(super) struct Check {
    demanded: Option<Demanded>,
}

struct Demanded {
    policy: Arc<DataPolicy>,
    evidence: Option<Evidence>,
    residency: Arc<Residency>,
    endpoint: Arc<Endpoint>,
    labels: ModelLabels,
    /// What the answer said, once it was judged.
    judged: Option<Option<Arc<str>>>,
    /// One answer is one mismatch, however often it says so.
    told: bool,
}

impl Residency {
    pub(super) fn new(reports: Arc<Reports>, metrics: GatewayMetrics) -> Arc<Self> {
        Arc::new(Self { reports, metrics })
    }

    /// The check of an answer of `endpoint` to `call`.
    pub(super) fn check(self: &Arc<Self>, call: &Call, endpoint: &Arc<Endpoint>) -> Check {
        let demanded = call.target.data_policy.as_ref().map(|policy| Demanded {
            policy: Arc::clone(policy),
            evidence: policy.evidence(call.lane.upstream()),
            residency: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
            labels: call.target.labels.clone(),
            judged: None,
            told: false,
        });
        Check { demanded }
    }

    /// Tells the proxy, which tells whoever asks.
    fn report(&self, endpoint: &Arc<Endpoint>, mismatch: Mismatch) {
        let (reports, endpoint) = (Arc::clone(&self.reports), Arc::clone(endpoint));
        let Mismatch { required, stated } = mismatch;
        tokio::spawn(async move {
            reports.send(&endpoint, RESIDENCY_PATH, &Report { required, stated }).await;
        });
    }
}

impl Check {
    /// The head of the answer is there.
    ///
    /// # Errors
    /// Where it shows that the answer must not be delivered.
    pub(super) fn head(&mut self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(demanded) = &mut self.demanded else { return Ok(()) };
        match demanded.evidence {
            Some(Evidence::Header(name)) => {
                let stated = headers.get(name).and_then(|value| value.to_str().ok());
                demanded.judge(stated.map(Arc::from))
            }
            Some(Evidence::Body) | None => Ok(()),
        }
    }

    /// The answer said where it is made; it may say so again.
    ///
    /// # Errors
    /// Where it must not be delivered.
    pub(super) fn said(&mut self, place: Option<&Arc<str>>) -> Result<(), Failure> {
        let (Some(demanded), Some(place)) = (&mut self.demanded, place) else { return Ok(()) };
        let known = matches!(&demanded.judged, Some(Some(judged)) if judged == place);
        match demanded.evidence {
            Some(Evidence::Body) if !known => demanded.judge(Some(Arc::clone(place))),
            Some(Evidence::Body | Evidence::Header(_)) | None => Ok(()),
        }
    }

    /// The answer is to be delivered from here on: if it was to say where it is made, it has.
    ///
    /// # Errors
    /// Where it did not.
    pub(super) fn delivered(&mut self) -> Result<(), Failure> {
        let Some(demanded) = &mut self.demanded else { return Ok(()) };
        match (demanded.evidence, &demanded.judged) {
            (Some(Evidence::Body), None) => demanded.judge(None),
            (Some(Evidence::Body | Evidence::Header(_)) | None, _) => Ok(()),
        }
    }

    /// The provider refused the request; where it did so because of the place, that is a mismatch as well.
    pub(super) fn refused(&mut self, failure: &Failure) {
        let Some(demanded) = &mut self.demanded else { return };
        let mismatch = demanded.policy.mismatch(None);
        if let Some(mismatch) = mismatch.filter(|_| failure.class == FailureClass::ResidencyUnsatisfiable) {
            demanded.tell(mismatch);
        }
    }
}

impl Demanded {
    fn judge(&mut self, stated: Option<Arc<str>>) -> Result<(), Failure> {
        let judged = self.policy.judge(stated.as_deref());
        self.judged = Some(stated);
        let Err(mismatch) = judged else { return Ok(()) };
        let failure = mismatch.failure();
        self.tell(mismatch);
        if self.policy.withholds() { Err(failure) } else { Ok(()) }
    }

    fn tell(&mut self, mismatch: Mismatch) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let action = if self.policy.withholds() { "withheld" } else { "delivered" };
        let Mismatch { required, stated } = &mismatch;
        let model = &self.labels.model;
        tracing::warn!(model, required, stated, action, "an answer did not come from where it was to");
        let labels = MismatchLabels { model: self.labels.clone(), action };
        self.residency.metrics.residency_mismatches.get_or_create(&labels).inc();
        self.residency.report(&self.endpoint, mismatch);
    }
}
