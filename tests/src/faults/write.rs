//! The verbs that change something, as an apiserver has them.

use std::sync::Arc;

use json_patch::{PatchOperation, TestOperation};
use serde_json::{Value, json};

use super::fields::{Fields, differs, fields_of, merge, merge_patch, remove, value_at, words};
use super::kinds::Kind;
use super::rules::{address, check, defaults, has_uid, has_version, set_status, without_status};
use super::world::{Key, Manager, Stored, World};

/// When every object was made: times are no part of what is compared.
const TIME: &str = "2026-01-01T00:00:00Z";

/// An apiserver's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The field that is wrong, where it is one.
    pub field: Option<&'static str>,
}

impl Refused {
    /// A refusal with one of the words that Kubernetes has for `code`.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            410 => "Expired",
            422 => "Invalid",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        Refused { code, reason, message: message.into(), field: None }
    }

    fn missing(key: &Key) -> Self {
        Self::new(404, format!("{} {:?} not found", key.kind, key.name))
    }

    fn invalid(key: &Key, field: &'static str, message: impl std::fmt::Display) -> Self {
        let message = format!("{} {:?} is invalid: {field}: {message}", key.kind, key.name);
        Refused { field: Some(field), ..Self::new(422, message) }
    }

    /// What is there is not what the write was meant for.
    pub fn conflict(key: &Key, message: impl std::fmt::Display) -> Self {
        Self::new(409, format!("Operation cannot be fulfilled on {} {:?}: {message}", key.kind, key.name))
    }
}

/// Who writes, and to what of an object.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// The subresource, or nothing.
    pub subresource: &'a str,
}

impl World {
    /// POST.
    pub fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        body: &Value,
        by: Writer<'_>,
    ) -> Result<Value, Refused> {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = Key::new(kind, namespace, &name);
        check(&key, body)?;
        if !body["metadata"]["resourceVersion"].is_null() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Refused { reason: "", ..Refused::new(500, message) });
        }
        if self.get(&key).is_some() {
            return Err(Refused {
                reason: "AlreadyExists",
                ..Refused::new(409, format!("{name:?} already exists"))
            });
        }
        self.made(kind, &key, body, by)
    }

    /// PUT.
    pub fn update(&mut self, kind: &Kind, key: &Key, body: &Value, by: Writer<'_>) -> Result<Value, Refused> {
        let Some(live) = self.get(key).cloned() else {
            if !kind.is_made_by_update() || !by.subresource.is_empty() {
                return Err(Refused::missing(key));
            }
            // A UID is the one precondition that is looked at where nothing is.
            has_uid(key, &Value::Null, &body["metadata"])?;
            return self.made(kind, key, body, by);
        };
        has_uid(key, &live.object, &body["metadata"])?;
        if body["metadata"]["resourceVersion"].is_null() && kind.updates_name_versions() {
            return Err(Refused::invalid(key, "metadata.resourceVersion", "must be specified for an update"));
        }
        has_version(key, &live.object, &body["metadata"])?;
        let mut next = body.clone();
        for name in ["namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp"] {
            match live.object["metadata"].get(name) {
                Some(value) => next["metadata"][name] = value.clone(),
                None => remove_meta(&mut next, name),
            }
        }
        self.written(kind, key, &live, next, by)
    }

    /// PATCH by merging.
    pub fn merge(&mut self, kind: &Kind, key: &Key, patch: &Value, by: Writer<'_>) -> Result<Value, Refused> {
        let live = Arc::clone(self.get(key).ok_or_else(|| Refused::missing(key))?);
        has_version(key, &live.object, &patch["metadata"])?;
        let mut next = live.object.clone();
        merge_patch(&mut next, patch);
        self.written(kind, key, &live, next, by)
    }

    /// PATCH by edits.
    pub fn edit(&mut self, kind: &Kind, key: &Key, edits: &Value, by: Writer<'_>) -> Result<Value, Refused> {
        let live = Arc::clone(self.get(key).ok_or_else(|| Refused::missing(key))?);
        let edits: json_patch::Patch =
            serde_json::from_value(edits.clone()).map_err(|error| Refused::new(400, error.to_string()))?;
        let mut next = live.object.clone();
        // Of an edit that can't be done, or a test that fails, no field is named.
        for edit in edits.0 {
            if !tests_for_nothing(&edit, &next) {
                json_patch::patch(&mut next, &[edit])
                    .map_err(|error| Refused::new(422, error.to_string()))?;
            }
        }
        self.written(kind, key, &live, next, by)
    }

    /// What people do by `kubectl scale`.
    pub fn scale(&mut self, kind: &Kind, key: &Key, replicas: i64) -> Result<Value, Refused> {
        let by = Writer { manager: "kubectl", subresource: "scale" };
        self.merge(kind, key, &json!({"spec": {"replicas": replicas}}), by)
    }

    /// PATCH by server-side apply.
    pub fn apply(
        &mut self,
        kind: &Kind,
        key: &Key,
        body: &Value,
        by: Writer<'_>,
        force: bool,
    ) -> Result<Value, Refused> {
        let mut applied = body.clone();
        without_nulls(&mut applied);
        let meta = applied["metadata"].clone();
        if kind.status
            && let Some(parts) = applied.as_object_mut()
        {
            parts.retain(|name, _| (name == "status") == (by.subresource == "status") || name == "metadata");
        }
        if by.subresource == "status" {
            applied["metadata"] = json!({});
        }
        let fields = fields_of(&applied);
        let Some(live) = self.get(key).cloned() else {
            if by.subresource == "status" {
                return Err(Refused::missing(key));
            }
            // A version that is demanded of what is not there is not looked at.
            has_uid(key, &Value::Null, &meta)?;
            let mut made = json!({"apiVersion": body["apiVersion"], "kind": body["kind"]});
            merge(&mut made, &applied);
            made["metadata"]["name"] = json!(key.name);
            return self.add(kind, key, made, vec![manager(by, true, fields)]);
        };
        let mut managers = live.managers.clone();
        let mine = managers.iter().position(|known| {
            known.applies && known.name == by.manager && known.subresource == by.subresource
        });
        let old = mine.map(|mine| managers.remove(mine).fields).unwrap_or_default();
        for other in &mut managers {
            let differ = |path: &&Vec<_>| fields.contains(*path) && differs(&live.object, &applied, path);
            let taken: Vec<_> = other.fields.iter().filter(differ).cloned().collect();
            if let (Some(first), false) = (taken.first(), force) {
                let who = &other.name;
                return Err(Refused::conflict(key, format!("conflict with {who:?}: {}", words(first))));
            }
            taken.iter().for_each(|path| {
                other.fields.remove(path);
            });
        }
        let mut next = live.object.clone();
        merge(&mut next, &applied);
        // An item goes whole, before the fields by which it is found.
        for path in old.difference(&fields) {
            let kept = |owned: &Fields| {
                owned.range(path.clone()..).next().is_some_and(|other| other.starts_with(path))
            };
            if !managers.iter().any(|other| kept(&other.fields)) && !kept(&fields) {
                remove(&mut next, path);
            }
        }
        has_version(key, &live.object, &meta)?;
        managers.push(manager(by, true, fields));
        defaults(kind, &mut next);
        self.store(kind, key, &live, next, managers)
    }

    /// DELETE, with `options` as sent.
    pub fn delete(&mut self, key: &Key, options: &Value) -> Result<Value, Refused> {
        let live = Arc::clone(self.get(key).ok_or_else(|| Refused::missing(key))?);
        has_uid(key, &live.object, &options["preconditions"])?;
        has_version(key, &live.object, &options["preconditions"])?;
        let meta = &live.object["metadata"];
        if meta["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            if meta["deletionTimestamp"].is_null() {
                let mut next = (*live).clone();
                next.object["metadata"]["deletionTimestamp"] = json!(TIME);
                let generation = meta["generation"].as_i64().unwrap_or_default();
                next.object["metadata"]["generation"] = json!(generation + 1);
                self.put(key, Some(next));
            }
        } else {
            self.put(key, None);
        }
        Ok(live.object.clone())
    }

    /// Stores a state that a controller or kubelet found, owned by nobody of interest.
    pub fn put_status(&mut self, key: &Key, status: Value) {
        if let Some(live) = self.get(key).cloned()
            && live.object["status"] != status
        {
            let mut next = (*live).clone();
            next.object["status"] = status;
            self.put(key, Some(next));
        }
    }

    /// By a write that is no apply: what there is of it is its writer's.
    fn made(&mut self, kind: &Kind, key: &Key, body: &Value, by: Writer<'_>) -> Result<Value, Refused> {
        let mut object = body.clone();
        without_status(kind, &mut object);
        defaults(kind, &mut object);
        let mut fields = fields_of(&object);
        // A map that was never anything but empty is nobody's.
        fields.retain(|path| value_at(&object, path) != Some(&json!({})));
        self.add(kind, key, object, vec![manager(by, false, fields)])
    }

    fn add(
        &mut self,
        kind: &Kind,
        key: &Key,
        mut object: Value,
        mut managers: Vec<Manager>,
    ) -> Result<Value, Refused> {
        check(key, &object)?;
        without_status(kind, &mut object);
        if kind.namespaced {
            object["metadata"]["namespace"] = json!(key.namespace);
        }
        object["metadata"]["uid"] = json!(self.next_uid(key));
        object["metadata"]["creationTimestamp"] = json!(TIME);
        object["metadata"]["generation"] = json!(1);
        defaults(kind, &mut object);
        address(kind, None, &mut object);
        in_order(&mut managers);
        let stored = self.put(key, Some(Stored { object, managers }));
        Ok(stored.map(|stored| stored.object.clone()).unwrap_or_default())
    }

    /// After a write that is no apply: what it changed is its writer's.
    fn written(
        &mut self,
        kind: &Kind,
        key: &Key,
        live: &Stored,
        mut next: Value,
        by: Writer<'_>,
    ) -> Result<Value, Refused> {
        if by.subresource == "status" {
            // All else stays, the UID too: that of a patch is not looked at.
            let status = next["status"].take();
            next = live.object.clone();
            set_status(&mut next, Some(&status));
        } else if kind.status {
            set_status(&mut next, live.object.get("status"));
        }
        defaults(kind, &mut next);
        let fields = fields_of(&next);
        let changed: Fields =
            fields.iter().filter(|path| differs(&live.object, &next, path)).cloned().collect();
        let mut managers = live.managers.clone();
        for other in &mut managers {
            other.fields.retain(|path| fields.contains(path) && !changed.contains(path));
        }
        let mine = managers
            .iter_mut()
            .find(|known| !known.applies && known.name == by.manager && known.subresource == by.subresource);
        match mine {
            Some(mine) => mine.fields.extend(changed),
            None => managers.push(manager(by, false, changed)),
        }
        self.store(kind, key, live, next, managers)
    }

    fn store(
        &mut self,
        kind: &Kind,
        key: &Key,
        live: &Stored,
        mut next: Value,
        mut managers: Vec<Manager>,
    ) -> Result<Value, Refused> {
        if next["metadata"]["uid"] != live.object["metadata"]["uid"] {
            return Err(Refused::invalid(key, "metadata.uid", "field is immutable"));
        }
        check(key, &next)?;
        let leaving = !live.object["metadata"]["deletionTimestamp"].is_null();
        let finalizers =
            |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let (before, held) = (finalizers(&live.object), finalizers(&next));
        if leaving && held.iter().any(|one| !before.contains(one)) {
            let message = "no new finalizers can be added if the object is being deleted";
            return Err(Refused::invalid(key, "metadata.finalizers", message));
        }
        address(kind, Some(&live.object), &mut next);
        in_order(&mut managers);
        next["metadata"]["resourceVersion"] = live.object["metadata"]["resourceVersion"].clone();
        if next == live.object && managers == live.managers {
            return Ok(next);
        }
        let without = |object: &Value| {
            let mut spec = object.clone();
            merge_patch(&mut spec, &json!({"metadata": null, "status": null}));
            spec
        };
        if without(&next) != without(&live.object) {
            let generation = live.object["metadata"]["generation"].as_i64().unwrap_or_default();
            next["metadata"]["generation"] = json!(generation + 1);
        }
        if leaving && held.is_empty() {
            self.put(key, None);
            return Ok(next);
        }
        let stored = self.put(key, Some(Stored { object: next, managers }));
        Ok(stored.map(|stored| stored.object.clone()).unwrap_or_default())
    }
}

fn manager(by: Writer<'_>, applies: bool, fields: Fields) -> Manager {
    Manager { name: by.manager.to_owned(), applies, subresource: by.subresource.to_owned(), fields }
}

/// An applied null is a field that is not there.
fn without_nulls(value: &mut Value) {
    if let Value::Object(parts) = value {
        parts.retain(|_, part| !part.is_null());
        parts.values_mut().for_each(without_nulls);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(without_nulls);
    }
}

/// Whether `edit` tests that nothing is where nothing is, which an apiserver takes where the place itself is there.
fn tests_for_nothing(edit: &PatchOperation, object: &Value) -> bool {
    let PatchOperation::Test(TestOperation { path, value: Value::Null }) = edit else { return false };
    let place = path.parent().and_then(|place| object.pointer(place.as_str()));
    place.is_some_and(Value::is_object) && object.pointer(path.as_str()).is_none()
}

fn remove_meta(object: &mut Value, name: &str) {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.shift_remove(name);
    }
}

/// Who owns nothing is no manager, and which comes first says nothing.
fn in_order(managers: &mut Vec<Manager>) {
    managers.retain(|manager| !manager.fields.is_empty());
    managers.sort_by(|one, other| {
        let key = |manager: &Manager| (manager.name.clone(), manager.applies, manager.subresource.clone());
        key(one).cmp(&key(other))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "Service";

    fn apply(world: &mut World, manager: &str, force: bool, rest: &Value) -> Result<Value, Refused> {
        let kind = Kind::named(KIND).unwrap();
        let mut body = json!({"apiVersion": "v1", "kind": KIND, "metadata": {"name": "s"}});
        merge_patch(&mut body, rest);
        world.apply(kind, &Key::new(kind, "n", "s"), &body, Writer { manager, subresource: "" }, force)
    }

    fn version(object: &Value) -> &Value {
        &object["metadata"]["resourceVersion"]
    }

    #[test]
    fn what_is_applied_no_more_goes_unless_another_has_it_too() {
        let mut world = World::default();
        let labels = |a: Value, b: Value| json!({"metadata": {"labels": {"a": a, "b": b}}});
        apply(&mut world, "one", false, &labels(json!("1"), json!("2"))).unwrap();
        apply(&mut world, "two", false, &labels(json!("1"), Value::Null)).unwrap();
        let left = apply(&mut world, "one", false, &json!({"metadata": {"labels": {"c": "3"}}})).unwrap();
        assert_eq!(left["metadata"]["labels"], json!({"a": "1", "c": "3"}));
        assert_eq!(left["metadata"]["generation"], 1, "no spec has changed");
    }

    #[test]
    fn an_item_of_a_list_that_is_applied_no_more_goes_whole() {
        let mut world = World::default();
        let ports = |all: Value| json!({"spec": {"ports": all}});
        let (one, two) =
            (json!({"port": 1, "protocol": "TCP"}), json!({"port": 2, "protocol": "TCP", "name": "n"}));
        apply(&mut world, "one", false, &ports(json!([one, two]))).unwrap();
        let left = apply(&mut world, "one", false, &ports(json!([one]))).unwrap();
        assert_eq!(left["spec"]["ports"], json!([one]));
    }

    #[test]
    fn another_value_for_anothers_field_is_a_conflict_or_taken_by_force() {
        let mut world = World::default();
        let selector = |value: &str| json!({"spec": {"selector": {"a": value}}});
        let first = apply(&mut world, "one", false, &selector("1")).unwrap();
        assert_eq!(apply(&mut world, "two", false, &selector("2")).unwrap_err().code, 409);
        let taken = apply(&mut world, "two", true, &selector("2")).unwrap();
        assert_eq!(taken["spec"]["selector"]["a"], "2");
        assert_eq!(taken["metadata"]["generation"], 2);
        assert_ne!(version(&first), version(&taken));
        assert_eq!(apply(&mut world, "one", false, &selector("1")).unwrap_err().code, 409);
    }

    #[test]
    fn the_same_again_is_no_new_version() {
        let mut world = World::default();
        let body = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}]}});
        let first = apply(&mut world, "one", false, &body).unwrap();
        assert_eq!(apply(&mut world, "one", true, &body).unwrap(), first);
        assert_eq!(version(&first), &json!(world.revision().to_string()));
    }

    #[test]
    fn a_demanded_uid_or_version_must_be_there() {
        let mut world = World::default();
        let of = |uid: &Value| json!({"metadata": {"uid": uid}});
        assert_eq!(apply(&mut world, "one", true, &of(&json!("u"))).unwrap_err().code, 409);
        let first = apply(&mut world, "one", false, &json!({})).unwrap();
        let key = Key::new(Kind::named(KIND).unwrap(), "n", "s");
        assert!(apply(&mut world, "one", true, &of(&first["metadata"]["uid"])).is_ok());
        let options = json!({"preconditions": {"uid": "another"}});
        assert_eq!(world.delete(&key, &options).unwrap_err().code, 409);
        world.delete(&key, &json!({"preconditions": {"resourceVersion": version(&first)}})).unwrap();
        let next = apply(&mut world, "one", false, &json!({})).unwrap();
        assert_ne!(next["metadata"]["uid"], first["metadata"]["uid"]);
    }

    #[test]
    fn the_past_is_as_it_was() {
        let mut world = World::default();
        for value in ["1", "2"] {
            apply(&mut world, "one", true, &json!({"spec": {"selector": {"a": value}}})).unwrap();
        }
        let key = Key::new(Kind::named(KIND).unwrap(), "n", "s");
        world.delete(&key, &json!({})).unwrap();
        let then = |revision| {
            let found = world.of_at(KIND, revision);
            let by_name = world.get_at(&key, revision).map(|stored| stored.object.clone());
            assert_eq!(found.first().map(|stored| stored.object.clone()), by_name);
            by_name.map(|object| object["spec"]["selector"]["a"].clone())
        };
        assert_eq!([1, 2, 3, 4].map(then), [None, Some(json!("1")), Some(json!("2")), None]);
        assert_eq!(world.changes(KIND, 2, 4).map(|changes| changes.len()), Some(2));
    }
}
