//! Bugs of operators, planted between this one and its apiserver, so that the sweep can be seen to find them.

use serde_json::{Value, json};

use super::call::{Call, Verb};
use super::world::{Key, World};

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Deletions name an object by its name alone.
    DeletesByName,
    /// Deletions name a UID, and not the version that was judged.
    DeletesUnguarded,
    /// The status is written before what it speaks of.
    StatusFirst,
    /// Children are told by their parent's name.
    ChildrenByName,
    /// Writes name no version of what they write over.
    SkipsVersions,
    /// An update leaves out a field.
    ForgetsField,
    /// A status says something new each time.
    WritesAtRest,
    /// A failure is taken for success, so that nobody tries again.
    LosesRequeue,
    /// What somebody else has just made is taken.
    TakesByForce,
    /// What is somebody else's is read as its own.
    AdoptsForeign,
    /// What decides is read from the same old view as the rest.
    TrustsTheView,
    /// Deletions are never sent.
    NeverDeletes,
    /// Deletions are never heard of.
    DeafToDeletions,
    /// Children have no owner.
    DisownsChildren,
}

impl Bug {
    /// Changes what the operator asks; or answers in the apiserver's place.
    pub fn asks(self, call: &mut Call, world: &World) -> Option<Value> {
        let over = world.get(&call.key()).is_some();
        match self {
            Bug::DeletesByName if call.verb == Verb::Delete => call.body["preconditions"] = Value::Null,
            Bug::DeletesUnguarded if call.verb == Verb::Delete => {
                call.body["preconditions"]["resourceVersion"] = Value::Null;
            }
            Bug::NeverDeletes if call.verb == Verb::Delete => {
                return Some(json!({"kind": "Status", "status": "Success", "code": 200}));
            }
            Bug::SkipsVersions if matches!(call.verb, Verb::Apply | Verb::Update) => {
                call.body["metadata"]["resourceVersion"] = Value::Null;
            }
            Bug::ForgetsField if call.verb == Verb::Apply && call.kind.kind == "Deployment" && over => {
                call.body["spec"]["revisionHistoryLimit"] = Value::Null;
            }
            Bug::WritesAtRest if call.subresource == "status" => {
                let message = format!("at revision {}", world.revision());
                call.body["status"]["conditions"][0]["message"] = json!(message);
            }
            Bug::TakesByForce if call.verb == Verb::Apply => call.force = true,
            Bug::DisownsChildren if call.verb == Verb::Apply => {
                call.body["metadata"]["ownerReferences"] = Value::Null;
            }
            _ => {}
        }
        None
    }

    /// Changes an object that the operator is told of.
    pub fn tells(self, kind: &'static str, object: &mut Value, world: &World) {
        let parent = |name: &str, namespace: &Value| {
            let key = Key {
                kind: "ModelDeployment",
                namespace: namespace.as_str().unwrap_or_default().to_owned(),
                name: name.to_owned(),
            };
            world.get(&key).map(|parent| parent.object["metadata"]["uid"].clone())
        };
        let meta = &mut object["metadata"];
        match self {
            Bug::ChildrenByName if matches!(kind, "Deployment" | "Service" | "Secret" | "Pod") => {
                let name = meta["labels"]["serving.weighbridge.dev/model"].as_str().unwrap_or_default();
                let Some(uid) = parent(name, &meta["namespace"]) else { return };
                meta["labels"]["serving.weighbridge.dev/model-uid"] = uid.clone();
                if kind != "Pod" {
                    meta["ownerReferences"][0]["uid"] = uid;
                }
            }
            Bug::AdoptsForeign if kind == "Service" && meta["ownerReferences"].is_null() => {
                let name = meta["name"].as_str().unwrap_or_default().trim_end_matches("-engine").to_owned();
                let Some(uid) = parent(&name, &meta["namespace"]) else { return };
                meta["labels"]["serving.weighbridge.dev/model-uid"] = uid;
            }
            _ => {}
        }
    }

    /// Whether the operator takes this refusal for success.
    pub fn takes_for_success(self, code: u16) -> bool {
        self == Bug::LosesRequeue && code >= 500
    }
}
