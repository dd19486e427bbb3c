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
    /// Who starts anew deletes nothing: what was begun is known to who began it.
    LeavesBegun,
    /// A status that says refused says so for ever, and nobody is told of anything else.
    StaysRefused,
    /// The weight of a provider's key is taken and changes nothing.
    IgnoresWeight,
    /// Whatever it is like, it is ready.
    SaysReady,
    /// Every write is over the version that was seen, and over no later one.
    DemandsVersions,
    /// Services have names that nobody can tell beforehand.
    NamesAtRandom,
}

impl Bug {
    /// Changes what the operator asks; or answers in the apiserver's place. `again`: its process is not the first one.
    pub fn asks(self, call: &mut Call, world: &World, again: bool) -> Option<Value> {
        let live = world.get(&call.key()).map(|stored| stored.object.clone());
        let over = live.is_some();
        let done = json!({"kind": "Status", "status": "Success", "code": 200});
        match self {
            Bug::DeletesByName if call.verb == Verb::Delete => call.body["preconditions"] = Value::Null,
            Bug::DeletesUnguarded if call.verb == Verb::Delete => {
                call.body["preconditions"]["resourceVersion"] = Value::Null;
            }
            Bug::NeverDeletes if call.verb == Verb::Delete => return Some(done),
            Bug::LeavesBegun if call.verb == Verb::Delete && again => return Some(done),
            Bug::StaysRefused if call.subresource == "status" => {
                return live.filter(|live| says(live, "Accepted") == Some("False"));
            }
            Bug::StaysRefused if call.kind.kind == "Event" => {
                let refused = |model: &Value| says(model, "Accepted") == Some("False");
                let stays = world.of("ModelDeployment").any(|(_, model)| refused(model));
                return stays.then(|| call.body.clone());
            }
            Bug::SaysReady if call.subresource == "status" => {
                let conditions = call.status_mut().map(|status| &mut status["conditions"]);
                for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
                    if condition["type"] == "Ready" {
                        condition["status"] = json!("True");
                    }
                }
            }
            Bug::DemandsVersions if call.verb == Verb::Apply && over => {
                call.body["metadata"]["resourceVersion"] =
                    live.map_or(Value::Null, |live| live["metadata"]["resourceVersion"].clone());
            }
            Bug::NamesAtRandom if call.kind.kind == "Service" && call.verb == Verb::Apply && !over => {
                call.name = format!("{}-{}", call.name, world.revision());
                call.body["metadata"]["name"] = json!(call.name);
            }
            // A Lease can't be updated without one.
            Bug::SkipsVersions
                if matches!(call.verb, Verb::Apply | Verb::Update) && call.kind.kind != "Lease" =>
            {
                call.body["metadata"]["resourceVersion"] = Value::Null;
            }
            Bug::ForgetsField if call.verb == Verb::Apply && call.kind.kind == "Deployment" && over => {
                call.body["spec"]["revisionHistoryLimit"] = Value::Null;
            }
            Bug::WritesAtRest if call.subresource == "status" => {
                let message = format!("at revision {}", world.revision());
                if let Some(status) = call.status_mut() {
                    status["conditions"][0]["message"] = json!(message);
                }
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
            Bug::IgnoresWeight if kind == "ExternalProvider" => {
                for key in object["spec"]["apiKeys"].as_array_mut().into_iter().flatten() {
                    key["weight"] = json!(1);
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

/// The status of a condition of `object`.
fn says<'a>(object: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)?["status"].as_str()
}
