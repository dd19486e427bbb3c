//! What the apiserver stores: every object, and every revision of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::fields::Fields;
use super::kinds::Kind;
use super::watchdog::Watchdog;

/// Kind, namespace (empty for a cluster's own) and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of `kind` `namespace/name`.
    pub fn new(kind: &Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        Key { kind: kind.kind, namespace, name: name.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Fields that one writer owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The writer's name.
    pub name: String,
    /// Whether it applies, and does not write whole.
    pub applies: bool,
    /// Subresource that it wrote to.
    pub subresource: String,
    /// Its fields.
    pub fields: Fields,
}

/// An object at one revision.
#[derive(Clone, Debug)]
pub struct Stored {
    /// As it is served.
    pub object: Value,
    /// Who owns which of its fields. Clients of these tests don't read it, so that it is not served.
    pub managers: Vec<Manager>,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Revision of the whole.
    pub revision: u64,
    /// Of which object.
    pub key: Key,
    /// As it was.
    pub before: Option<Arc<Stored>>,
    /// As it is from now on; none where it is gone.
    pub after: Option<Arc<Stored>>,
}

/// Where the time of every world begins: the start of 2027, with all dates of scenarios behind it. Certificates alone have the
/// machine's dates.
const BEGINNING: Timestamp = Timestamp::constant(1_798_761_600, 0);

/// Everything that is stored, with its history. A clone is a world of its own.
#[derive(Clone, Debug)]
pub struct World {
    revision: u64,
    /// Changes up to here are forgotten, as after a compaction.
    compacted: u64,
    objects: BTreeMap<Key, Arc<Stored>>,
    history: Vec<Change>,
    /// How often each name was used: what UIDs are made from, so that they are the same in every run.
    incarnations: BTreeMap<Key, u32>,
    /// What looks at each write of the operator.
    pub watchdog: Watchdog,
    /// What time it is, by the operator's clock: it stands still between two processes.
    pub time: Timestamp,
}

impl Default for World {
    fn default() -> Self {
        World {
            revision: 0,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            incarnations: BTreeMap::new(),
            watchdog: Watchdog::default(),
            time: BEGINNING,
        }
    }
}

impl World {
    /// The present revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// An object as it is.
    pub fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    /// Every object, in order.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.objects.iter()
    }

    /// Objects of a kind, in order.
    pub fn of(&self, kind: &'static str) -> impl Iterator<Item = (&Key, &Value)> {
        let of_kind = self.objects.iter().filter(move |(key, _)| key.kind == kind);
        of_kind.map(|(key, stored)| (key, &stored.object))
    }

    /// UIDs of everything there is.
    pub fn uids(&self) -> BTreeSet<&str> {
        self.objects.values().filter_map(|stored| stored.object["metadata"]["uid"].as_str()).collect()
    }

    /// Objects of a kind as they were at `revision`.
    pub fn of_at(&self, kind: &'static str, revision: u64) -> Vec<Arc<Stored>> {
        let mut then: BTreeMap<&Key, &Arc<Stored>> =
            self.objects.iter().filter(|(key, _)| key.kind == kind).collect();
        for change in self.history.iter().rev().take_while(|change| change.revision > revision) {
            if change.key.kind == kind {
                match &change.before {
                    Some(before) => then.insert(&change.key, before),
                    None => then.remove(&change.key),
                };
            }
        }
        then.into_values().cloned().collect()
    }

    /// An object as it was at `revision`.
    pub fn get_at(&self, key: &Key, revision: u64) -> Option<&Arc<Stored>> {
        let later = self.history.iter().find(|change| change.revision > revision && change.key == *key);
        later.map_or_else(|| self.objects.get(key), |change| change.before.as_ref())
    }

    /// Changes of a kind after `revision` and up to `until`; none where they are forgotten.
    pub fn changes(&self, kind: &str, revision: u64, until: u64) -> Option<Vec<Change>> {
        if revision < self.compacted {
            return None;
        }
        let new = self.history.partition_point(|change| change.revision <= revision);
        let wanted = self.history[new..].iter().take_while(|change| change.revision <= until);
        Some(wanted.filter(|change| change.key.kind == kind).cloned().collect())
    }

    /// Whether anything but Leases and Events has changed since `revision`.
    pub fn moved_since(&self, revision: u64) -> bool {
        let new = self.history.iter().rev().take_while(|change| change.revision > revision);
        new.into_iter().any(|change| !matches!(change.key.kind, "Lease" | "Event"))
    }

    /// The first revision that is remembered.
    pub fn oldest(&self) -> u64 {
        self.compacted
    }

    /// Forgets what was before now.
    pub fn compact(&mut self) {
        self.compacted = self.revision;
        self.history.clear();
    }

    /// A UID for the next object under `key`.
    pub fn next_uid(&mut self, key: &Key) -> String {
        let count = self.incarnations.entry(key.clone()).or_default();
        *count += 1;
        format!("{}-{}-{}-{count}", key.kind.to_lowercase(), key.namespace, key.name).replace("--", "-")
    }

    /// Has the next objects of people get the UIDs that those of `other` have.
    pub fn name_as(&mut self, other: &World) {
        for key in other.objects.keys() {
            let count = other.incarnations.get(key).copied().unwrap_or_default();
            self.incarnations.insert(key.clone(), count.saturating_sub(1));
        }
    }

    /// Stores `next` under `key`, or takes away what is there. Returns it as stored.
    pub fn put(&mut self, key: &Key, next: Option<Stored>) -> Option<Arc<Stored>> {
        // The first of all is that of an object of the apiserver's own.
        self.revision = (self.revision + 1).max(2);
        let version = json!(self.revision.to_string());
        let after = next.map(|mut stored| {
            stored.object["metadata"]["resourceVersion"] = version.clone();
            Arc::new(stored)
        });
        let before = match &after {
            Some(after) => self.objects.insert(key.clone(), Arc::clone(after)),
            None => self.objects.remove(key),
        };
        self.history.push(Change { revision: self.revision, key: key.clone(), before, after: after.clone() });
        after
    }
}

/// A world that an operator, a cluster and people share.
#[derive(Clone)]
pub struct Shared {
    world: Arc<Mutex<World>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Shared {
    /// A world of its own, as `world` is.
    pub fn new(world: World) -> Self {
        let revision = world.revision;
        Shared { world: Arc::new(Mutex::new(world)), changed: Arc::new(watch::Sender::new(revision)) }
    }

    /// The world. Never held over an await.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever watches that there is something new.
    pub fn tell(&self) {
        let revision = self.lock().revision;
        self.changed.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    /// Hears of what is new.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
