//! What of an end state counts, and where two differ.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weighbridge_tls::{Facts, facts_of_pem};

use super::cluster::sorted;
use super::fields::{merge_patch, words};
use super::kinds::Kind;
use super::world::{Key, World};

/// A world without what only a server or a clock says.
#[derive(Clone, Debug, PartialEq)]
pub struct State(BTreeMap<String, Value>);

impl State {
    /// Everything that counts of `world`: objects, who owns which fields, and how many pods are ready.
    pub fn of(world: &World) -> Self {
        let authorities = authorities(world);
        let counted = world.objects().filter(|(key, _)| !matches!(key.kind, "Event" | "Lease" | "Pod"));
        let mut all: BTreeMap<_, _> = counted
            .map(|(key, stored)| {
                let mut object = without_bookkeeping(key, &stored.object);
                if key.kind == "Secret" {
                    object["data"] = secret(&stored.object["data"], &authorities);
                }
                for manager in stored.managers.iter().filter(|manager| manager.name != "somebody") {
                    let verb = if manager.applies { "applies" } else { "writes" };
                    let fields: Vec<_> = manager.fields.iter().map(|path| words(path)).collect();
                    object["managers"][format!("{} {verb} {}", manager.name, manager.subresource)] =
                        json!(fields);
                }
                (key.to_string(), object)
            })
            .collect();
        for (key, count) in world.ready_pods() {
            all.insert(key.to_string(), json!({"ready": count}));
        }
        State(all)
    }

    /// Without what tells how it came to be so.
    pub fn without_history(mut self) -> Self {
        self.0.retain(|title, _| !title.starts_with("ControllerRevision "));
        for object in self.0.values_mut() {
            let conditions = object["status"]["conditions"].as_array_mut();
            for condition in conditions.into_iter().flatten() {
                merge_patch(condition, &json!({"observedGeneration": null}));
            }
            merge_patch(object, &json!({"managers": null, "metadata": {"generation": null}}));
            if object["status"].is_object() {
                merge_patch(object, &json!({"status": {"observedGeneration": null, "history": null}}));
            }
        }
        self
    }

    /// Only what the operator made.
    pub fn made(&self) -> Vec<(&String, &Value)> {
        let ours = |title: &str| {
            let kind = title.split(' ').next().and_then(Kind::named);
            kind.is_some_and(Kind::is_ours)
        };
        self.0.iter().filter(|(title, _)| !ours(title)).collect()
    }

    /// Models that are ready, a line each, and of which the gateway does not say that its calls go there.
    pub fn unroutable(&self) -> Vec<String> {
        let models = self.0.iter().filter(|(title, _)| title.starts_with("ModelDeployment "));
        models
            .filter_map(|(title, model)| {
                let says = |type_: &str| {
                    let conditions = model["status"]["conditions"].as_array();
                    conditions.into_iter().flatten().find(|condition| condition["type"] == type_)
                };
                let routable = says("Routable").filter(|routable| routable["status"] == "True");
                let ready = says("Ready").filter(|ready| ready["status"] == "True");
                let told =
                    says("Routable").map_or("nothing", |says| says["message"].as_str().unwrap_or_default());
                (ready.is_some() && routable.is_none())
                    .then(|| format!("{title} is ready and not routable: {told}"))
            })
            .collect()
    }

    /// Where `other` differs, a line each: what is here, and what is there.
    pub fn differences(&self, other: &State) -> Vec<String> {
        let mut found = Vec::new();
        let titles: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for title in titles {
            let (one, two) = (self.0.get(title), other.0.get(title));
            let null = Value::Null;
            compare(title, one.unwrap_or(&null), two.unwrap_or(&null), &mut found);
        }
        found
    }
}

fn compare(path: &str, one: &Value, two: &Value, found: &mut Vec<String>) {
    match (one, two) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let null = Value::Null;
                let (one, two) = (a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null));
                compare(&format!("{path}.{name}"), one, two, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (one, two)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), one, two, found);
            }
        }
        (one, two) if sorted(one) == sorted(two) => {}
        (one, two) => {
            let short = |value: &Value| value.to_string().chars().take(160).collect::<String>();
            found.push(format!("{path}: {} is {}", short(one), short(two)));
        }
    }
}

fn without_bookkeeping(key: &Key, object: &Value) -> Value {
    let mut object = object.clone();
    let mut meta = json!({"uid": null, "resourceVersion": null, "creationTimestamp": null,
        "annotations": {"somebody": null}});
    let ours = Kind::named(key.kind).is_some_and(Kind::is_ours);
    if !ours {
        // How often a child was written is no part of what it is.
        meta["generation"] = Value::Null;
    }
    merge_patch(&mut object, &json!({"metadata": meta}));
    if object["metadata"]["annotations"].as_object().is_some_and(serde_json::Map::is_empty) {
        merge_patch(&mut object, &json!({"metadata": {"annotations": null}}));
    }
    match key.kind {
        // Deployments that it is of are told apart by their names.
        "ResourceClaimTemplate" => {
            for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
                merge_patch(owner, &json!({"uid": null}));
            }
        }
        "Service" => merge_patch(&mut object, &json!({"spec": {"clusterIP": null}})),
        "Deployment" => merge_patch(&mut object, &json!({"status": {"observedGeneration": null}})),
        // A claim that was made anew is another, and when something was used last is a time.
        "ModelCache" if object["status"].is_object() => {
            merge_patch(&mut object, &json!({"status": {"claim": {"uid": null}}}));
            for entry in object["status"]["entries"].as_array_mut().into_iter().flatten() {
                merge_patch(entry, &json!({"lastUsed": null}));
            }
        }
        _ => {}
    }
    if object["status"]["rollout"].is_object() {
        merge_patch(&mut object, &json!({"status": {"rollout": {"begunAt": null}}}));
    }
    for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
        merge_patch(condition, &json!({"lastTransitionTime": null}));
    }
    object
}

fn pem(data: &Value, name: &str) -> Option<Vec<u8>> {
    STANDARD.decode(data[name].as_str()?).ok()
}

/// Certificates of the authority, the newest first, with what they say.
fn authorities(world: &World) -> Vec<Facts> {
    let secret = world.of("Secret").find(|(key, _)| key.name == "weighbridge-authority");
    let Some((_, secret)) = secret else { return Vec::new() };
    let names = (0..9).map(|place| match place {
        0 => "tls.crt".to_owned(),
        place => format!("previous-{place}.crt"),
    });
    names.map_while(|name| facts_of_pem(&pem(&secret["data"], &name)?).ok()).collect()
}

/// What a Secret holds, in place of keys that are others each time.
fn secret(data: &Value, authorities: &[Facts]) -> Value {
    let Some(certificate) = pem(data, "tls.crt") else { return data.clone() };
    let names: Vec<_> = data.as_object().into_iter().flat_map(|data| data.keys()).collect();
    let Ok(facts) = facts_of_pem(&certificate) else { return json!("unreadable") };
    let signed = authorities.iter().position(|authority| authority.subject == facts.issuer);
    let trusted = pem(data, "ca.crt")
        .map(|bundle| String::from_utf8_lossy(&bundle).matches("BEGIN CERTIFICATE").count());
    let now = jiff::Timestamp::now().as_second();
    let young = now < facts.not_before + (facts.not_after - facts.not_before) / 3 * 2;
    json!({"holds": names, "names": facts.dns_names, "signed by": signed, "trusts": trusted, "young": young})
}
