//! What of a namespace counts, without what is another each time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::testbed::TestNamespace;

/// Each object by its kind and name.
#[derive(Clone, Debug, PartialEq)]
pub struct State(BTreeMap<String, Value>);

impl State {
    /// What is in `namespace` now.
    pub async fn of(namespace: &TestNamespace) -> Result<Self> {
        let mut all = BTreeMap::new();
        let made = ListParams::default().labels("app.kubernetes.io/managed-by=weighbridge");
        let every = ListParams::default();
        gather::<ModelDeployment>(namespace, &every, &mut all).await?;
        gather::<ExternalProvider>(namespace, &every, &mut all).await?;
        gather::<Deployment>(namespace, &made, &mut all).await?;
        gather::<Service>(namespace, &made, &mut all).await?;
        gather::<Secret>(namespace, &made, &mut all).await?;
        gather::<NetworkPolicy>(namespace, &made, &mut all).await?;
        gather::<ControllerRevision>(namespace, &made, &mut all).await?;
        // A revision's hash holds its model's UID: what it is of says the same of every model.
        let mut text = serde_json::to_string(&all)?;
        let labels =
            all.values().filter_map(|object| object["labels"]["serving.weighbridge.dev/revision"].as_str());
        for revision in labels.collect::<BTreeSet<_>>() {
            let of =
                all.values().find(|object| object["labels"]["serving.weighbridge.dev/revision"] == revision);
            let context = of.map(|object| context_length(&object.to_string())).unwrap_or_default();
            text = text.replace(revision, &format!("revision-of-{context}"));
        }
        Ok(State(serde_json::from_str(&text)?))
    }

    /// Where `other` differs, a line each.
    pub fn differences(&self, other: &State) -> Vec<String> {
        let titles: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let mut found = Vec::new();
        for title in titles {
            let null = Value::Null;
            compare(
                title,
                self.0.get(title).unwrap_or(&null),
                other.0.get(title).unwrap_or(&null),
                &mut found,
            );
        }
        found
    }
}

/// The digits that follow the field or the flag.
fn context_length(text: &str) -> String {
    let after = ["context-length=", "contextLength\":"].iter().find_map(|name| text.split_once(name));
    after.map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect()).unwrap_or_default()
}

fn compare(path: &str, wanted: &Value, seen: &Value, found: &mut Vec<String>) {
    match (wanted, seen) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                compare(&format!("{path}.{name}"), &wanted[name], &seen[name], found);
            }
        }
        (wanted, seen) if wanted == seen => {}
        (wanted, seen) => found.push(format!("{path}: {wanted} is {seen}")),
    }
}

async fn gather<K>(
    namespace: &TestNamespace,
    which: &ListParams,
    all: &mut BTreeMap<String, Value>,
) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    for object in namespace.api::<K>().list(which).await? {
        let name = object.name_any();
        all.insert(format!("{} {name}", K::kind(&())), what_counts(&object)?);
    }
    Ok(())
}

fn what_counts<K: Resource + Serialize>(object: &K) -> Result<Value> {
    let meta = object.meta();
    let managers = meta.managed_fields.iter().flatten().filter_map(|entry| {
        let name = entry.manager.as_deref().filter(|name| name.starts_with("weighbridge"))?;
        let (operation, part) = (entry.operation.as_deref(), entry.subresource.as_deref());
        Some(format!("{name} {} {}", operation.unwrap_or_default(), part.unwrap_or_default()))
    });
    let managers: BTreeSet<String> = managers.collect();
    let uids = meta.owner_references.iter().flatten().map(|owner| owner.uid.clone()).chain(meta.uid.clone());
    let whole = serde_json::to_value(object)?;
    let mut counts = json!({"labels": meta.labels, "managers": managers, "spec": whole["spec"],
        "owners": whole["metadata"]["ownerReferences"]});
    for server in ["clusterIP", "clusterIPs"] {
        if let Some(spec) = counts["spec"].as_object_mut() {
            spec.remove(server);
        }
    }
    if whole["data"]["spec"].is_object() {
        counts["data"] = whole["data"].clone();
    } else if let Some(data) = whole["data"].as_object() {
        // Keys and certificates are others each time; which there are counts.
        counts["data"] = json!(data.keys().collect::<Vec<_>>());
    }
    if whole["status"]["conditions"].is_array() && whole["apiVersion"] != "apps/v1" {
        let mut status = whole["status"].clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"].take();
        }
        for past in status["history"].as_array_mut().into_iter().flatten() {
            past["supersededAt"].take();
        }
        // How long a start took.
        status["phases"].take();
        counts["status"] = status;
    }
    let text = uids.fold(counts.to_string(), |text, uid| text.replace(&uid, "UID"));
    Ok(serde_json::from_str(&text)?)
}
