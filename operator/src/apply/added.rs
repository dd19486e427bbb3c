//! What others have put into a child of ours where nobody but us may. Server-side apply leaves it alone, for it is another's.

use serde_json::{Map, Value};

use super::compare::{differences, is_empty};

/// What is ours in a part of an object, set or not.
struct Part {
    /// Fields.
    fields: &'static [&'static str],
    /// Maps, with all that is in them.
    maps: &'static [&'static str],
    /// Lists by the field that tells their items apart, and what is ours in each item.
    lists: &'static [(&'static str, &'static str, &'static Part)],
}

static ITEM: Part = Part { fields: &[], maps: &[], lists: &[] };
static PORT: Part = Part { fields: &["hostIP", "hostPort"], maps: &[], lists: &[] };
static CONTAINER: Part = Part {
    fields: &["command", "envFrom", "lifecycle", "volumeDevices"],
    maps: &["securityContext"],
    lists: &[("env", "name", &ITEM), ("ports", "containerPort", &PORT), ("volumeMounts", "mountPath", &ITEM)],
};
static POD: Part = Part {
    fields: &[
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "nodeName",
        "serviceAccount",
        "serviceAccountName",
        "shareProcessNamespace",
    ],
    maps: &["securityContext"],
    lists: &[
        ("containers", "name", &CONTAINER),
        ("initContainers", "name", &CONTAINER),
        ("volumes", "name", &ITEM),
    ],
};
static SPEC: Part = Part { fields: &["paused"], maps: &[], lists: &[] };

/// Paths at which `observed` is not as `desired` says, by what we set or by what somebody has added.
pub fn drift(desired: &Value, observed: &Value) -> Vec<String> {
    let mut found = differences(desired, observed);
    without_added(desired, observed, &mut found);
    found
}

/// The merge patch that takes what somebody has added out of `observed`, unless that was changed meanwhile; none where nothing is.
pub fn removal(desired: &Value, observed: &Value) -> Option<Value> {
    let kept = without_added(desired, observed, &mut Vec::new())?;
    let mut patch = difference(observed, &kept)?;
    for name in ["uid", "resourceVersion"] {
        patch["metadata"][name] = observed["metadata"][name].clone();
    }
    Some(patch)
}

/// `observed` without what was added, whose paths go to `found`; none of what has no pods.
fn without_added(desired: &Value, observed: &Value, found: &mut Vec<String>) -> Option<Value> {
    let (spec, pod) = ("/spec", "/spec/template/spec");
    let wanted = desired.pointer(pod)?;
    let mut kept = observed.clone();
    trim("spec", &SPEC, desired.pointer(spec)?, kept.pointer_mut(spec)?, found);
    trim("spec.template.spec", &POD, wanted, kept.pointer_mut(pod)?, found);
    Some(kept)
}

fn trim(path: &str, part: &Part, wanted: &Value, seen: &mut Value, found: &mut Vec<String>) {
    let Part { fields, maps, lists } = part;
    let Some(seen) = seen.as_object_mut() else { return };
    for name in *fields {
        if wanted[name].is_null() && seen.get(*name).is_some_and(|value| !is_empty(value)) {
            seen.remove(*name);
            found.push(format!("{path}.{name}"));
        }
    }
    for name in *maps {
        if let (Some(wanted), Some(Value::Object(seen))) = (wanted[name].as_object(), seen.get_mut(*name)) {
            // What every apiserver of some versions sets.
            let is_default = |field: &str, value: &Value| field == "procMount" && value == "Default";
            seen.retain(|field, value| {
                let stays = wanted.contains_key(field) || is_empty(value) || is_default(field, value);
                if !stays {
                    found.push(format!("{path}.{name}.{field}"));
                }
                stays
            });
        }
    }
    for (name, key, part) in *lists {
        let Some(Value::Array(items)) = seen.get_mut(*name) else { continue };
        let wanted = wanted[name].as_array().map(Vec::as_slice).unwrap_or_default();
        items.retain_mut(|item| {
            let at = format!("{path}.{name}[{}]", item[key]);
            let twin = wanted.iter().find(|other| other[key] == item[key]);
            match twin {
                Some(twin) => trim(&at, part, twin, item, found),
                None => found.push(at),
            }
            twin.is_some()
        });
        if items.is_empty() {
            seen.remove(*name);
        }
    }
}

/// The merge patch that makes `new` of `old`.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let gone =
        before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = after.iter().filter_map(|(name, value)| {
        let other = before.get(name).unwrap_or(&Value::Null);
        Some((name.clone(), difference(other, value)?))
    });
    let patch: Map<String, Value> = gone.chain(changed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(spec: Value, pod: Value, container: Value) -> Value {
        let mut engine = json!({"name": "engine", "image": "i", "env": [{"name": "OURS", "value": "1"}],
            "ports": [{"containerPort": 8000, "protocol": "TCP"}],
            "securityContext": {"allowPrivilegeEscalation": false}});
        let with = |to: &mut Value, more: Value| {
            for (name, value) in more.as_object().into_iter().flatten() {
                to[name] = value.clone();
            }
        };
        with(&mut engine, container);
        let mut template = json!({"containers": [engine], "volumes": [{"name": "cache", "emptyDir": {}}],
            "securityContext": {"runAsNonRoot": true}});
        with(&mut template, pod);
        let mut whole = json!({"replicas": 1, "template": {"spec": template}});
        with(&mut whole, spec);
        json!({"metadata": {"name": "m", "uid": "u", "resourceVersion": "7"}, "spec": whole})
    }

    fn desired() -> Value {
        deployment(json!({}), json!({}), json!({}))
    }

    /// As the apiserver merges a patch.
    fn merge(to: &mut Value, patch: &Value) {
        match (to, patch) {
            (Value::Object(to), Value::Object(patch)) => {
                for (name, value) in patch {
                    match value {
                        Value::Null => drop(to.remove(name)),
                        value => merge(to.entry(name.clone()).or_insert(Value::Null), value),
                    }
                }
            }
            (to, patch) => *to = patch.clone(),
        }
    }

    /// What is left of `observed` after the patch that puts it back.
    fn put_back(mut observed: Value) -> Value {
        let patch = removal(&desired(), &observed).expect("there is something to take out");
        assert_eq!(patch["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
        merge(&mut observed, &patch);
        observed
    }

    #[test]
    fn what_somebody_adds_is_found_by_its_path_and_goes() {
        let engine = |more: Value| deployment(json!({}), json!({}), more);
        let pod = |more: Value| deployment(json!({}), more, json!({}));
        let two =
            json!([desired()["spec"]["template"]["spec"]["containers"][0], {"name": "side", "image": "x"}]);
        for (observed, path) in [
            (deployment(json!({"paused": true}), json!({}), json!({})), "spec.paused"),
            (pod(json!({"containers": two})), "spec.template.spec.containers[\"side\"]"),
            (pod(json!({"initContainers": [{"name": "i"}]})), "spec.template.spec.initContainers[\"i\"]"),
            (pod(json!({"serviceAccountName": "admin"})), "spec.template.spec.serviceAccountName"),
            (pod(json!({"hostNetwork": true})), "spec.template.spec.hostNetwork"),
            (
                pod(json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 1}})),
                "spec.template.spec.securityContext.runAsUser",
            ),
            (
                pod(
                    json!({"volumes": [{"name": "host", "hostPath": {"path": "/"}}, {"name": "cache", "emptyDir": {}}]}),
                ),
                "spec.template.spec.volumes[\"host\"]",
            ),
            (
                engine(
                    json!({"env": [{"name": "LD_PRELOAD", "value": "x"}, {"name": "OURS", "value": "1"}]}),
                ),
                "spec.template.spec.containers[\"engine\"].env[\"LD_PRELOAD\"]",
            ),
            (engine(json!({"command": ["sh"]})), "spec.template.spec.containers[\"engine\"].command"),
            (
                engine(json!({"ports": [{"containerPort": 8000, "protocol": "TCP", "hostPort": 80}]})),
                "spec.template.spec.containers[\"engine\"].ports[8000].hostPort",
            ),
        ] {
            assert_eq!(drift(&desired(), &observed), [path]);
            assert_eq!(put_back(observed), desired(), "{path}");
        }
    }

    #[test]
    fn what_the_server_sets_by_itself_stays() {
        let observed = deployment(
            json!({"strategy": {"type": "RollingUpdate"}, "paused": false}),
            json!({"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}),
            json!({"imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                "securityContext": {"allowPrivilegeEscalation": false, "procMount": "Default"}}),
        );
        assert_eq!(drift(&desired(), &observed), Vec::<String>::new());
        assert_eq!(removal(&desired(), &observed), None);
    }

    #[test]
    fn what_has_no_pods_is_left_alone() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": []}});
        let mut seen = service.clone();
        seen["spec"]["paused"] = json!(true);
        assert_eq!(removal(&service, &seen), None);
    }
}
