//! One instance of a JSON schema.

use serde_json::{Map, Number, Value, json};

/// What a text of no particular form says: letters of two bytes, and characters that JSON escapes.
const TEXT: &str = "Zürich \"HB\"";

/// Beyond this depth only what is required is filled in, so that recursive schemas end.
const DEEP: usize = 4;
/// Beyond this depth nothing is: the schema asks for an endless instance.
const BOTTOM: usize = 32;

/// An instance of `schema`, in JSON Schema or in the subset of OpenAPI that Gemini takes.
pub(super) fn instance(schema: &Value) -> Value {
    of(schema, schema, 0)
}

fn of(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > BOTTOM {
        return Value::Null;
    }
    let deeper = |schema: &Value| of(schema, root, depth + 1);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = target.strip_prefix('#').unwrap_or(target);
        return root.pointer(pointer).map_or(Value::Null, deeper);
    }
    if let Some(value) = schema.get("const").or_else(|| schema.pointer("/enum/0")) {
        return value.clone();
    }
    let branches = ["anyOf", "oneOf"].into_iter().find_map(|word| schema.get(word)?.as_array());
    if let Some(branches) = branches {
        let kind = |branch: &&Value| branch.get("type").and_then(Value::as_str) != Some("null");
        return branches.iter().find(kind).or(branches.first()).map_or(Value::Null, deeper);
    }
    let mut object = Map::new();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        match deeper(part) {
            Value::Object(fields) => object.extend(fields),
            other => return other,
        }
    }
    match kind(schema) {
        "array" => Value::Array(items(schema, deeper)),
        "string" => Value::String(text(schema)),
        "integer" | "number" => number(schema, kind(schema) == "integer"),
        "boolean" => Value::Bool(true),
        "null" => Value::Null,
        _ => {
            let required = |name: &String| {
                schema.get("required").and_then(Value::as_array).is_some_and(|all| all.contains(&json!(name)))
            };
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let wanted = properties.filter(|(name, _)| depth < DEEP || required(name));
            object.extend(wanted.map(|(name, schema)| (name.clone(), deeper(schema))));
            Value::Object(object)
        }
    }
}

/// The first type that is not null, in lower case.
fn kind(schema: &Value) -> &'static str {
    const KINDS: [&str; 6] = ["object", "array", "string", "integer", "number", "boolean"];
    let named = |value: &Value| {
        let name = value.as_str()?;
        KINDS.into_iter().find(|kind| name.eq_ignore_ascii_case(kind))
    };
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().find_map(named).unwrap_or("null"),
        Some(kind) => named(kind).unwrap_or("null"),
        None if schema.get("items").is_some() => "array",
        None => "object",
    }
}

fn items(schema: &Value, deeper: impl Fn(&Value) -> Value) -> Vec<Value> {
    if let Some(prefix) = schema.get("prefixItems").and_then(Value::as_array) {
        return prefix.iter().map(deeper).collect();
    }
    let count = schema.get("minItems").and_then(integer).unwrap_or(1).max(1);
    let count = schema.get("maxItems").and_then(integer).map_or(count, |most| count.min(most));
    let item = schema.get("items").unwrap_or(&Value::Null);
    (0..count).map(|_| deeper(item)).collect()
}

/// A whole number; protobuf's JSON writes 64-bit ones as text.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text(schema: &Value) -> String {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-11-28T10:00:00Z",
        Some("date") => "2026-11-28",
        Some("time") => "10:00:00Z",
        Some("email") => "a@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "0f8fad5b-d9cb-469f-a165-70867728950e",
        Some(_) | None => TEXT,
    };
    let least = schema.get("minLength").and_then(integer).and_then(|least| usize::try_from(least).ok());
    let most = schema.get("maxLength").and_then(integer).and_then(|most| usize::try_from(most).ok());
    let padded = text.chars().chain(std::iter::repeat('x'));
    padded.take(text.chars().count().max(least.unwrap_or(0)).min(most.unwrap_or(usize::MAX))).collect()
}

fn number(schema: &Value, whole: bool) -> Value {
    let bound = |word| schema.get(word).and_then(Value::as_f64);
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|least| least + 1.0));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|most| most - 1.0));
    let wanted: f64 = if whole { 7.0 } else { 20.5 };
    let value = wanted.max(least.unwrap_or(wanted)).min(most.unwrap_or(f64::MAX));
    if whole {
        // A bound of a whole number is one; what is not has no instance anyway.
        #[allow(
            clippy::cast_possible_truncation,
            reason = "bounds of integers in a test's schema are small"
        )]
        return json!(value.ceil() as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_that_tests_use_is_kept() {
        for (schema, expected) in [
            (json!({"type": "object", "properties": {}}), json!({})),
            (
                json!({"type": "OBJECT", "properties": {"city": {"type": "STRING"},
                                                        "days": {"type": "INTEGER", "maximum": 3}}}),
                json!({"city": TEXT, "days": 3}),
            ),
            (json!({"type": ["null", "boolean"]}), json!(true)),
            (json!({"enum": ["b", "a"]}), json!("b")),
            (json!({"anyOf": [{"type": "null"}, {"type": "number", "minimum": 30}]}), json!(30.0)),
            (json!({"type": "array", "minItems": 2, "items": {"const": 1}}), json!([1, 1])),
            (
                json!({"$defs": {"a": {"type": "string", "maxLength": 6}}, "$ref": "#/$defs/a"}),
                json!("Zürich"),
            ),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}}], "properties": {"b": {"const": 2}}}),
                json!({"a": 1, "b": 2}),
            ),
        ] {
            assert_eq!(instance(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_recursive_schema_ends() {
        let optional = json!({"type": "object", "required": ["name"],
                              "properties": {"name": {"type": "string"}, "next": {"$ref": "#"}}});
        assert!(instance(&optional).pointer("/next/name").is_some());
        let endless = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]});
        assert!(instance(&endless).is_object());
    }
}
