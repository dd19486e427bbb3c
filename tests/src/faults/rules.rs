//! What an apiserver holds every write to, and what it fills in.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::world::Key;
use super::write::Refused;

/// A status is written by its own path alone, but for a pod's, which these tests make as they need it.
pub fn without_status(kind: &Kind, object: &mut Value) {
    if kind.status && kind.kind != "Pod" {
        set_status(object, None);
    }
}

/// Puts `status` in the place of the one that is there.
pub fn set_status(object: &mut Value, status: Option<&Value>) {
    let none = Value::Null;
    match (status.unwrap_or(&none), object.as_object_mut()) {
        (Value::Null, Some(parts)) => {
            parts.shift_remove("status");
        }
        (status, _) => object["status"] = status.clone(),
    }
}

/// The UID that `demanded` names must be the one of `live`.
pub fn has_uid(key: &Key, live: &Value, demanded: &Value) -> Result<(), Refused> {
    is_met(key, live, demanded, "uid")
}

/// The version that `demanded` names must be the one of `live`.
pub fn has_version(key: &Key, live: &Value, demanded: &Value) -> Result<(), Refused> {
    is_met(key, live, demanded, "resourceVersion")
}

fn is_met(key: &Key, live: &Value, demanded: &Value, name: &str) -> Result<(), Refused> {
    let (wanted, found) = (&demanded[name], &live["metadata"][name]);
    if wanted.is_null() || wanted == found {
        return Ok(());
    }
    Err(Refused::conflict(key, format!("{name} {wanted} is demanded, and it is {found}")))
}

/// Rules that every kind has.
pub fn check(key: &Key, object: &Value) -> Result<(), Refused> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let controllers = owners.into_iter().flatten().filter(|owner| owner["controller"] == true).count();
    if controllers > 1 {
        let message =
            format!("{} {:?}: only one reference can have controller set to true", key.kind, key.name);
        let field = Some("metadata.ownerReferences");
        return Err(Refused { field, ..Refused::new(422, message) });
    }
    Ok(())
}

/// What the apiserver fills in: enough that asked and stored differ as they really do.
pub fn defaults(kind: &Kind, object: &mut Value) {
    let set = |object: &mut Value, pointer: &[&str], value: Value| {
        let mut at = object;
        for name in pointer {
            at = &mut at[*name];
        }
        if at.is_null() {
            *at = value;
        }
    };
    match kind.kind {
        "ModelDeployment" => {
            set(object, &["spec", "replicas"], json!(1));
            if object["status"].is_object() {
                set(object, &["status", "replicas"], json!(0));
                set(object, &["status", "readyReplicas"], json!(0));
            }
        }
        "NetworkPolicy" => {
            set(object, &["spec", "podSelector"], json!({}));
            let both = object["spec"]["egress"].as_array().is_some_and(|rules| !rules.is_empty());
            let types = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            set(object, &["spec", "policyTypes"], types);
        }
        "Service" => {
            set(object, &["spec", "sessionAffinity"], json!("None"));
            set(object, &["spec", "type"], json!("ClusterIP"));
        }
        "Deployment" => {
            set(
                object,
                &["spec", "strategy"],
                json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
            );
            set(object, &["spec", "progressDeadlineSeconds"], json!(600));
            let pod = &mut object["spec"]["template"]["spec"];
            if pod.is_object() {
                set(pod, &["restartPolicy"], json!("Always"));
                set(pod, &["dnsPolicy"], json!("ClusterFirst"));
                for container in pod["containers"].as_array_mut().into_iter().flatten() {
                    set(container, &["terminationMessagePath"], json!("/dev/termination-log"));
                }
            }
        }
        _ => {}
    }
}

/// What a Service is given as it is stored, which nobody owns, and what it keeps where a write leaves it out.
pub fn address(kind: &Kind, live: Option<&Value>, object: &mut Value) {
    if kind.kind == "Service" && object["spec"]["clusterIP"].is_null() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().len();
        let given = live.map(|live| live["spec"]["clusterIP"].clone());
        object["spec"]["clusterIP"] = given.unwrap_or_else(|| json!(format!("10.96.0.{name}")));
    }
}
