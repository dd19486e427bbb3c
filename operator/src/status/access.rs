use jiff::Timestamp;
use weighbridge_crds::adapter::ADAPTER_SEPARATOR;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{AccessKey, EVERY_MODEL, ModelAccess, ModelAccessStatus, ModelDeployment};

use super::conditions::{Says, merge, ours};

/// The status that `access` should have, in a namespace with `models`.
pub fn access(access: &ModelAccess, models: &[&ModelDeployment], now: Timestamp) -> ModelAccessStatus {
    let old = access.status.clone().unwrap_or_default();
    let generation = access.metadata.generation.unwrap_or_default();
    let (found, keys) = (models_found(access, models), keys_current(access, now));
    let holders = access.spec.keys.iter().filter(|key| ended(key, now).is_none()).count();
    let none_named = missing(access, models).len() == access.spec.models.len();
    let ready = if holders == 0 {
        keys.as_type(condition::READY)
    } else if none_named {
        found.as_type(condition::READY)
    } else {
        let keys = if holders == 1 { "1 key".to_owned() } else { format!("{holders} keys") };
        Says::yes(
            condition::READY,
            Reason::Serving,
            format!("{keys} may call {}", access.spec.models.join(", ")),
        )
    };
    ModelAccessStatus {
        observed_generation: Some(generation),
        conditions: merge(&ours(&old.conditions), vec![found, keys, ready], generation, now),
    }
}

/// When the next key of `access` ends, after `now`.
pub fn next_end(access: &ModelAccess, now: Timestamp) -> Option<Timestamp> {
    let ends = access.spec.keys.iter().filter_map(|key| key.expires_at.as_ref());
    ends.map(|end| end.0).filter(|end| *end > now).min()
}

fn models_found(access: &ModelAccess, models: &[&ModelDeployment]) -> Says {
    let type_ = condition::MODELS_FOUND;
    let missing = missing(access, models);
    if missing.is_empty() {
        return Says::yes(type_, Reason::ModelsFound, "every model named is there");
    }
    let message = format!(
        "not in this namespace: {}; a caller is told that it may not, as of a model that it may not call",
        missing.join(", ")
    );
    Says::no(type_, Reason::ModelNotFound, message)
}

/// What `spec.models` names and nobody serves.
fn missing<'a>(access: &'a ModelAccess, models: &[&ModelDeployment]) -> Vec<&'a str> {
    let there = |name: &str| {
        let (model, adapter) = match name.split_once(ADAPTER_SEPARATOR) {
            Some((model, adapter)) => (model, Some(adapter)),
            None => (name, None),
        };
        let found = models.iter().find(|found| found.metadata.name.as_deref() == Some(model));
        found.is_some_and(|found| adapter.is_none_or(|adapter| adapters(found).any(|name| name == adapter)))
    };
    let named = access.spec.models.iter().map(String::as_str);
    named.filter(|name| *name != EVERY_MODEL && !there(name)).collect()
}

/// Names of the adapters that a model's spec has.
pub fn adapters(model: &ModelDeployment) -> impl Iterator<Item = &str> {
    let engine = model.spec.open_weights.as_ref().and_then(|weights| weights.engine.as_ref());
    engine.into_iter().flat_map(|engine| &engine.adapters).map(|adapter| adapter.name.as_str())
}

fn keys_current(access: &ModelAccess, now: Timestamp) -> Says {
    let type_ = condition::KEYS_CURRENT;
    let keys = &access.spec.keys;
    let ended: Vec<String> = keys.iter().filter_map(|key| ended(key, now)).collect();
    if ended.is_empty() {
        return Says::yes(type_, Reason::KeysCurrent, "no key has ended");
    }
    let message = format!(
        "{} of {} keys let nobody in any more: {}; remove or renew them",
        ended.len(),
        keys.len(),
        ended.join(", ")
    );
    Says::no(type_, Reason::KeyEnded, message)
}

/// The key and its end, in words, where that is past.
fn ended(key: &AccessKey, now: Timestamp) -> Option<String> {
    let end = key.expires_at.as_ref()?.0;
    (end <= now).then(|| format!("{} ended at {end}", key.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_772_712_000, 0);

    fn model(name: &str, adapters: &[&str]) -> ModelDeployment {
        let adapters: Vec<_> =
            adapters.iter().map(|name| json!({"name": name, "source": "pvc://c/a"})).collect();
        serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": name}, "spec": {"openWeights": {"source": "pvc://c/f", "engine": {"adapters": adapters}}}}))
        .unwrap()
    }

    /// Reasons of the three conditions, after a sign of their status, for `models` and keys with these ends.
    fn says(models: &[&str], ends: &[Option<&str>]) -> (Vec<String>, Vec<String>) {
        let keys: Vec<_> = ends
            .iter()
            .enumerate()
            .map(|(index, end)| json!({"name": format!("k{index}"), "sha256": "sha256:0", "expiresAt": end}))
            .collect();
        let access: ModelAccess = serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
            "kind": "ModelAccess", "metadata": {"name": "a", "generation": 2}, "spec": {"keys": keys, "models": models}}))
        .unwrap();
        let there = [model("m", &["tone"]), model("n", &[])];
        let status = super::access(&access, &there.iter().collect::<Vec<_>>(), NOW);
        let sign = |status: &str| if status == "True" { "+" } else { "-" };
        let reasons = status.conditions.iter().map(|c| format!("{}{}", sign(&c.status), c.reason));
        (reasons.collect(), status.conditions.iter().map(|c| c.message.clone()).collect())
    }

    #[test]
    fn what_is_not_there_is_named() {
        for models in [&["*"][..], &["m", "m:tone", "n"]] {
            assert_eq!(says(models, &[None]).0, ["+ModelsFound", "+KeysCurrent", "+Serving"], "{models:?}");
        }
        let (reasons, messages) = says(&["m", "gone", "n:tone"], &[None]);
        assert_eq!(reasons, ["-ModelNotFound", "+KeysCurrent", "+Serving"]);
        assert!(messages[0].contains("gone, n:tone"), "{messages:?}");
        assert_eq!(says(&["gone"], &[None]).0, ["-ModelNotFound", "+KeysCurrent", "-ModelNotFound"]);
    }

    #[test]
    fn keys_that_ended_are_named_and_the_next_end_is_waited_for() {
        let (past, future) = (Some("2026-03-05T12:00:00Z"), Some("2026-03-05T12:00:01Z"));
        let (reasons, messages) = says(&["m"], &[past, future, None]);
        assert_eq!(reasons, ["+ModelsFound", "-KeyEnded", "+Serving"]);
        assert!(messages[1].contains("1 of 3 keys") && messages[1].contains("k0 ended at"), "{messages:?}");
        assert!(messages[2].starts_with("2 keys may call m"), "{messages:?}");
        assert_eq!(says(&["m"], &[past]).0, ["+ModelsFound", "-KeyEnded", "-KeyEnded"]);
        let access = |end: Option<&str>| -> ModelAccess {
            serde_json::from_value(
                json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelAccess",
                "metadata": {"name": "a"},
                "spec": {"keys": [{"name": "k", "sha256": "sha256:0", "expiresAt": end}], "models": ["m"]}}),
            )
            .unwrap()
        };
        assert_eq!(next_end(&access(past), NOW), None);
        assert_eq!(next_end(&access(future), NOW), future.map(|end| end.parse().unwrap()));
    }
}
