//! The snapshot and its swap.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use weighbridge_crds::TrialFigures;
use weighbridge_crds::adapter::{ADAPTER_SEPARATOR, adapted_name};
use weighbridge_wire::canonical::Failure;

use super::target::{Deployment, Endpoint, Entry, Target};
use super::trial::{Split, Trial};
use crate::failure;
use crate::metrics::ModelLabels;

/// What models exist and where they answer. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    current: Arc<ArcSwap<Snapshot>>,
    synced: Arc<AtomicBool>,
    replaced: watch::Sender<()>,
    gateways: Arc<AtomicUsize>,
}

/// Every state of a directory that comes after the one that was looked at.
#[derive(Debug)]
pub(crate) struct Changes(watch::Receiver<()>);

impl Changes {
    /// Comes back once there is a state that did not exist at the last call, or when this was made.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // No directory is left to change.
            std::future::pending::<()>().await;
        }
    }
}

/// One state of the directory.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// By `namespace/name`, in order: it is listed to callers.
    targets: BTreeMap<String, Arc<Target>>,
    /// Whether anything of it is measured, and so changes by itself.
    measured: bool,
}

impl Directory {
    /// A directory that knows nothing yet and says so ([`Directory::is_synced`]).
    pub fn unsynced() -> Self {
        Self::default()
    }

    /// A directory of `entries`; where two have one name, the last one counts.
    pub fn from_entries(entries: Vec<Entry>) -> Self {
        let directory = Self::default();
        directory.replace(entries);
        directory
    }

    /// Replaces what is known. Requests under way go on; endpoints in both states keep their counts.
    pub fn replace(&self, entries: Vec<Entry>) {
        let next = self.current.load().next(entries);
        self.current.store(Arc::new(next));
        self.synced.store(true, Ordering::Release);
        self.replaced.send_replace(());
    }

    /// Looked at after this, a state is not missed.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.replaced.subscribe())
    }

    /// So many gateways stand before these models, this one included; each takes its share of the requests that wait.
    pub fn set_gateways(&self, ready: usize) {
        self.gateways.store(ready, Ordering::Relaxed);
    }

    /// How many gateways stand before these models: this one alone, where nobody said.
    pub(crate) fn gateways(&self) -> usize {
        self.gateways.load(Ordering::Relaxed).max(1)
    }

    /// Whether the source has been read once. Stays true when it is lost: the last state is served on.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The same, to be kept for a while.
    pub(crate) fn kept_snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

impl Snapshot {
    /// The model called `canonical` (`namespace/name`).
    pub(crate) fn get(&self, canonical: &str) -> Option<&Arc<Target>> {
        self.targets.get(canonical)
    }

    /// The model that a caller calls `name`: canonical, or bare in `default_namespace`.
    pub(crate) fn resolve(&self, name: &str, default_namespace: &str) -> Option<&Arc<Target>> {
        if name.contains('/') { self.get(name) } else { self.get(&format!("{default_namespace}/{name}")) }
    }

    /// What a caller who asked for `name`, which is not here, is told.
    pub(crate) fn not_found(&self, name: &str, default_namespace: &str) -> Failure {
        let adapted = name.split_once(ADAPTER_SEPARATOR);
        let found = adapted
            .and_then(|(model, adapter)| Some((model, adapter, self.resolve(model, default_namespace)?)));
        let Some((model, adapter, target)) = found else { return failure::model_not_found(name) };
        let served = target.adapters.iter().map(|adapter| format!("`{}`", adapted_name(model, adapter)));
        failure::adapter_not_found(model, adapter, &served.collect::<Vec<_>>())
    }

    /// Every model, by name.
    pub(crate) fn targets(&self) -> impl ExactSizeIterator<Item = &Arc<Target>> {
        self.targets.values()
    }

    /// Whether something is measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }

    /// What is measured of each model that has a revision on trial.
    pub(crate) fn trials(&self) -> impl Iterator<Item = (&Deployment, TrialFigures)> {
        let own = self.targets.values().filter(|target| target.is_whole_model());
        own.filter_map(|target| Some((&target.deployment, target.trial.as_ref()?.figures()?)))
    }

    fn next(&self, entries: Vec<Entry>) -> Self {
        // Endpoints of several models (a proxy's) are one endpoint with one count.
        let mut endpoints: HashMap<SocketAddr, Arc<Endpoint>> = HashMap::new();
        for endpoint in self.targets.values().flat_map(|target| &target.endpoints) {
            endpoints.insert(endpoint.address, Arc::clone(endpoint));
        }
        let mut trials = HashMap::new();
        for target in self.targets.values() {
            trials.extend(target.trial.as_ref().map(|trial| (target.deployment.clone(), Arc::clone(trial))));
        }
        let targets = entries.into_iter().flat_map(with_adapters).map(|(deployment, entry)| {
            let trial = entry.split.as_ref().map(|split| trial(&deployment, split, &mut trials));
            let target = target(deployment, entry, trial, &mut endpoints);
            (target.canonical.clone(), Arc::new(target))
        });
        let targets: BTreeMap<_, _> = targets.collect();
        let measured =
            targets.values().any(|target| target.trial.as_ref().is_some_and(|of| of.is_measured()));
        Self { targets, measured }
    }
}

/// A model, then each of its adapters: a name of its own, which the same endpoints answer. No resource's name holds the
/// separator, so that none can be taken for an adapter.
fn with_adapters(entry: Entry) -> Vec<(Deployment, Entry)> {
    let deployment = Deployment { namespace: entry.namespace.clone(), name: entry.name.clone() };
    let adapted = |adapter: &String| Entry {
        name: adapted_name(&entry.name, adapter),
        upstream_model: adapted_name(&entry.upstream_model, adapter),
        adapters: Vec::new(),
        ..entry.clone()
    };
    let mut all: Vec<_> =
        entry.adapters.iter().map(|adapter| (deployment.clone(), adapted(adapter))).collect();
    all.push((deployment, entry));
    all
}

/// What was counted goes on being counted while the split is the same, and for a model and its adapters together.
fn trial(deployment: &Deployment, split: &Split, known: &mut HashMap<Deployment, Arc<Trial>>) -> Arc<Trial> {
    let same = known.get(deployment).filter(|trial| trial.is(split)).map(Arc::clone);
    let trial = same.unwrap_or_else(|| Arc::new(Trial::new(&deployment.name, split.clone())));
    known.insert(deployment.clone(), Arc::clone(&trial));
    trial
}

fn target(
    deployment: Deployment,
    entry: Entry,
    trial: Option<Arc<Trial>>,
    endpoints: &mut HashMap<SocketAddr, Arc<Endpoint>>,
) -> Target {
    let Entry {
        namespace,
        name,
        world,
        provider,
        vendor,
        upstream_model,
        speaks,
        created,
        seen,
        endpoints: at,
        absence,
        hold,
        data_policy,
        adapters,
        split: _,
    } = entry;
    let endpoints = at
        .iter()
        .filter_map(|described| {
            // An address that now belongs to another pod is another endpoint.
            let known = endpoints.get(&described.address).filter(|known| known.is(described));
            let endpoint = match known {
                Some(known) => Arc::clone(known),
                None => Arc::new(Endpoint::new(described)?),
            };
            endpoints.insert(described.address, Arc::clone(&endpoint));
            Some(endpoint)
        })
        .collect();
    let labels = ModelLabels {
        namespace: namespace.clone(),
        model: name.clone(),
        world: world.as_str(),
        provider: provider.clone().unwrap_or_default(),
    };
    let canonical = format!("{namespace}/{name}");
    Target {
        canonical,
        deployment,
        world,
        provider,
        vendor,
        upstream_model,
        speaks,
        created,
        seen,
        endpoints,
        absence,
        hold,
        data_policy,
        adapters,
        trial,
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::Lease;
    use super::*;

    fn entry(name: &str, ports: &[u16]) -> Entry {
        Entry { upstream_model: name.into(), ..Entry::sample("team", name, ports) }
    }

    #[test]
    fn an_adapter_answers_where_its_model_does_and_no_other_is_there() {
        let adapters = vec!["tone".to_owned(), "legal".to_owned()];
        let directory =
            Directory::from_entries(vec![Entry { adapters, ..entry("m", &[1]) }, entry("n", &[2])]);
        let snapshot = directory.snapshot();
        let names: Vec<&str> = snapshot.targets().map(|target| target.canonical.as_str()).collect();
        assert_eq!(names, ["team/m", "team/m:legal", "team/m:tone", "team/n"]);
        let adapted = snapshot.resolve("m:tone", "team").expect("known");
        assert_eq!((adapted.upstream_model.as_str(), adapted.labels.model.as_str()), ("m:tone", "m:tone"));
        let model = snapshot.get("team/m").expect("known");
        assert!(Arc::ptr_eq(&adapted.endpoints[0], &model.endpoints[0]));
        assert_eq!(
            (&adapted.deployment, adapted.deployment_labels()),
            (&model.deployment, model.labels.clone())
        );
        for name in ["m:none", "team/m:none", "n:tone"] {
            assert!(snapshot.resolve(name, "team").is_none(), "{name}");
        }
        let message = |name| snapshot.not_found(name, "team").message;
        assert!(message("m:none").contains("There are `m:tone`, `m:legal`."), "{}", message("m:none"));
        assert!(message("team/n:tone").contains("has no adapters"), "{}", message("team/n:tone"));
        assert!(message("x:tone").contains("`x:tone` does not exist"), "{}", message("x:tone"));
    }

    #[test]
    fn names_are_canonical_or_bare_in_the_default_namespace() {
        let directory = Directory::from_entries(vec![entry("m", &[1])]);
        let snapshot = directory.snapshot();
        assert!(snapshot.resolve("team/m", "other").is_some());
        assert!(snapshot.resolve("m", "team").is_some());
        assert!(snapshot.resolve("m", "other").is_none());
        assert!(snapshot.resolve("", "team").is_none());
    }

    #[test]
    fn an_endpoint_keeps_its_count_over_a_swap() {
        let directory = Directory::from_entries(vec![entry("m", &[1, 2])]);
        let first = Arc::clone(&directory.snapshot().get("team/m").expect("known").endpoints[0]);
        let lease = Lease::take(Arc::clone(&first));
        directory.replace(vec![entry("m", &[1]), entry("n", &[1])]);
        let snapshot = directory.snapshot();
        for model in ["team/m", "team/n"] {
            assert_eq!(snapshot.get(model).expect("known").endpoints[0].in_flight(), 1);
        }
        drop(lease);
        assert_eq!(first.in_flight(), 0);
    }

    #[test]
    fn only_a_read_source_counts_as_synced() {
        assert!(!Directory::unsynced().is_synced());
        assert!(Directory::from_entries(Vec::new()).is_synced());
    }
}
