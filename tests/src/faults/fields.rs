//! Which fields an object has, as server-side apply tells them apart, and what becomes of them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a field of a map.
    Field(String),
    /// Into the item of a list that has these keys.
    Item(String),
}

/// A field, from the root.
pub type Path = Vec<Step>;

/// Fields that someone owns.
pub type Fields = BTreeSet<Path>;

/// The fields of `object`, but for what names it and what only the server writes.
pub fn fields_of(object: &Value) -> Fields {
    let mut found = Fields::new();
    let Some(parts) = object.as_object() else { return found };
    for (name, part) in parts {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (name, value) in part.as_object().into_iter().flatten() {
                    if matches!(name.as_str(), "labels" | "annotations" | "ownerReferences" | "finalizers") {
                        collect(value, vec![field("metadata"), field(name)], &mut found);
                    }
                }
            }
            _ => collect(part, vec![field(name)], &mut found),
        }
    }
    found
}

fn field(name: &str) -> Step {
    Step::Field(name.to_owned())
}

fn collect(value: &Value, path: Path, found: &mut Fields) {
    match value {
        Value::Null => {}
        Value::Object(parts) if !parts.is_empty() && !is_atomic(&path) => {
            for (name, part) in parts {
                collect(part, [path.as_slice(), &[field(name)]].concat(), found);
            }
        }
        Value::Array(items) => match list_keys(&path) {
            Some(keys) => {
                for item in items {
                    let inner = [path.as_slice(), &[Step::Item(key_of(item, keys))]].concat();
                    found.insert(inner.clone());
                    collect(item, inner, found);
                }
            }
            None => {
                found.insert(path);
            }
        },
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path);
        }
    }
}

/// What is at `path`.
pub fn value_at<'a>(object: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let mut at = object;
    for (depth, step) in path.iter().enumerate() {
        at = match step {
            Step::Field(name) => at.get(name)?,
            Step::Item(key) => {
                let keys = list_keys(&path[..depth])?;
                at.as_array()?.iter().find(|item| key_of(item, keys) == *key)?
            }
        };
    }
    Some(at)
}

/// Lays `applied` over `live`.
pub fn merge(live: &mut Value, applied: &Value) {
    merge_at(live, applied, &mut Vec::new());
}

fn merge_at(live: &mut Value, applied: &Value, path: &mut Path) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !is_atomic(path) => {
            for (name, value) in applied {
                path.push(field(name));
                match live.get_mut(name) {
                    Some(known) => merge_at(known, value, path),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(live), Value::Array(applied)) if list_keys(path).is_some() => {
            merge_items(live, applied, list_keys(path).unwrap_or_default(), path);
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// Lays the items of `applied` over those of `live`. What both have comes in the order of `applied`, and what only `live` has
/// stays before what it was before: the order of structured-merge-diff, step by step.
fn merge_items(live: &mut Vec<Value>, applied: &[Value], keys: &[&str], path: &mut Path) {
    let left: Vec<_> = std::mem::take(live).into_iter().map(|item| (key_of(&item, keys), item)).collect();
    let right: Vec<_> = applied.iter().map(|item| (key_of(item, keys), item)).collect();
    let find = |key: &str| left.iter().find(|(known, _)| known == key).map(|(_, item)| item);
    let mut shared = right.iter().map(|(key, _)| key).filter(|key| find(key).is_some()).peekable();
    let mut take = |live: &mut Vec<Value>, key: &String, item: &Value| {
        let mut merged = find(key).cloned().unwrap_or(Value::Null);
        path.push(Step::Item(key.clone()));
        merge_at(&mut merged, item, path);
        path.pop();
        live.push(merged);
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((ours, _)), Some((theirs, item))) = (left.get(l), right.get(r)) {
            if ours == theirs {
                take(live, theirs, item);
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            let another = shared.peek().is_some_and(|next| *next != ours);
            if another && right.iter().any(|(key, _)| key == ours) {
                l += 1;
                continue;
            }
        }
        if let Some((ours, item)) = left.get(l) {
            match right.iter().position(|(key, _)| key == ours) {
                None => {
                    live.push(item.clone());
                    l += 1;
                    continue;
                }
                Some(place) if place < r => l += 1,
                Some(_) => {}
            }
        }
        if let Some((theirs, item)) = right.get(r) {
            take(live, theirs, item);
            r += 1;
            shared.next_if(|next| *next == theirs);
        }
    }
}

/// Whether `path` is another in `next` than in `live`: of an item, whether it is new; what is in it has paths of its own.
pub fn differs(live: &Value, next: &Value, path: &[Step]) -> bool {
    let before = value_at(live, path);
    match path.last() {
        Some(Step::Item(_)) => before.is_none(),
        Some(Step::Field(_)) | None => before != value_at(next, path),
    }
}

/// Takes what is at `path` away, and maps that are empty without it.
pub fn remove(object: &mut Value, path: &[Step]) {
    let Some((last, parents)) = path.split_last() else { return };
    let keys = list_keys(parents);
    let Some(parent) = value_at_mut(object, parents) else { return };
    match (last, &mut *parent) {
        (Step::Field(name), Value::Object(fields)) => {
            fields.shift_remove(name);
        }
        (Step::Item(key), Value::Array(items)) => {
            items.retain(|item| keys.is_none_or(|keys| key_of(item, keys) != *key));
        }
        (Step::Field(_) | Step::Item(_), _) => {}
    }
    let empty = match parent {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if empty && parents.len() > 1 {
        remove(object, parents);
    }
}

fn value_at_mut<'a>(object: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    let mut at = object;
    for (depth, step) in path.iter().enumerate() {
        at = match step {
            Step::Field(name) => at.get_mut(name)?,
            Step::Item(key) => {
                let keys = list_keys(&path[..depth])?;
                at.as_array_mut()?.iter_mut().find(|item| key_of(item, keys) == *key)?
            }
        };
    }
    Some(at)
}

/// As RFC 7386 has it.
pub fn merge_patch(live: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    if let Some(live) = live.as_object_mut() {
        for (name, value) in patch {
            if value.is_null() {
                live.shift_remove(name);
            } else {
                merge_patch(live.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// A path for people.
pub fn words(path: &[Step]) -> String {
    let words: Vec<_> = path
        .iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Item(key) => format!("[{key}]"),
        })
        .collect();
    words.concat()
}

fn key_of(item: &Value, keys: &[&str]) -> String {
    if keys.is_empty() {
        return item.to_string();
    }
    let values = keys.iter().map(|key| item.get(key).map(Value::to_string).unwrap_or_default());
    values.collect::<Vec<_>>().join("/")
}

/// Keys by which the API merges a list, none where items are told by themselves; other lists are one field.
fn list_keys(path: &[Step]) -> Option<&'static [&'static str]> {
    let Some(Step::Field(name)) = path.last() else { return None };
    let in_container = path.iter().any(|step| *step == field("containers"));
    match name.as_str() {
        "ownerReferences" => Some(&["uid"]),
        "finalizers" if path.len() == 2 => Some(&[]),
        "conditions" => Some(&["type"]),
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some(&["name"]),
        "volumeMounts" => Some(&["mountPath"]),
        "ports" if in_container => Some(&["containerPort", "protocol"]),
        "ports" if path.len() == 2 => Some(&["port", "protocol"]),
        "keys" if path.len() == 2 && path[0] == field("spec") => Some(&["name"]),
        _ => None,
    }
}

/// Maps that the API replaces whole.
fn is_atomic(path: &[Step]) -> bool {
    matches!(path.last(), Some(Step::Field(name))
        if matches!(name.as_str(), "selector" | "nodeSelector" | "podSelector" | "namespaceSelector"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_by_keys_is_merged_by_item_and_another_replaced() {
        let mut live =
            json!({"spec": {"ports": [{"port": 1, "protocol": "TCP", "nodePort": 7}], "args": ["a", "b"]}});
        merge(
            &mut live,
            &json!({"spec": {"ports": [{"port": 1, "protocol": "TCP", "name": "n"}, {"port": 2, "protocol": "TCP"}],
            "args": ["c"]}}),
        );
        assert_eq!(
            live,
            json!({"spec": {"ports": [{"port": 1, "protocol": "TCP", "nodePort": 7, "name": "n"},
            {"port": 2, "protocol": "TCP"}], "args": ["c"]}})
        );
    }

    #[test]
    fn what_is_taken_away_leaves_no_empty_map() {
        let mut live = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"x": {"y": {"z": 1}}, "k": 1}});
        remove(&mut live, &[field("metadata"), field("labels"), field("a")]);
        remove(&mut live, &[field("spec"), field("x"), field("y"), field("z")]);
        assert_eq!(live, json!({"metadata": {}, "spec": {"k": 1}}));
    }
}
