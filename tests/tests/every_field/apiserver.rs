//! What the real apiserver says of each field's values.

use anyhow::{Context, Result};
use kube::Client;
use serde_json::{Value, json};
use weighbridge_tests::testbed::{self, TestNamespace};

use super::schema::{Leaf, leaves, place};
use super::table::rows;
use super::{NAME, object, with};

/// What the apiserver says of an object; nothing where it takes it.
async fn refusal(client: &Client, namespace: &str, kind: &str, spec: &Value) -> Result<String> {
    let (inside, plural) = match kind {
        "ResourceProfile" => (String::new(), "resourceprofiles".to_owned()),
        kind if kind.ends_with('s') => {
            (format!("namespaces/{namespace}/"), format!("{}es", kind.to_lowercase()))
        }
        kind => (format!("namespaces/{namespace}/"), format!("{}s", kind.to_lowercase())),
    };
    let path =
        format!("/apis/serving.weighbridge.dev/v1alpha1/{inside}{plural}?dryRun=All&fieldValidation=Strict");
    let body = serde_json::to_vec(&object(kind, NAME, spec))?;
    let request = http::Request::post(path).header("content-type", "application/json").body(body)?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(String::new()),
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn each_value_is_taken_at_its_extremes_and_refused_beyond_them_by_name() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "fields").await?;
    let schemas = leaves()?;
    let mut wrong = Vec::new();
    for row in rows() {
        let leaf = schemas.iter().find(|leaf| leaf.kind == row.kind && leaf.path == row.path);
        let leaf = leaf.with_context(|| row.path.to_owned())?;
        let field = row.path.rsplit('.').next().unwrap_or(row.path);
        let field = field.trim_end_matches("[]").trim_end_matches("{}");
        let set = with(&row.base, &row.set);
        let states = [
            Some(row.base.clone()),
            Some(set.clone()),
            row.changed.as_ref().map(|patch| with(&row.base, patch)),
        ];
        for spec in states.into_iter().flatten() {
            let said = refusal(&client, namespace.name(), row.kind, &spec).await?;
            if !said.is_empty() {
                wrong.push(format!("{} {}: {spec} is refused: {said}", row.kind, row.path));
            }
        }
        let probed = |value: Value| {
            let mut spec = set.clone();
            place(&mut spec, row.path).map(|place| *place = value).map(|()| spec)
        };
        for extreme in extremes(leaf) {
            let spec = probed(extreme).with_context(|| format!("{}: the row does not set it", row.path))?;
            let said = refusal(&client, namespace.name(), row.kind, &spec).await?;
            // What another field forbids is told with the field.
            if !said.is_empty() && !said.contains(field) {
                wrong.push(format!(
                    "{} {}: {spec} is refused, and not by the field's name: {said}",
                    row.kind, row.path
                ));
            }
        }
        for bad in bad_values(leaf).into_iter().chain(row.bad.iter().cloned()) {
            let spec = probed(bad).with_context(|| format!("{}: the row does not set it", row.path))?;
            let said = refusal(&client, namespace.name(), row.kind, &spec).await?;
            if !said.contains(field) {
                wrong.push(format!("{} {}: {} is answered by {said:?}", row.kind, row.path, short(&spec)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn short(spec: &Value) -> String {
    spec.to_string().chars().take(300).collect()
}

/// Values at the bounds that the schema has.
fn extremes(leaf: &Leaf) -> Vec<Value> {
    let bound = |name: &str| leaf.schema[name].as_f64().filter(|_| leaf.schema["type"] == "integer");
    #[expect(clippy::cast_possible_truncation, reason = "bounds of integers are whole")]
    let whole = |bound: f64| json!(bound as i64);
    ["minimum", "maximum"].into_iter().filter_map(bound).map(whole).collect()
}

/// Values that the schema forbids, each in its own way.
fn bad_values(leaf: &Leaf) -> Vec<Value> {
    let schema = &leaf.schema;
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return vec![json!("words"), json!(["a list"])];
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return vec![json!({"a": "map"}), json!(true)];
    }
    let mut bad = match schema["type"].as_str() {
        Some("string") => vec![json!(7), json!({"a": "map"}), json!(["a list"])],
        Some("boolean") => vec![json!("yes"), json!(1)],
        Some("integer") => vec![json!("many"), json!(1.5), json!(true)],
        _ => Vec::new(),
    };
    if let Some(maximum) = schema["maximum"].as_f64() {
        bad.push(json!(maximum + 1.0));
    }
    if let Some(minimum) = schema["minimum"].as_f64() {
        bad.push(json!(minimum - 1.0));
    }
    if let Some(longest) = schema["maxLength"].as_u64().and_then(|longest| usize::try_from(longest).ok()) {
        bad.push(json!("a".repeat(longest + 1)));
    }
    if schema["minLength"].as_u64().is_some_and(|shortest| shortest > 0) {
        bad.push(json!(""));
    }
    if schema["pattern"].is_string() || schema["enum"].is_array() || schema["format"] == "date-time" {
        bad.extend([json!("ünïcödé \u{1f9e8}"), json!("two\nlines"), json!("../..")]);
    }
    bad
}
