//! What other controllers, the scheduler and kubelets would do, one step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::fields_of;
use super::kinds::Kind;
use super::world::{Key, Stored, World};
use super::write::Writer;

/// Pods whose model is called so never become ready.
pub const STUCK: &str = "stuck";

/// Bytes of everything that is fetched.
pub const FETCHED: u64 = 700;

/// Where nobody listens: TCP knows no multicast, so that a connection fails at once and without a packet.
const NOBODY: &str = "224.0.0.1";

const CLUSTER: Writer<'static> = Writer { manager: "cluster", subresource: "" };

impl World {
    /// Each controller does the next thing that it has to do. Returns whether there was any.
    pub fn step(&mut self) -> bool {
        let before = self.revision();
        self.collect_garbage(false);
        for (key, deployment) in self.copies("Deployment") {
            self.run_deployment(&key, &deployment);
        }
        for (key, job) in self.copies("Job") {
            self.run_job(&key, &job);
        }
        for (key, pod) in self.copies("Pod") {
            self.run_pod(&key, &pod);
        }
        for (key, _) in self.copies("PersistentVolumeClaim") {
            self.put_status(&key, json!({"phase": "Bound"}));
        }
        for (key, deployment) in self.copies("Deployment") {
            self.tell_of_deployment(&key, &deployment);
        }
        self.revision() != before
    }

    fn copies(&self, kind: &'static str) -> Vec<(Key, Value)> {
        self.of(kind).map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// What has owners, and none of them left, goes. Deployments go `late`: a garbage collector has no order, and by then
    /// others may be there in their place.
    pub fn collect_garbage(&mut self, late: bool) {
        for key in self.garbage() {
            if late || key.kind != "Deployment" {
                self.put(&key, None);
            }
        }
        self.forget_owners();
    }

    /// Of several owners those that are gone are named no more.
    fn forget_owners(&mut self) {
        let living: BTreeSet<String> = self.uids().into_iter().map(str::to_owned).collect();
        let gone = |owner: &Value| !living.contains(owner["uid"].as_str().unwrap_or_default());
        let shared: Vec<_> = self
            .objects()
            .filter_map(|(key, stored)| {
                let owners = stored.object["metadata"]["ownerReferences"].as_array()?;
                let some = owners.iter().any(gone) && !owners.iter().all(gone);
                some.then(|| (key.clone(), (**stored).clone()))
            })
            .collect();
        for (key, mut stored) in shared {
            let owners = stored.object["metadata"]["ownerReferences"].as_array_mut();
            owners.into_iter().for_each(|owners| owners.retain(|owner| !gone(owner)));
            let left = fields_of(&stored.object);
            stored.managers.iter_mut().for_each(|manager| manager.fields.retain(|path| left.contains(path)));
            self.put(&key, Some(stored));
        }
    }

    /// What has owners, and none of them left.
    pub fn garbage(&self) -> Vec<Key> {
        let living = self.uids();
        let orphan = |stored: &Stored| {
            let owners = stored.object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                let gone = |owner: &Value| !living.contains(owner["uid"].as_str().unwrap_or_default());
                !owners.is_empty() && owners.iter().all(gone)
            })
        };
        self.objects().filter(|(_, stored)| orphan(stored)).map(|(key, _)| key.clone()).collect()
    }

    /// What is said of pods when their node is not heard of any more. With the next step they are gone.
    pub fn lose_node(&mut self) {
        let said = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
        for (key, _) in self.copies("Pod") {
            self.put_status(&key, json!({"phase": "Running", "reason": "NodeLost", "conditions": [said]}));
        }
    }

    fn run_deployment(&mut self, key: &Key, deployment: &Value) {
        let spec = &deployment["spec"];
        let wanted = usize::try_from(spec["replicas"].as_i64().unwrap_or(1)).unwrap_or_default();
        let template = short(&spec["template"]);
        let pods = self.pods_of(deployment);
        let (current, old): (Vec<_>, Vec<_>) =
            pods.into_iter().partition(|(_, pod)| pod["metadata"]["annotations"]["template"] == template);
        let names: BTreeSet<String> = current.iter().map(|(key, _)| key.name.clone()).collect();
        for index in 0..wanted {
            let name = format!("{}-{template}-{index}", key.name);
            if !names.contains(&name) {
                self.make_pod(key, deployment, &name, &template);
            }
        }
        for (pod, _) in current.iter().skip(wanted) {
            self.put(pod, None);
        }
        // As with maxUnavailable 0: the old ones stay until the new ones are all ready.
        if current.iter().filter(|(_, pod)| is_ready(pod)).count() >= wanted {
            for (pod, _) in &old {
                self.put(pod, None);
            }
        }
    }

    /// One pod, and the Job is complete once that has ended well.
    fn run_job(&mut self, key: &Key, job: &Value) {
        let pods = self.pods_of(job);
        let Some((_, pod)) = pods.first() else {
            if job["status"]["conditions"].is_null() {
                let template = short(&job["metadata"]["uid"]);
                self.make_pod(key, job, &format!("{}-{template}", key.name), &template);
            }
            return;
        };
        if pod["status"]["phase"] == "Succeeded" {
            let complete = [json!({"type": "Complete", "status": "True"})];
            self.put_status(key, json!({"succeeded": 1, "conditions": complete}));
        }
    }

    fn pods_of(&self, deployment: &Value) -> Vec<(Key, Value)> {
        let owned =
            |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == deployment["metadata"]["uid"];
        self.of("Pod").filter(|(_, pod)| owned(pod)).map(|(key, pod)| (key.clone(), pod.clone())).collect()
    }

    fn make_pod(&mut self, key: &Key, deployment: &Value, name: &str, template: &str) {
        let Some(kind) = Kind::named("Pod") else { return };
        let planned = &deployment["spec"]["template"];
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": planned["metadata"]["labels"], "annotations": {"template": template},
                "ownerReferences": [{"apiVersion": deployment["apiVersion"], "kind": deployment["kind"], "name": key.name,
                    "controller": true, "uid": deployment["metadata"]["uid"]}]},
            "spec": planned["spec"], "status": {"phase": "Pending"}});
        // One of that name that is still there is seen to with the next step.
        let _ = self.create(kind, &key.namespace, &pod, CLUSTER);
    }

    /// Pending, then on a node, then, with every Secret that it mounts, ready.
    fn run_pod(&mut self, key: &Key, pod: &Value) {
        if pod["status"]["reason"] == "NodeLost" {
            self.put(key, None);
            return;
        }
        if pod["spec"]["nodeName"].is_null() {
            if let Some(live) = self.get(key).map(Arc::clone) {
                let mut next = (*live).clone();
                next.object["spec"]["nodeName"] = json!("node");
                self.put(key, Some(next));
            }
            return;
        }
        if pod["spec"]["containers"][0]["args"][0] == "inspect" {
            self.end_inspection(key);
            return;
        }
        let arguments = pod["spec"]["containers"][0]["args"].as_array();
        match arguments.and_then(|words| words.first()?.as_str()) {
            Some("fetch") => {
                let words = json!({"digest": format!("sha256:{}", "0".repeat(64)), "bytes": FETCHED, "fetchedBytes": FETCHED});
                self.end(key, "fetch", &words);
                return;
            }
            Some("evict") => {
                self.end(key, "evict", &json!({"evicted": [], "kept": [], "freedBytes": 0}));
                return;
            }
            Some(_) | None => {}
        }
        let stuck =
            arguments.into_iter().flatten().any(|word| word.as_str().unwrap_or_default().contains(STUCK));
        if stuck || is_ready(pod) || !self.mounts(key, pod) || !self.claims(key, pod) {
            return;
        }
        let name = &pod["spec"]["containers"][0]["name"];
        // No image id: nobody asks a container that does not run what it computes on.
        let container = json!({"name": name, "ready": true, "restartCount": 0, "image": "", "imageID": "",
            "state": {"running": {}}});
        let ready =
            [json!({"type": "PodScheduled", "status": "True"}), json!({"type": "Ready", "status": "True"})];
        let status = json!({"phase": "Running", "podIP": NOBODY, "conditions": ready, "containerStatuses": [container]});
        self.put_status(key, status);
    }

    /// A pod that reads a header has said what it holds: halves of 15 GiB, and 1 GiB of keys and values for each context.
    fn end_inspection(&mut self, key: &Key) {
        let device = |cards: u64| {
            json!({"cards": cards, "weights": (15_u64 << 30) / cards, "kvBlock": (2_u64 << 20) / cards, "spareBlocks": 1,
                "scratch": 1, "fullScratch": 1})
        };
        let facts = json!({"architecture": "llama", "parameters": 8, "bytes": 16, "bytesByType": {"BF16": 16}, "layers": 32,
            "heads": 32, "kvHeads": 8, "headLength": 128, "vocabulary": 512, "builtContext": 8192,
            "contextLength": 8192, "maxSequences": 16, "kvBytesPerToken": 131_072,
            "devices": [device(1), device(2), device(4)]});
        self.end(key, "inspect", &facts);
    }

    /// A pod has ended well, and said this last.
    fn end(&mut self, key: &Key, container: &str, words: &Value) {
        let ended = json!({"name": container, "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"terminated": {"exitCode": 0, "message": words.to_string()}}});
        self.put_status(key, json!({"phase": "Succeeded", "containerStatuses": [ended]}));
    }

    /// Whether there is every Secret, with every key, that `pod` mounts.
    fn mounts(&self, key: &Key, pod: &Value) -> bool {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let whole =
            volumes.clone().map(|volume| (&volume["secret"]["secretName"], &volume["secret"]["items"]));
        let projected = volumes.filter_map(|volume| volume["projected"]["sources"].as_array()).flatten();
        // A pod waits for no key that is optional.
        let projected = projected.filter(|source| source["secret"]["optional"] != true);
        let projected = projected.map(|source| (&source["secret"]["name"], &source["secret"]["items"]));
        whole.chain(projected).filter(|(name, _)| name.is_string()).all(|(name, items)| {
            let name = name.as_str().unwrap_or_default().to_owned();
            let secret = Key { kind: "Secret", namespace: key.namespace.clone(), name };
            let has = |item: &Value| {
                let data = self.get(&secret).map(|stored| &stored.object["data"]);
                data.is_some_and(|data| data[item["key"].as_str().unwrap_or_default()].is_string())
            };
            items.as_array().into_iter().flatten().all(has)
        })
    }

    /// Whether there is every template that `pod` gets claims by.
    fn claims(&self, key: &Key, pod: &Value) -> bool {
        pod["spec"]["resourceClaims"].as_array().into_iter().flatten().all(|claim| {
            let name = claim["resourceClaimTemplateName"].as_str().unwrap_or_default().to_owned();
            self.get(&Key { kind: "ResourceClaimTemplate", namespace: key.namespace.clone(), name }).is_some()
        })
    }

    fn tell_of_deployment(&mut self, key: &Key, deployment: &Value) {
        let pods = self.pods_of(deployment);
        let template = short(&deployment["spec"]["template"]);
        let updated =
            pods.iter().filter(|(_, pod)| pod["metadata"]["annotations"]["template"] == template).count();
        let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
        let mut status = json!({"observedGeneration": deployment["metadata"]["generation"]});
        for (name, count) in
            [("replicas", pods.len()), ("updatedReplicas", updated), ("readyReplicas", ready)]
        {
            if count > 0 {
                status[name] = json!(count);
            }
        }
        self.put_status(key, status);
    }

    /// Ready pods by their Deployment.
    pub fn ready_pods(&self) -> BTreeMap<Key, usize> {
        let owners = self.of("Pod").filter(|(_, pod)| is_ready(pod)).map(|(key, pod)| {
            let name = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default().to_owned();
            Key { kind: "Pod", namespace: key.namespace.clone(), name }
        });
        let mut counted = BTreeMap::new();
        owners.for_each(|owner| *counted.entry(owner).or_default() += 1);
        counted
    }
}

/// Whether the kubelet says that it answers.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// A few characters that stand for a value; the same in every run.
fn short(value: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    sorted(value).hash(&mut hasher);
    format!("{:08x}", hasher.finish() & 0xffff_ffff)
}

/// JSON with its keys in order.
pub fn sorted(value: &Value) -> String {
    match value {
        Value::Object(parts) => {
            let mut parts: Vec<_> =
                parts.iter().map(|(name, part)| format!("{name:?}:{}", sorted(part))).collect();
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
