use serde_json::{Map, Value};
use weighbridge_crds::GROUP;

use crate::quantity;

/// Paths at which `observed` does not say what `desired` says.
///
/// Guarantees: empty whenever server-side apply of `desired` would change nothing. What others own beside
/// us is not looked at: further keys of a map (but for annotations of our own group), further items of a keyed list, defaults of the server. What of that is ours
/// to put back, [`super::added`] finds. A list without keys
/// is owned whole, with all that is in its items.
pub fn differences(desired: &Value, observed: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", desired, observed, false, &mut found);
    found
}

fn compare(path: &str, desired: &Value, observed: &Value, whole: bool, found: &mut Vec<String>) {
    let same = match (desired, observed) {
        (Value::Object(wanted), Value::Object(seen)) => {
            compare_fields(path, wanted, seen, whole, found);
            return;
        }
        (Value::Array(wanted), Value::Array(seen)) => {
            compare_items(path, wanted, seen, whole, found);
            return;
        }
        (wanted, Value::Null) => is_empty(wanted),
        (Value::String(wanted), Value::String(seen)) => {
            wanted == seen || (in_quantities(path) && same_size(wanted, seen))
        }
        (wanted, seen) => wanted == seen,
    };
    if !same {
        found.push(path.to_owned());
    }
}

fn compare_fields(
    path: &str,
    wanted: &Map<String, Value>,
    seen: &Map<String, Value>,
    whole: bool,
    found: &mut Vec<String>,
) {
    if is_atomic_map(path) && wanted.len() != seen.len() {
        found.push(path.to_owned());
        return;
    }
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in wanted {
        compare(&inner(name), value, seen.get(name).unwrap_or(&Value::Null), whole, found);
    }
    if path == "metadata.annotations" {
        let more = seen.keys().filter(|name| is_ours(name) && !wanted.contains_key(*name));
        found.extend(more.map(|name| inner(name)));
    }
    if whole {
        let more = seen.iter().filter(|(name, value)| !wanted.contains_key(*name) && !is_empty(value));
        found.extend(more.map(|(name, _)| inner(name)));
    }
}

fn compare_items(path: &str, wanted: &[Value], seen: &[Value], whole: bool, found: &mut Vec<String>) {
    if let Some(keys) = list_keys(path) {
        for item in wanted {
            let twin = seen.iter().find(|other| keys.iter().all(|key| item.get(key) == other.get(key)));
            let name = item.get(keys[0]).map(Value::to_string).unwrap_or_default();
            match twin {
                Some(twin) => compare(&format!("{path}[{name}]"), item, twin, whole, found),
                None => found.push(format!("{path}[{name}]")),
            }
        }
        return;
    }
    if wanted.len() != seen.len() {
        found.push(path.to_owned());
        return;
    }
    for (index, (item, other)) in wanted.iter().zip(seen).enumerate() {
        compare(&format!("{path}[{index}]"), item, other, true, found);
    }
}

/// The server drops empty maps and lists, and false and zero may be absent.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// Keys by which the API merges a list (`+listMapKey`); other lists are replaced whole.
fn list_keys(path: &str) -> Option<&'static [&'static str]> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let in_container = path.contains("containers[");
    match field {
        "ownerReferences" => Some(&["uid"]),
        "containers" | "initContainers" | "volumes" | "env" | "resourceClaims" => Some(&["name"]),
        "claims" if in_container => Some(&["name"]),
        "volumeMounts" => Some(&["mountPath"]),
        "ports" if in_container => Some(&["containerPort", "protocol"]),
        "ports" if path == "spec.ports" => Some(&["port", "protocol"]),
        _ => None,
    }
}

/// Maps that the API replaces whole (`+mapType=atomic`).
fn is_atomic_map(path: &str) -> bool {
    let field = path.rsplit('.').next().unwrap_or(path);
    let in_selector = field == "matchLabels";
    matches!(field, "selector" | "nodeSelector" | "podSelector" | "namespaceSelector") || in_selector
}

/// An annotation that nobody but us has to do with.
fn is_ours(annotation: &str) -> bool {
    annotation.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'))
}

fn in_quantities(path: &str) -> bool {
    path.contains("resources.requests.") || path.contains("resources.limits.") || path.ends_with("sizeLimit")
}

fn same_size(wanted: &str, seen: &str) -> bool {
    quantity::parse(wanted).is_some_and(|size| quantity::parse(seen) == Some(size))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn defaults_and_other_owners_fields_are_no_difference() {
        let desired = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1, "template": {"spec": {
            "containers": [{"name": "engine", "args": ["x"], "resources": {"requests": {"cpu": "1000m"}}}],
            "volumes": [{"name": "cache", "emptyDir": {}}]}}}});
        let observed = json!({"metadata": {"labels": {"a": "1", "theirs": "2"}, "uid": "u"}, "spec": {"replicas": 1,
            "strategy": {"type": "RollingUpdate"}, "template": {"spec": {"dnsPolicy": "ClusterFirst",
            "containers": [{"name": "sidecar"}, {"name": "engine", "args": ["x"], "resources": {"requests": {"cpu": "1"}}}],
            "volumes": [{"name": "cache", "emptyDir": {}}]}}}, "status": {}});
        assert_eq!(differences(&desired, &observed), Vec::<String>::new());
    }

    #[test]
    fn what_somebody_put_into_an_item_of_a_list_without_keys_is_drift() {
        let rule = |more: serde_json::Value| {
            let mut port = json!({"port": 443, "protocol": "TCP"});
            port["endPort"] = more;
            json!({"spec": {"egress": [{"ports": [port]}]}})
        };
        let desired = rule(serde_json::Value::Null);
        assert_eq!(differences(&desired, &rule(json!(65535))), ["spec.egress[0].ports[0].endPort"]);
        let narrowed = json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}],
            "ports": [{"port": 443, "protocol": "TCP"}]}]}});
        assert_eq!(differences(&desired, &narrowed), ["spec.egress[0].to"]);
        assert_eq!(differences(&desired, &rule(serde_json::Value::Null)), Vec::<String>::new());
    }

    #[test]
    fn an_annotation_of_ours_that_is_not_asked_for_any_more_is_drift_and_of_others_none() {
        let of = |annotations: serde_json::Value| json!({"metadata": {"annotations": annotations}});
        let desired = of(json!({"serving.weighbridge.dev/made-from": "x"}));
        let mut seen = json!({"serving.weighbridge.dev/made-from": "x", "theirs.example.com/canary-of": "r"});
        assert_eq!(differences(&desired, &of(seen.clone())), Vec::<String>::new());
        seen["serving.weighbridge.dev/canary-of"] = json!("r");
        assert_eq!(
            differences(&desired, &of(seen)),
            ["metadata.annotations.serving.weighbridge.dev/canary-of"]
        );
    }

    #[test]
    fn each_drift_is_named_by_its_path() {
        let desired = json!({"spec": {"replicas": 2, "selector": {"a": "1"}, "ports": [{"port": 1, "protocol": "TCP"}],
            "egress": [{"ports": [{"port": 443}]}], "template": {"spec": {"containers": [{"name": "e", "args": ["x"]}]}}}});
        let observed = json!({"spec": {"replicas": 3, "selector": {"a": "1", "b": "2"}, "ports": [],
            "egress": [{"ports": [{"port": 443}]}, {}], "template": {"spec": {"containers": [{"name": "e", "args": ["x", "y"]}]}}}});
        assert_eq!(
            differences(&desired, &observed),
            [
                "spec.replicas",
                "spec.selector",
                "spec.ports[1]",
                "spec.egress",
                "spec.template.spec.containers[\"e\"].args"
            ]
        );
    }
}
