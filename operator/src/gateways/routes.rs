//! What is kept of what a gateway said. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use weighbridge_crds::{GatewayState, GoneModel, ModelRoutes, TrialFigures, World};

use super::Whose;

/// Where a gateway sends calls for a model, in as few words as can be compared: names are kept as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The spec that it goes by, as `metadata.generation`.
    pub generation: i64,
    /// The world that it calls.
    pub world: World,
    /// What it has measured of a revision on trial.
    pub trial: Option<Arc<TrialFigures>>,
    uid: u64,
    pods: Arc<[u64]>,
}

impl Routes {
    /// Of what a gateway said.
    pub fn of(said: &ModelRoutes) -> Self {
        let ModelRoutes { namespace: _, name: _, uid, generation, world, pods, trial } = said;
        let pods = pods.iter().map(|pod| number(pod)).collect();
        let trial = trial.clone().map(Arc::new);
        Self { generation: *generation, world: *world, trial, uid: number(uid), pods }
    }

    /// Whether it is of the model with this UID, and not of one that had its name before.
    pub fn is_of(&self, uid: &str) -> bool {
        self.uid == number(uid)
    }

    /// Whether calls go to the pod of this name.
    pub fn leads_to(&self, pod: &str) -> bool {
        self.pods.contains(&number(pod))
    }

    /// How many pods calls go to.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }
}

fn number(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// What one gateway routes.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<Box<str>, HashMap<Box<str>, Routes>>);

impl Book {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Routes> {
        self.0.get(namespace)?.get(name)
    }

    /// Takes in what has changed, and returns whose routes are others now.
    pub(super) fn take(&mut self, state: GatewayState) -> BTreeSet<Whose> {
        let GatewayState { version: _, whole: _, more: _, models, gone } = state;
        let mut touched = BTreeSet::new();
        for said in models {
            let routes = Routes::of(&said);
            let ModelRoutes { namespace, name, .. } = said;
            let named = self.0.entry(namespace.clone().into_boxed_str()).or_default();
            if named.insert(name.clone().into_boxed_str(), routes.clone()) != Some(routes) {
                touched.insert((namespace, name));
            }
        }
        for GoneModel { namespace, name } in gone {
            let Entry::Occupied(mut named) = self.0.entry(namespace.clone().into_boxed_str()) else {
                continue;
            };
            if named.get_mut().remove(name.as_str()).is_some() {
                touched.insert((namespace, name));
            }
            if named.get().is_empty() {
                named.remove();
            }
        }
        touched
    }

    /// Models whose routes `other` has otherwise.
    pub(super) fn other_than(&self, other: &Book) -> BTreeSet<Whose> {
        let differ = |one: &Book, two: &Book| -> Vec<Whose> {
            let all = one.0.iter().flat_map(|(namespace, named)| named.iter().map(move |of| (namespace, of)));
            all.filter(|(namespace, (name, routes))| two.get(namespace, name) != Some(*routes))
                .map(|(namespace, (name, _))| (namespace.to_string(), name.to_string()))
                .collect()
        };
        differ(self, other).into_iter().chain(differ(other, self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, generation: i64, pods: &[&str]) -> ModelRoutes {
        ModelRoutes {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            uid: "u".to_owned(),
            generation,
            world: World::OpenWeights,
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            trial: None,
        }
    }

    fn state(models: Vec<ModelRoutes>, gone: &[&str]) -> GatewayState {
        let gone = gone.iter().map(|name| GoneModel { namespace: "n".to_owned(), name: (*name).to_owned() });
        GatewayState { models, gone: gone.collect(), ..GatewayState::default() }
    }

    fn whose(names: &[&str]) -> BTreeSet<Whose> {
        names.iter().map(|name| ("n".to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn only_whose_routes_are_others_is_looked_at() {
        let mut book = Book::default();
        assert_eq!(book.take(state(vec![said("a", 1, &[]), said("b", 1, &["p"])], &[])), whose(&["a", "b"]));
        assert_eq!(book.take(state(vec![said("a", 1, &[]), said("b", 2, &["p"])], &["c"])), whose(&["b"]));
        let mut other = Book::default();
        other.take(state(vec![said("b", 2, &["q"]), said("c", 1, &[])], &[]));
        assert_eq!(book.other_than(&other), whose(&["a", "b", "c"]));
        assert_eq!(book.take(state(vec![], &["a", "b"])), whose(&["a", "b"]));
        assert!(book.0.is_empty());
    }

    #[test]
    fn what_is_kept_tells_models_and_pods_apart() {
        let routes = Routes::of(&said("a", 3, &["p", "q"]));
        assert!(routes.is_of("u") && !routes.is_of("v"));
        assert!(routes.leads_to("q") && !routes.leads_to("r"));
        assert_eq!((routes.generation, routes.pods()), (3, 2));
    }
}
