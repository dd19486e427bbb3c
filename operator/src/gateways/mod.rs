//! What gateways route: the operator finds those that are ready by their Service's EndpointSlices (`slices`), subscribes to each
//! ([`crate::peers`]), and nothing is pushed into the cluster.
//!
//! Who reconciles a model asks here what each says of it; a new word of theirs triggers the models that it speaks of. Of a
//! model that a gateway routes a few words are kept (`routes`): there are as many as models times gateways. Nothing here decides
//! what they mean.

mod ask;
mod routes;
mod slices;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{RevisionFigures, TrialFigures, TrialKey, World};

use self::ask::{Said, Subscription};
use self::routes::Book;
pub use self::routes::Routes;
pub use self::slices::Place;
use crate::leader::Leadership;
use crate::peers::Callers;
use crate::watch::{Stores, Triggers};

/// How long the last gateway may be away before it counts: one that is alone and starts anew is back by then, and would
/// otherwise be two writes for every model there is.
const AWAY: Duration = Duration::from_secs(10);

/// Namespace and name of a model.
type Whose = (String, String);

/// What a gateway says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was not heard yet, nor given up: what was known before may still be so.
    NotYet,
    /// It does not answer, or not to this.
    Lost,
    /// It knows of no such model.
    Unknown,
    /// This.
    Routes(Routes),
}

/// A gateway that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Name of its pod.
    pub name: String,
    /// What it says.
    pub word: Word,
}

/// Gateways that callers may come to.
///
/// By default there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// They were not listed yet.
    NotYet,
    /// These are ready, by name.
    Ready(Vec<Gateway>),
}

impl Seen {
    /// Whether one of them says that it calls `world`, or may do so for all that is known: who has just begun to lead has heard
    /// nobody, and whoever was asked before it spoke is asked again. One that answers no more can't be waited for.
    pub fn may_call(&self, world: World) -> bool {
        let calls = |gateway: &Gateway| match &gateway.word {
            Word::Routes(routes) => routes.world == world,
            Word::NotYet => true,
            Word::Lost | Word::Unknown => false,
        };
        match self {
            Seen::NotYet => true,
            Seen::Ready(gateways) => gateways.iter().any(calls),
        }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self::Ready(Vec::new())
    }
}

impl Seen {
    /// What the ready gateways have measured of the model with this UID, in the step of `key`, all together. One that does not
    /// answer has measured nothing that anybody knows of.
    pub fn measured(&self, uid: &str, key: Option<&TrialKey>) -> Measured {
        let Some(key) = key else { return Measured::Known(None) };
        let Seen::Ready(gateways) = self else { return Measured::NotYet };
        let mut sum = None;
        for Gateway { name: _, word } in gateways {
            match word {
                Word::NotYet => return Measured::NotYet,
                Word::Lost | Word::Unknown => {}
                Word::Routes(routes) => {
                    let trial = routes.trial.as_ref().filter(|_| routes.is_of(uid));
                    if let Some(trial) = trial.filter(|trial| trial.key == *key) {
                        let none = || TrialFigures {
                            key: key.clone(),
                            stable_figures: RevisionFigures::default(),
                            canary_figures: RevisionFigures::default(),
                        };
                        sum.get_or_insert_with(none).add(trial);
                    }
                }
            }
        }
        Measured::Known(sum)
    }
}

/// What is known of a step of a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// Not every gateway was heard yet.
    NotYet,
    /// What those that are heard have measured; none where none of them has.
    Known(Option<TrialFigures>),
}

impl Default for Measured {
    fn default() -> Self {
        Self::Known(None)
    }
}

/// Subscriptions to every ready gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateways(Arc<Inner>);

struct Inner {
    place: Option<Place>,
    /// None before they were listed.
    listed: Mutex<Option<Listed>>,
    callers: Callers,
    stores: Arc<Stores>,
    triggers: Triggers,
    leadership: Leadership,
}

/// Gateways that are ready.
#[derive(Default)]
struct Listed {
    /// By the pod's name.
    followed: BTreeMap<String, Followed>,
    /// When the last of them went.
    emptied: Option<Instant>,
}

/// One gateway that is listened to.
struct Followed {
    address: SocketAddr,
    heard: Heard,
    _task: AbortOnDropHandle<()>,
}

enum Heard {
    /// Nothing yet. Who asked of which models meanwhile is to ask again.
    NotYet(BTreeSet<Whose>),
    Lost,
    Said(Book),
}

/// Models to look at again.
enum Touched {
    These(BTreeSet<Whose>),
    All,
}

impl Gateways {
    /// Nobody is listened to yet. What is said triggers the models that it is about, as long as this process leads. Without a
    /// `place` there are no gateways.
    pub fn new(
        place: Option<Place>,
        callers: Callers,
        stores: Arc<Stores>,
        triggers: Triggers,
        leadership: Leadership,
    ) -> Self {
        let listed = Mutex::new(place.is_none().then(Listed::default));
        Gateways(Arc::new(Inner { place, listed, callers, stores, triggers, leadership }))
    }

    /// What each ready gateway says of a model.
    pub fn heard(&self, namespace: &str, name: &str) -> Seen {
        let mut listed = self.listed();
        let Some(Listed { followed, emptied }) = &mut *listed else { return Seen::NotYet };
        if emptied.is_some_and(|emptied| emptied.elapsed() < AWAY) {
            return Seen::NotYet;
        }
        let gateways = followed.iter_mut().map(|(gateway, follow)| {
            let word = match &mut follow.heard {
                Heard::NotYet(asked) => {
                    asked.insert((namespace.to_owned(), name.to_owned()));
                    Word::NotYet
                }
                Heard::Lost => Word::Lost,
                Heard::Said(book) => book.get(namespace, name).cloned().map_or(Word::Unknown, Word::Routes),
            };
            Gateway { name: gateway.clone(), word }
        });
        Seen::Ready(gateways.collect())
    }

    /// Listens to `ready`, which are all that are, and to no others. Returns when every model is to be looked at, where none is
    /// left and none comes until then.
    async fn follow(&self, ready: BTreeMap<String, SocketAddr>) -> Option<Instant> {
        let (touched, emptied) = {
            let mut listed = self.listed();
            let first = listed.is_none();
            let Listed { followed, emptied } = listed.get_or_insert_default();
            let is_there = |name: &str, follow: &Followed| ready.get(name) == Some(&follow.address);
            let gone: Vec<Heard> = followed
                .extract_if(.., |name, follow| !is_there(name, follow))
                .map(|(_, gone)| gone.heard)
                .collect();
            let left = first_said(followed, None);
            let mut touched = Touched::These(BTreeSet::new());
            for heard in &gone {
                touched.add(match (heard, left) {
                    // Those who stay say the same, so that nothing is other without it.
                    (Heard::Said(book), Some(left)) => Touched::These(book.other_than(left)),
                    (Heard::Said(_) | Heard::NotYet(_) | Heard::Lost, _) => Touched::All,
                });
            }
            *emptied = match (ready.is_empty(), gone.is_empty()) {
                (false, _) => None,
                (true, true) => *emptied,
                (true, false) => Some(Instant::now()),
            };
            if ready.is_empty() {
                touched = if first { Touched::All } else { Touched::These(BTreeSet::new()) };
            }
            for (name, address) in ready {
                followed.entry(name.clone()).or_insert_with(|| {
                    tracing::info!(gateway = name, %address, "a gateway is listened to");
                    let task = AbortOnDropHandle::new(tokio::spawn(self.clone().listen(name, address)));
                    Followed { address, heard: Heard::NotYet(BTreeSet::new()), _task: task }
                });
            }
            (touched, *emptied)
        };
        self.touch(touched).await;
        emptied.map(|emptied| emptied + AWAY)
    }

    async fn listen(self, name: String, address: SocketAddr) {
        let mut subscription = Subscription::new(&self.0.callers, &name, address);
        // Who does not lead writes nothing, and needs to know nothing; who begins to lead looks at everything.
        while self.0.leadership.holds() {
            let said = subscription.next().await;
            let touched = self.note(&name, said);
            self.touch(touched).await;
        }
    }

    /// Keeps what `name` said, and returns the models of which it says something else than was known.
    fn note(&self, name: &str, said: Said) -> Touched {
        let mut listed = self.listed();
        let nothing = Touched::These(BTreeSet::new());
        let Some(Listed { followed, emptied: _ }) = &mut *listed else { return nothing };
        let whole = match said {
            Said::Nothing => return nothing,
            Said::Lost => {
                let Some(follow) = followed.get_mut(name) else { return nothing };
                follow.heard = Heard::Lost;
                return Touched::All;
            }
            Said::Changed(state) => {
                let Some(Followed { heard: Heard::Said(book), .. }) = followed.get_mut(name) else {
                    return nothing;
                };
                return Touched::These(book.take(state));
            }
            Said::Whole(book) => book,
        };
        let others = first_said(followed, Some(name)).map(|others| whole.other_than(others));
        let Some(follow) = followed.get_mut(name) else { return nothing };
        let touched = match (&mut follow.heard, others) {
            (Heard::Said(before), _) => Touched::These(whole.other_than(before)),
            // Where it says what the others do, only who waited for its word learns something.
            (Heard::NotYet(asked), Some(mut other)) => {
                other.append(asked);
                Touched::These(other)
            }
            (Heard::NotYet(_), None) | (Heard::Lost, _) => Touched::All,
        };
        follow.heard = Heard::Said(whole);
        touched
    }

    async fn touch(&self, touched: Touched) {
        let Inner { stores, triggers, .. } = &*self.0;
        match touched {
            Touched::All => stores.trigger_models(triggers).await,
            Touched::These(models) => {
                for (namespace, name) in models {
                    triggers.model(&namespace, &name).await;
                }
            }
        }
    }

    fn listed(&self) -> MutexGuard<'_, Option<Listed>> {
        self.0.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one of the gateways said, but for `name`.
fn first_said<'a>(followed: &'a BTreeMap<String, Followed>, but: Option<&str>) -> Option<&'a Book> {
    let others = followed.iter().filter(|(name, _)| but != Some(name.as_str()));
    others.into_iter().find_map(|(_, follow)| match &follow.heard {
        Heard::Said(book) => Some(book),
        Heard::NotYet(_) | Heard::Lost => None,
    })
}

impl Touched {
    fn add(&mut self, more: Touched) {
        match (&mut *self, more) {
            (Touched::All, _) => {}
            (_, Touched::All) => *self = Touched::All,
            (Touched::These(models), Touched::These(mut more)) => models.append(&mut more),
        }
    }
}

#[cfg(test)]
mod tests;
