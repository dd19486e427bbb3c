//! What the proxy knows of its provider, from live traffic and from probes, and who is told of it.
//!
//! `health` decides whether the provider answers, `words` what of its words may be told, `pace` when others are told, and
//! `feed` tells them. Keys are `keys`' affair: of each only where it stands comes here. Nothing here asks the provider
//! anything.

mod feed;
mod health;
mod pace;
mod words;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use weighbridge_crds::{
    KeyCondition, KeyState, ListedModel, ModelList, ProviderState, ResidencyMismatch, UpstreamError,
    UpstreamHealth,
};
use weighbridge_wire::canonical::{Failure, FailureClass};
use weighbridge_wire::provider::{Kind, OfferedModel};

pub use self::feed::ProviderFeed;
pub(super) use self::feed::STATE_PATH;
use self::health::Health;
use super::ProxyConfig;
use super::keys::{Keys, Redactor};

/// How long a mismatch of residency is told after the last one: long enough that somebody sees it who looks now and then.
const MISMATCH_TOLD: Duration = Duration::from_secs(3600);
/// Models that are told of. The longest lists have hundreds.
const MOST_MODELS: usize = 4096;
/// Between two looks at what passes by itself: rests that end, and files that change.
const TICK: Duration = Duration::from_secs(1);

/// Whose request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A caller's.
    Caller,
    /// The proxy's own, with a key.
    Probe,
    /// The proxy's own, with none.
    Stranger,
}

/// Everything that is known of the provider.
#[derive(Debug)]
pub(super) struct Watch {
    namespace: String,
    provider: String,
    kind: Kind,
    known: Mutex<Known>,
    /// There is something new to tell.
    news: Notify,
    /// There is something to ask the provider for.
    doubts: Notify,
}

#[derive(Debug, Default)]
struct Known {
    health: Health,
    last_error: Option<UpstreamError>,
    /// What each key is shown of the list, by its place: keys of different projects see different models.
    lists: Vec<Option<Vec<OfferedModel>>>,
    models: Option<ModelList>,
    probed: bool,
    mismatch: Option<(Instant, ResidencyMismatch)>,
    doubted: BTreeSet<usize>,
}

impl Watch {
    pub(super) fn new(config: &ProxyConfig) -> Self {
        let known = Known { lists: vec![None; config.keys.len()], ..Known::default() };
        Self {
            namespace: config.namespace.clone(),
            provider: config.provider.clone(),
            kind: config.kind,
            known: Mutex::new(known),
            news: Notify::new(),
            doubts: Notify::new(),
        }
    }

    /// The provider answered, and well.
    pub(super) fn answered(&self) {
        if self.known().health.answered() {
            self.wake();
        }
    }

    /// The provider did not answer; `message` is our own.
    pub(super) fn unanswered(&self, class: FailureClass, message: &str) {
        let mut known = self.known();
        known.health.failed();
        known.tell(None, class, message.to_owned());
        self.wake();
    }

    /// The provider answered with an error to a request of `asker`'s.
    pub(super) fn said(&self, failure: &Failure, redactor: &Redactor, asker: Asker) {
        let mut known = self.known();
        if health::is_the_providers(failure.class) {
            known.health.failed();
        } else {
            known.health.answered();
        }
        if words::may_be_told(failure.class, asker) {
            let message = words::of_the_provider(&failure.message, redactor);
            known.tell(failure.status, failure.class, message);
            self.wake();
        }
    }

    /// What began as an answer, to a caller, was an error, or ended with one. The message is the provider's where there is a
    /// `redactor` for it.
    pub(super) fn retracted(&self, failure: &Failure, redactor: Option<&Redactor>) {
        let mut known = self.known();
        if health::is_the_providers(failure.class) {
            known.health.retract();
        }
        if words::may_be_told(failure.class, Asker::Caller) {
            let quote = |redactor| words::of_the_provider(&failure.message, redactor);
            let message = redactor.map_or_else(|| failure.message.clone(), quote);
            known.tell(failure.status, failure.class, message);
            self.wake();
        }
    }

    /// A live call casts a doubt on the key at `index`: the provider is to be asked about it.
    pub(super) fn doubt(&self, index: usize) {
        self.known().doubted.insert(index);
        self.doubts.notify_one();
    }

    /// The keys that were doubted since the last call.
    pub(super) fn take_doubts(&self) -> BTreeSet<usize> {
        std::mem::take(&mut self.known().doubted)
    }

    /// Resolves once a key is doubted, and at the latest after a tick.
    pub(super) async fn doubted(&self) {
        // Late is as good as never doubted: files are looked at, too.
        let _ = tokio::time::timeout(TICK, self.doubts.notified()).await;
    }

    /// What the key at `index` is shown of the provider's list.
    pub(super) fn listed(&self, index: usize, models: Vec<OfferedModel>) {
        let mut known = self.known();
        if let Some(list) = known.lists.get_mut(index) {
            *list = Some(models);
        }
        let complete = self.kind.lists_every_model();
        known.models = Some(ModelList { complete, models: union(&known.lists) });
        self.wake();
    }

    /// Every key was asked with once.
    pub(super) fn probed(&self) {
        self.known().probed = true;
        self.wake();
    }

    /// An answer came from elsewhere than it was to.
    pub(super) fn mismatched(&self, required: String, stated: Option<String>) {
        let mismatch = ResidencyMismatch { time: now(), required, stated };
        self.known().mismatch = Some((Instant::now(), mismatch));
        self.wake();
    }

    /// There is something new to tell.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// Tells `feed` whatever is new, for ever; `answering` is told whether the provider answers.
    pub(super) async fn tell(&self, keys: &Keys, feed: &ProviderFeed, answering: impl Fn(bool)) {
        loop {
            let state = self.state(keys);
            answering(state.upstream != UpstreamHealth::Failing);
            feed.offer(state, Instant::now());
            // Silence is news too: a rest ends with nobody to notice it.
            let _ = tokio::time::timeout(TICK, self.news.notified()).await;
        }
    }

    fn state(&self, keys: &Keys) -> ProviderState {
        let keys = keys.conditions().into_iter().map(|(state, left)| key_state(state, left)).collect();
        let known = self.known();
        let told = known.mismatch.as_ref().filter(|(seen, _)| seen.elapsed() < MISMATCH_TOLD);
        ProviderState {
            namespace: self.namespace.clone(),
            provider: self.provider.clone(),
            version: 0,
            probed: known.probed,
            keys,
            upstream: known.health.upstream(),
            last_upstream_error: known.last_error.clone(),
            models: known.models.clone(),
            residency_mismatch: told.map(|(_, mismatch)| mismatch.clone()),
        }
    }

    /// A panic elsewhere leaves the state whole: every change of it is one assignment.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The same again is no news, and keeps the time when it was first said.
    fn tell(&mut self, status: Option<u16>, class: FailureClass, message: String) {
        let error = UpstreamError {
            time: now(),
            status: status.map(i32::from),
            class: class.as_str().to_owned(),
            message: words::cut(&message),
        };
        let same = |last: &UpstreamError| UpstreamError { time: error.time.clone(), ..last.clone() } == error;
        if !self.last_error.as_ref().is_some_and(same) {
            self.last_error = Some(error);
        }
    }
}

/// Every model that a key is shown, by name.
fn union(lists: &[Option<Vec<OfferedModel>>]) -> Vec<ListedModel> {
    let mut models: Vec<ListedModel> = lists
        .iter()
        .flatten()
        .flatten()
        .map(|OfferedModel { name, aliases, retires }| ListedModel {
            name: name.clone(),
            aliases: aliases.clone(),
            retires: *retires,
        })
        .collect();
    models.sort_by(|one, other| one.name.cmp(&other.name));
    models.dedup_by(|one, other| one.name == other.name);
    models.truncate(MOST_MODELS);
    models
}

/// In whole seconds, which is what a person can do something with.
fn key_state(state: KeyCondition, left: Option<Duration>) -> KeyState {
    let until = left.and_then(|left| {
        let seconds = i64::try_from(left.as_secs()).ok()?;
        Timestamp::from_second(Timestamp::now().as_second().checked_add(seconds)?.checked_add(1)?).ok()
    });
    KeyState { state, until: until.map(Time) }
}

fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(name: &str) -> OfferedModel {
        OfferedModel { name: name.to_owned(), ..OfferedModel::default() }
    }

    #[test]
    fn what_any_key_is_shown_is_there() {
        let models =
            union(&[Some(vec![offered("b"), offered("a")]), None, Some(vec![offered("a"), offered("c")])]);
        assert_eq!(models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn the_same_error_again_keeps_its_time() {
        let mut known = Known::default();
        known.tell(Some(500), FailureClass::Upstream, "boom".to_owned());
        let first = Time(Timestamp::UNIX_EPOCH);
        known.last_error.as_mut().expect("told").time = first.clone();
        known.tell(Some(500), FailureClass::Upstream, "boom".to_owned());
        assert_eq!(known.last_error.as_ref().map(|error| &error.time), Some(&first));
        known.tell(Some(500), FailureClass::Upstream, "bang".to_owned());
        assert_ne!(known.last_error.map(|error| error.time), Some(first));
    }
}
