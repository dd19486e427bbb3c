//! What of each model was told since which version. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;

use weighbridge_crds::{self as crds, GatewayState, GoneModel, ModelRoutes};

use crate::directory::{Deployment, Snapshot, Target, World};

/// Names of models and pods in one state, so that no answer is large: about 300 KB.
const MOST_NAMES: usize = 4000;
/// What a trial takes of that: of two revisions as many buckets as can be filled.
const TRIAL: usize = 100;
/// Models that are gone and are remembered as such. Beyond them, who was away for long is told everything again.
const MOST_GONE: usize = 4096;
/// Versions begin anywhere, so that who knows a version of an earlier process is told everything; and small enough that JSON
/// readers of any language keep them exact.
const VERSIONS: u64 = 1 << 48;

/// What is told, and since when. Of a model it keeps its name and a number, not what was said.
pub(super) struct Book {
    version: u64,
    /// Who knows nothing since this version is told everything.
    oldest: u64,
    models: HashMap<Arc<Deployment>, Line>,
    order: BTreeMap<u64, Arc<Deployment>>,
    gone: usize,
}

struct Line {
    version: u64,
    /// Stands for what is said of the model; none where it is gone.
    print: Option<u64>,
}

impl Book {
    /// A book in which nothing stands, and whose first version is one of many.
    pub(super) fn new(seed: u64) -> Self {
        let version = seed % VERSIONS;
        Self { version, oldest: version, models: HashMap::new(), order: BTreeMap::new(), gone: 0 }
    }

    /// Whether there is more to say to who knows the version `after`.
    pub(super) fn has_news(&self, after: Option<u64>) -> bool {
        after != Some(self.version)
    }

    /// Takes in what is routed now.
    pub(super) fn take(&mut self, snapshot: &Snapshot) {
        let mut routed = 0;
        for target in snapshot.targets().filter(|target| is_a_model(target)) {
            routed += 1;
            let print = print(target);
            if self.models.get(&target.deployment).and_then(|line| line.print) != Some(print) {
                self.write(&target.deployment, Some(print));
            }
        }
        if self.models.len() - self.gone > routed {
            let told = self.models.iter().filter(|(_, line)| line.print.is_some());
            let gone = told.filter(|(model, _)| snapshot.get(&canonical(model)).is_none());
            let gone: Vec<_> = gone.map(|(model, _)| Arc::clone(model)).collect();
            gone.iter().for_each(|model| self.write(model, None));
        }
        if self.gone > MOST_GONE {
            self.forget_the_gone();
        }
    }

    /// What came after the version `after`, of `snapshot`, which was taken in last; or everything, for who can't know it.
    pub(super) fn page(&self, after: Option<u64>, snapshot: &Snapshot) -> GatewayState {
        let known = after.filter(|after| (self.oldest..=self.version).contains(after));
        let from = known.map_or(Bound::Unbounded, Bound::Excluded);
        let mut state = GatewayState {
            version: self.version,
            whole: known.is_none(),
            more: false,
            models: Vec::new(),
            gone: Vec::new(),
        };
        let mut names = 0;
        let mut last = known.unwrap_or(self.oldest);
        for (version, model) in self.order.range((from, Bound::Unbounded)) {
            if names >= MOST_NAMES {
                (state.version, state.more) = (last, true);
                return state;
            }
            last = *version;
            match snapshot.get(&canonical(model)) {
                Some(target) => {
                    names += 1 + target.endpoints.len() + if target.trial.is_some() { TRIAL } else { 0 };
                    state.models.push(routes(target));
                }
                // Who knows of nothing knows that it is not there.
                None if state.whole => {}
                None => {
                    names += 1;
                    let Deployment { namespace, name } = &**model;
                    state.gone.push(GoneModel { namespace: namespace.clone(), name: name.clone() });
                }
            }
        }
        state
    }

    fn write(&mut self, model: &Deployment, print: Option<u64>) {
        self.version += 1;
        let version = self.version;
        let (model, before) = match self.models.remove_entry(model) {
            Some((model, before)) => (model, Some(before)),
            None => (Arc::new(model.clone()), None),
        };
        if let Some(Line { version, print }) = before {
            self.order.remove(&version);
            self.gone -= usize::from(print.is_none());
        }
        self.gone += usize::from(print.is_none());
        self.order.insert(version, Arc::clone(&model));
        self.models.insert(model, Line { version, print });
    }

    fn forget_the_gone(&mut self) {
        let gone = self.models.extract_if(|_, line| line.print.is_none());
        for (_, Line { version, print: _ }) in gone {
            self.order.remove(&version);
            self.oldest = self.oldest.max(version);
        }
        self.gone = 0;
    }
}

/// Adapters are routed as their model is.
fn is_a_model(target: &Target) -> bool {
    target.labels.model == target.deployment.name
}

fn canonical(Deployment { namespace, name }: &Deployment) -> String {
    format!("{namespace}/{name}")
}

/// In order, so that the same pods are the same.
fn pods(target: &Target) -> Vec<&str> {
    let mut pods: Vec<&str> = target.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    pods.sort_unstable();
    pods
}

fn print(target: &Target) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&target.seen, target.world.as_str(), pods(target)).hash(&mut hasher);
    if let Some(told) = target.trial.as_ref().and_then(|trial| trial.told()) {
        let key = &told.figures.key;
        (&key.canary, &key.stable, key.step, key.begun_at.0, told.times).hash(&mut hasher);
    }
    hasher.finish()
}

fn routes(target: &Target) -> ModelRoutes {
    let Deployment { namespace, name } = target.deployment.clone();
    ModelRoutes {
        namespace,
        name,
        uid: target.seen.uid.clone(),
        generation: target.seen.generation,
        world: match target.world {
            World::Open => crds::World::OpenWeights,
            World::Closed => crds::World::External,
        },
        pods: pods(target).into_iter().map(str::to_owned).collect(),
        trial: target.trial.as_ref().and_then(|trial| trial.told()).map(|told| (*told.figures).clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, Entry, Seen, Split};

    fn entry(name: &str, generation: i64, ports: &[u16]) -> Entry {
        let seen = Seen { uid: format!("uid-{name}"), generation };
        Entry { seen, adapters: vec!["tone".to_owned()], ..Entry::sample("n", name, ports) }
    }

    fn names(state: &GatewayState) -> (Vec<&str>, Vec<&str>) {
        let mut models: Vec<_> = state.models.iter().map(|model| model.name.as_str()).collect();
        models.sort_unstable();
        (models, state.gone.iter().map(|model| model.name.as_str()).collect())
    }

    #[test]
    fn only_what_has_changed_is_told_and_each_thing_once() {
        let directory = Directory::from_entries(vec![entry("a", 1, &[]), entry("b", 1, &[2, 1])]);
        let mut book = Book::new(41);
        book.take(&directory.kept_snapshot());
        let first = book.page(None, &directory.kept_snapshot());
        assert!(first.whole && !first.more && !book.has_news(Some(first.version)));
        assert_eq!(names(&first), (vec!["a", "b"], vec![]), "adapters are no models");
        let b = first.models.iter().find(|model| model.name == "b").expect("told");
        assert_eq!(
            (b.uid.as_str(), b.generation, &b.pods[..]),
            ("uid-b", 1, &["1".to_owned(), "2".into()][..])
        );

        // The same again, in another order, is no news.
        directory.replace(vec![entry("b", 1, &[1, 2]), entry("a", 1, &[])]);
        book.take(&directory.kept_snapshot());
        assert!(!book.has_news(Some(first.version)));

        directory.replace(vec![entry("a", 1, &[7]), entry("c", 1, &[])]);
        book.take(&directory.kept_snapshot());
        let next = book.page(Some(first.version), &directory.kept_snapshot());
        assert!(!next.whole && !book.has_news(Some(next.version)));
        assert_eq!(names(&next), (vec!["a", "c"], vec!["b"]));
        // Who was never there is not told of what is gone, and who knows another process's version is told everything.
        for stranger in [None, Some(40), Some(next.version + 1)] {
            let whole = book.page(stranger, &directory.kept_snapshot());
            assert_eq!((whole.whole, names(&whole)), (true, (vec!["a", "c"], vec![])), "{stranger:?}");
        }
    }

    #[test]
    fn another_spec_world_or_pod_is_news() {
        let directory = Directory::from_entries(vec![entry("a", 1, &[1])]);
        let mut book = Book::new(0);
        let mut look = |next: Entry| {
            directory.replace(vec![next]);
            let before = book.version;
            book.take(&directory.kept_snapshot());
            book.has_news(Some(before))
        };
        assert!(look(entry("a", 1, &[1])));
        assert!(!look(Entry { created: 9, ..entry("a", 1, &[1]) }));
        assert!(look(entry("a", 2, &[1])));
        assert!(look(Entry { world: World::Closed, ..entry("a", 2, &[1]) }));
        assert!(look(entry("a", 2, &[1])));
        assert!(look(entry("a", 2, &[])));
        assert!(look(Entry {
            seen: Seen { uid: "another".to_owned(), generation: 2 },
            ..entry("a", 2, &[])
        }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_measured_is_news_now_and_then() {
        let key = crds::TrialKey {
            stable: "old".to_owned(),
            canary: "new".to_owned(),
            step: 1,
            begun_at: serde_json::from_value("2026-01-01T00:00:00Z".into()).expect("a time"),
        };
        let split = Split { stable: "old".to_owned(), canary: "new".to_owned(), traffic: 10, key: Some(key) };
        let mut model = Entry { split: Some(split), adapters: Vec::new(), ..entry("m", 1, &[1]) };
        model.endpoints[0].name = "m-new-rs-1".to_owned();
        let directory = Directory::from_entries(vec![model]);
        let snapshot = directory.kept_snapshot();
        let target = snapshot.get("n/m").expect("known");
        let mut book = Book::new(0);
        book.take(&snapshot);
        let first = book.page(None, &snapshot);
        assert_eq!(first.models[0].trial.as_ref().map(|trial| trial.canary_figures.requests), Some(0));
        target.lease(&target.endpoints[0]).counts().expect("measured").failed();
        book.take(&snapshot);
        assert!(!book.has_news(Some(first.version)), "not with every request");
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        book.take(&snapshot);
        let next = book.page(Some(first.version), &snapshot);
        let told = next.models[0].trial.as_ref().expect("measured");
        assert_eq!((told.canary_figures.requests, told.canary_figures.failed), (1, 1));
        assert!(!book.has_news(Some(next.version)));
    }

    #[test]
    fn much_is_told_in_parts_and_what_changes_meanwhile_is_not_lost() {
        let all = |generation| -> Vec<Entry> {
            (0..MOST_NAMES + 10).map(|at| entry(&format!("m{at}"), generation, &[])).collect()
        };
        let directory = Directory::from_entries(all(1));
        let mut book = Book::new(7);
        book.take(&directory.kept_snapshot());
        let first = book.page(None, &directory.kept_snapshot());
        assert!(first.whole && first.more && first.models.len() == MOST_NAMES);
        let mut changed = all(1);
        let told = first.models[0].name.clone();
        changed.retain(|entry| entry.name != told);
        changed.push(entry(&told, 2, &[]));
        directory.replace(changed);
        book.take(&directory.kept_snapshot());
        let rest = book.page(Some(first.version), &directory.kept_snapshot());
        assert!(!rest.whole && !rest.more);
        assert_eq!(rest.models.len(), 11);
        assert!(rest.models.iter().any(|model| model.name == told && model.generation == 2));
        assert!(!book.has_news(Some(rest.version)));
    }

    #[test]
    fn what_is_gone_is_forgotten_in_time_and_who_missed_it_is_told_everything() {
        let directory =
            Directory::from_entries((0..=MOST_GONE).map(|at| entry(&format!("m{at}"), 1, &[])).collect());
        let mut book = Book::new(7);
        book.take(&directory.kept_snapshot());
        let all = book.version;
        directory.replace(vec![]);
        book.take(&directory.kept_snapshot());
        assert_eq!((book.models.len(), book.order.len(), book.gone), (0, 0, 0));
        let missed = book.page(Some(all), &directory.kept_snapshot());
        assert!(missed.whole && missed.models.is_empty() && missed.gone.is_empty());
        assert!(!book.page(Some(missed.version), &directory.kept_snapshot()).whole);
    }
}
