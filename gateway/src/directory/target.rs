//! One model: who answers for it, and where.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::uri::Authority;
use tokio::sync::Notify;
use weighbridge_crds::Hold;
use weighbridge_tls::Identity;
use weighbridge_wire::lane::Speaks;
use weighbridge_wire::provider::DataPolicy;

use super::Absence;
use super::trial::{Counts, Split, Trial};
use crate::metrics::ModelLabels;

/// The two worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Weights that we serve.
    Open,
    /// A provider's API.
    Closed,
}

impl World {
    /// The word in metrics and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// `gen_ai.provider.name` of the models that our own engine serves.
pub const ENGINE: &str = "weighbridge";

/// A model as a source describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Namespace of the model; its public name is `namespace/name`.
    pub namespace: String,
    /// Name of the model in its namespace.
    pub name: String,
    /// Who answers.
    pub world: World,
    /// Name of the provider; `None` for open weights.
    pub provider: Option<String>,
    /// Who made what answers, in OpenTelemetry's words (`gen_ai.provider.name`).
    pub vendor: &'static str,
    /// The model's name at the upstream.
    pub upstream_model: String,
    /// What the upstream understands.
    pub speaks: Speaks,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// What it was made from.
    pub seen: Seen,
    /// Where it answers now. Empty while nothing is ready.
    pub endpoints: Vec<EntryEndpoint>,
    /// Why nothing is ready, while nothing is.
    pub absence: Absence,
    /// How long and how many requests wait meanwhile, over all gateways.
    pub hold: Hold,
    /// What its provider's owner demands of where it is answered and what is kept.
    pub data_policy: Option<Arc<DataPolicy>>,
    /// Its LoRA adapters: each answers as `namespace/name:adapter`, where the model does.
    pub adapters: Vec<String>,
    /// A revision of it on trial: which of its endpoints gets what.
    pub split: Option<Split>,
}

/// The resource that a model was described by, as it was seen; the default where there is no cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// UID of the ModelDeployment.
    pub uid: String,
    /// Its `metadata.generation`.
    pub generation: i64,
}

#[cfg(test)]
impl Entry {
    /// A model of open weights that answers at these ports, with every default.
    pub(crate) fn sample(namespace: &str, name: &str, ports: &[u16]) -> Self {
        let endpoint = |port: &u16| EntryEndpoint {
            address: SocketAddr::from(([10, 0, 0, 1], *port)),
            name: port.to_string(),
            identity: None,
        };
        Self {
            namespace: namespace.into(),
            name: name.into(),
            world: World::Open,
            provider: None,
            vendor: ENGINE,
            upstream_model: format!("{namespace}/{name}"),
            speaks: Speaks::engine(),
            created: 0,
            seen: Seen::default(),
            endpoints: ports.iter().map(endpoint).collect(),
            absence: Absence::expected(),
            hold: Hold::default(),
            data_policy: None,
            adapters: Vec::new(),
            split: None,
        }
    }
}

/// One place where a model answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// Its name in headers and logs, such as a pod's.
    pub name: String,
    /// Whom its certificate must name, where we are called by one; `None` on one machine, by plain HTTP.
    pub identity: Option<Identity>,
}

/// A place where models answer, with the requests it has open. Lives on from snapshot to snapshot.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub address: SocketAddr,
    /// Where it is.
    pub authority: Authority,
    /// Where it is and who has to answer there.
    pub vouched: Option<Authority>,
    pub name: String,
    identity: Option<Identity>,
    in_flight: AtomicUsize,
    freed: Arc<Notify>,
}

impl Endpoint {
    /// `None` never happens: an address is always an authority, and so are names of resources.
    pub(super) fn new(endpoint: &EntryEndpoint) -> Option<Self> {
        let address = endpoint.address;
        let vouched = match &endpoint.identity {
            Some(identity) => {
                Some(format!("{}:{}", identity.host_at(address.ip()), address.port()).parse().ok()?)
            }
            None => None,
        };
        Some(Self {
            address,
            authority: address.to_string().parse().ok()?,
            vouched,
            name: endpoint.name.clone(),
            identity: endpoint.identity.clone(),
            in_flight: AtomicUsize::new(0),
            freed: Arc::default(),
        })
    }

    /// Whether it is the one that `described` is.
    pub(super) fn is(&self, described: &EntryEndpoint) -> bool {
        let EntryEndpoint { address, name, identity } = described;
        self.address == *address && self.name == *name && self.identity == *identity
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Resolves once a request leaves it from now on.
    pub(crate) fn freed(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.freed).notified_owned()
    }
}

/// A request's place at an endpoint; counted until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    endpoint: Arc<Endpoint>,
    /// Where what comes of it is counted, where its revision is measured.
    counts: Option<Arc<Counts>>,
}

impl Lease {
    pub(crate) fn take(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, counts: None }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The endpoint itself, which holds no place.
    pub(crate) fn shared(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint)
    }

    pub(crate) fn counts(&self) -> Option<&Arc<Counts>> {
        self.counts.as_ref()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.freed.notify_waiters();
    }
}

/// A ModelDeployment by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Deployment {
    pub namespace: String,
    pub name: String,
}

/// A model in a snapshot.
#[derive(Debug)]
pub(crate) struct Target {
    /// `namespace/name`.
    pub canonical: String,
    /// What it is of: an adapter is of its model's.
    pub deployment: Deployment,
    pub world: World,
    pub provider: Option<String>,
    pub vendor: &'static str,
    pub upstream_model: String,
    /// What its upstream understands.
    pub speaks: Speaks,
    pub created: i64,
    /// What it was made from.
    pub seen: Seen,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Why it has no endpoint, while it has none.
    pub absence: Absence,
    pub hold: Hold,
    pub data_policy: Option<Arc<DataPolicy>>,
    /// Names of its adapters; an adapter has none.
    pub adapters: Vec<String>,
    /// Of its model: an adapter's requests count as the model's.
    pub trial: Option<Arc<Trial>>,
    pub labels: ModelLabels,
}

impl Target {
    /// Whether what was made for `other`, its dialect and what its owner demands included, may go to this one.
    pub(crate) fn takes_what_was_for(&self, other: &Self) -> bool {
        let of = |target: &Self| (target.world, target.speaks);
        std::ptr::eq(self, other)
            || of(self) == of(other)
                && self.provider == other.provider
                && self.upstream_model == other.upstream_model
                && self.data_policy == other.data_policy
    }

    /// Whether it is a ModelDeployment itself, and no adapter of one.
    pub(crate) fn is_whole_model(&self) -> bool {
        self.labels.model == self.deployment.name
    }

    /// A place at one of its endpoints.
    pub(crate) fn lease(&self, endpoint: &Arc<Endpoint>) -> Lease {
        let counts = self.trial.as_ref().and_then(|trial| trial.counts(endpoint));
        let mut lease = Lease::take(Arc::clone(endpoint));
        lease.counts = counts;
        lease
    }

    /// Its ModelDeployment's labels: those of an adapter are its model's.
    pub(crate) fn deployment_labels(&self) -> ModelLabels {
        ModelLabels { model: self.deployment.name.clone(), ..self.labels.clone() }
    }
}
