//! What no write of the operator may ever do, whatever went wrong before: looked at when the write arrives.

use std::collections::BTreeMap;

use serde_json::Value;

use super::world::{Key, World};

/// Before the name of an entry, on what reads it.
const HELD: &str = "held.serving.weighbridge.dev/";

/// What the operator's process has read by name, and what it did that it may not.
#[derive(Clone, Debug, Default)]
pub struct Watchdog {
    /// UID and version of each object as the process read it last; none where nothing was there.
    read: BTreeMap<Key, Option<(Value, Value)>>,
    /// Deployments that were deleted to make room, with what they and their model's revisions are made from.
    made_room: BTreeMap<Key, Vec<Value>>,
    /// What must never be, in words.
    violations: Vec<String>,
    /// Whether a status can be held against what there is: not where a view may be old by design.
    pub views_are_fresh: bool,
}

impl Watchdog {
    /// Another process begins, which has read nothing.
    pub fn forget(&mut self) {
        self.read.clear();
    }

    /// The process has read `key`, and this was there.
    pub fn reads(&mut self, key: &Key, found: Option<&Value>) {
        let seen = found
            .map(|object| (object["metadata"]["uid"].clone(), object["metadata"]["resourceVersion"].clone()));
        self.read.insert(key.clone(), seen);
    }

    /// What was done that may not be.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    fn object(&mut self, words: String) {
        if !self.violations.contains(&words) {
            self.violations.push(words);
        }
    }
}

impl World {
    /// The operator has deleted what was `gone` under `key`.
    pub fn watch_delete(&mut self, key: &Key, gone: &Value) {
        let (uid, version) = (&gone["metadata"]["uid"], &gone["metadata"]["resourceVersion"]);
        match self.watchdog.read.get(key).cloned().flatten() {
            Some((read, _)) if read != *uid => {
                self.watchdog.object(format!("deleted {key} with UID {uid}, and had looked at {read}"));
            }
            Some((_, read)) if read != *version => {
                self.watchdog.object(format!("deleted {key}, which changed since it was looked at"));
            }
            Some(_) => {}
            None => self.watchdog.object(format!("deleted {key} without a look at it")),
        }
        self.is_the_operators(key, gone, "deleted");
        let ready = gone["status"]["readyReplicas"].as_i64().unwrap_or_default();
        if key.kind == "Deployment"
            && ready > 0
            && let Some((parent, wanted)) = self.engine_parent(gone)
        {
            if self.makes_room(&parent) {
                let made_from = self.made_from(&parent);
                self.watchdog.made_room.insert(key.clone(), made_from);
                return;
            }
            let others =
                self.of("Deployment").filter(|(_, other)| controller(other) == Some(parent.as_str()));
            let most = others.filter_map(|(_, other)| other["status"]["readyReplicas"].as_i64()).max();
            if most.unwrap_or_default() < wanted {
                self.watchdog.object(format!("deleted {key}, which answered, with nothing in its place"));
            }
        }
    }

    /// The operator has written `after` where `before` was.
    pub fn watch_write(&mut self, key: &Key, before: Option<&Value>, after: &Value, verb: &str) {
        let Some(before) = before else {
            self.watch_made_anew(key, after);
            return;
        };
        if matches!(key.kind, "Event" | "ModelDeployment" | "ExternalProvider" | "ModelAccess" | "ModelCache")
        {
            self.watch_status(key, after);
            return;
        }
        let (uid, version) = (&before["metadata"]["uid"], &before["metadata"]["resourceVersion"]);
        // Of a Lease its own last write is known, which needs no look.
        if key.kind != "Lease" && before != after {
            match self.watchdog.read.get(key).cloned().flatten() {
                Some((read, _)) if read != *uid => {
                    self.watchdog.object(format!("wrote to {key} with UID {uid}, and had looked at {read}"));
                }
                Some((_, read)) if read != *version && key.kind == "Secret" && !is_leaf(before) => {
                    self.watchdog.object(format!("wrote over {key}, which changed since it was looked at"));
                }
                Some(_) => {}
                None => self.watchdog.object(format!("{verb} over {key} without a look at it")),
            }
            self.is_the_operators(key, before, "wrote to");
        }
        let replicas = |object: &Value| object["spec"]["replicas"].as_i64().unwrap_or_default();
        if key.kind == "Deployment"
            && replicas(after) < replicas(before)
            && let Some((_, wanted)) = self.engine_parent(after)
            && replicas(after) < wanted
        {
            let (from, to) = (replicas(before), replicas(after));
            self.watchdog
                .object(format!("scaled {key} from {from} to {to}, and its model asks for {wanted}"));
        }
    }

    /// A Deployment that was deleted to make room for another is not made again while nothing else is asked for.
    fn watch_made_anew(&mut self, key: &Key, after: &Value) {
        self.watch_cached(key, after);
        let Some(parent) = controller(after) else { return };
        let made_from = self.made_from(parent);
        if self.watchdog.made_room.remove(key).is_some_and(|then| then == made_from) {
            self.watchdog.object(format!("deleted {key} to make room, and it is what its model asks for"));
        }
    }

    /// Nothing is taken out of a cache that a pod reads, and no pod is made to read what is not there.
    fn watch_cached(&mut self, key: &Key, after: &Value) {
        if !self.watchdog.views_are_fresh {
            return;
        }
        let held = |labels: &Value| -> Vec<(String, Value)> {
            let all = labels.as_object().into_iter().flatten();
            let held =
                all.filter_map(|(name, cache)| Some((name.strip_prefix(HELD)?.to_owned(), cache.clone())));
            held.collect()
        };
        let mut violations = Vec::new();
        let arguments = after["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
        if key.kind == "Job" && arguments.is_some_and(|words| words.first() == Some(&"evict".into())) {
            let gone: Vec<_> = arguments
                .into_iter()
                .flatten()
                .filter_map(|word| word.as_str()?.strip_prefix("--entry="))
                .collect();
            for (pod, object) in self.of("Pod") {
                let read = held(&object["metadata"]["labels"]);
                if let Some((entry, _)) = read.iter().find(|(entry, _)| gone.contains(&entry.as_str())) {
                    violations.push(format!("took {entry} out of a cache, which {pod} reads"));
                }
            }
        }
        if key.kind == "Deployment" && after["spec"]["replicas"] != 0 {
            for (entry, cache) in held(&after["spec"]["template"]["metadata"]["labels"]) {
                let caches = self.of("ModelCache");
                let mut entries = caches
                    .filter(|(of, _)| cache == of.name.as_str())
                    .filter_map(|(_, object)| object["status"]["entries"].as_array())
                    .flatten();
                if !entries.any(|found| found["name"] == entry.as_str() && found["state"] == "Held") {
                    violations
                        .push(format!("made {key}, which reads {entry} of {cache}, and it is not there"));
                }
            }
        }
        violations.into_iter().for_each(|words| self.watchdog.object(words));
    }

    /// Whether an old revision of the model with this UID goes before the next one comes.
    fn makes_room(&self, uid: &str) -> bool {
        let model = self.of("ModelDeployment").find(|(_, model)| model["metadata"]["uid"] == uid);
        model.is_some_and(|(_, model)| model["spec"]["rollout"]["strategy"] == "Replace")
    }

    /// What the revision of the model with this UID is made from: its own spec, and every profile's.
    fn made_from(&self, uid: &str) -> Vec<Value> {
        let model = self.of("ModelDeployment").filter(|(_, model)| model["metadata"]["uid"] == uid);
        let profiles = self.of("ResourceProfile");
        model.chain(profiles).map(|(_, object)| object["spec"].clone()).collect()
    }

    /// A status that names a revision is written after that revision's Deployment, and one that says ready while a pod is.
    fn watch_status(&mut self, key: &Key, after: &Value) {
        let says = |type_: &str| {
            let conditions = after["status"]["conditions"].as_array();
            conditions
                .is_some_and(|all| all.iter().any(|one| one["type"] == type_ && one["status"] == "True"))
        };
        let accepted = says("Accepted");
        let has_pods = matches!(key.kind, "ModelDeployment" | "ExternalProvider");
        if self.watchdog.views_are_fresh && has_pods && says("Ready") && !self.answers(key, after) {
            self.watchdog.object(format!("the status of {key} says that it is ready, and nothing answers"));
        }
        let Some(revision) = after["status"]["revision"].as_str() else { return };
        let child = Key {
            kind: "Deployment",
            namespace: key.namespace.clone(),
            name: format!("{}-{revision}", key.name),
        };
        if self.watchdog.views_are_fresh && accepted && self.get(&child).is_none() {
            self.watchdog
                .object(format!("the status of {key} speaks of revision {revision}, which is not there"));
        }
    }

    /// Whether a pod of this object is ready, or of the provider that it names.
    fn answers(&self, key: &Key, object: &Value) -> bool {
        let provider = object["spec"]["external"]["provider"].as_str();
        let (_, parent) = match provider.filter(|_| object["spec"]["serve"] != "OpenWeights") {
            Some(name) => match self.of("ExternalProvider").find(|(at, _)| at.name == name) {
                Some(found) => found,
                None => return false,
            },
            None => (key, object),
        };
        let uid = &parent["metadata"]["uid"];
        let is_of = |child: &Value| {
            let labels = child["metadata"]["labels"].as_object();
            labels.is_some_and(|all| all.iter().any(|(name, value)| name.ends_with("-uid") && value == uid))
        };
        let mut children = self.of("Deployment").filter(|(_, child)| is_of(child));
        children.any(|(_, child)| child["status"]["readyReplicas"].as_i64().unwrap_or_default() > 0)
    }

    fn is_the_operators(&mut self, key: &Key, object: &Value, did: &str) {
        let labels = &object["metadata"]["labels"];
        let marked = labels["app.kubernetes.io/managed-by"] == "weighbridge"
            || labels.as_object().is_some_and(|all| all.keys().any(|name| name.ends_with("-uid")));
        let owner = controller(object).map(str::to_owned);
        let lives = owner.as_deref().is_none_or(|owner| self.uids().contains(owner));
        if !marked || !lives {
            self.watchdog.object(format!("{did} {key} of {owner:?}, which is not the operator's"));
        }
    }

    /// UID and replicas of the model that `deployment` belongs to, where that serves open weights and stays.
    fn engine_parent(&self, deployment: &Value) -> Option<(String, i64)> {
        let uid = controller(deployment)?;
        let (_, parent) = self.of("ModelDeployment").find(|(_, parent)| parent["metadata"]["uid"] == uid)?;
        let open = parent["spec"]["serve"] == "OpenWeights" || parent["spec"]["external"].is_null();
        let stays = parent["metadata"]["deletionTimestamp"].is_null();
        let wanted = match parent["spec"]["suspend"] == true {
            true => 0,
            false => parent["spec"]["replicas"].as_i64().unwrap_or(1),
        };
        (open && stays).then(|| (uid.to_owned(), wanted))
    }
}

/// Whether a Secret holds a certificate, which is worth no more than the next one: a model's, or the gateways'.
fn is_leaf(secret: &Value) -> bool {
    controller(secret).is_some() || secret["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
}

/// UID of the controller of `object`.
pub fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}
