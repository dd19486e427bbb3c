//! Checks a value against a structural schema: what the apiserver checks before CEL.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Number, Value};

/// Every way in which `value` breaks `schema`, each naming the field and what to write instead.
pub fn problems(schema: &JSONSchemaProps, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, value, "", &mut found);
    found
}

fn walk(schema: &JSONSchemaProps, value: &Value, path: &str, found: &mut Vec<String>) {
    if value.is_null() && schema.nullable == Some(true) {
        return;
    }
    match value {
        Value::Object(fields) => walk_object(schema, fields, path, found),
        Value::Array(items) => {
            if !type_is(schema, "array", path, "a list", found) {
                return;
            }
            check_list(schema, items, path, found);
            if let Some(JSONSchemaPropsOrArray::Schema(item_schema)) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    walk(item_schema, item, &format!("{path}[{index}]"), found);
                }
            }
        }
        Value::String(text) => {
            // Of a number or a text, what is said of texts is of those.
            let may_be = schema.x_kubernetes_int_or_string == Some(true);
            if may_be || type_is(schema, "string", path, "a string", found) {
                check_string(schema, text, path, found);
            }
        }
        Value::Number(number) => {
            let whole = number.is_i64() || number.is_u64();
            if schema.x_kubernetes_int_or_string == Some(true) {
                if whole {
                    check_bounds(schema, number, path, found);
                } else {
                    found.push(format!("{path}: {number} is neither whole nor text: put it in quotes"));
                }
                return;
            }
            match (schema.type_.as_deref(), whole) {
                (Some("number"), _) | (Some("integer"), true) => {}
                (Some("integer"), false) => {
                    found.push(format!("{path}: {number} is not integer"));
                    return;
                }
                // The number itself is not repeated: it may be a key that somebody forgot to quote.
                (declared, _) => {
                    let expected = declared.unwrap_or("something else");
                    found.push(format!(
                        "{path}: a number was given, {expected} is expected: put it in quotes"
                    ));
                    return;
                }
            }
            check_bounds(schema, number, path, found);
        }
        Value::Bool(_) => {
            type_is(schema, "boolean", path, "true or false", found);
        }
        Value::Null => found.push(format!("{path}: is empty; give it a value or remove it")),
    }
}

fn walk_object(
    schema: &JSONSchemaProps,
    fields: &serde_json::Map<String, Value>,
    path: &str,
    found: &mut Vec<String>,
) {
    if !type_is(schema, "object", path, "a set of fields", found) {
        return;
    }
    let empty = BTreeMap::new();
    let known = schema.properties.as_ref().unwrap_or(&empty);
    for (name, value) in fields {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (known.get(name), &schema.additional_properties) {
            (Some(field_schema), _) => walk(field_schema, value, &field, found),
            (None, Some(JSONSchemaPropsOrBool::Schema(value_schema))) => {
                walk(value_schema, value, &field, found)
            }
            (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
            (None, Some(JSONSchemaPropsOrBool::Bool(false)) | None) => {
                if schema.x_kubernetes_preserve_unknown_fields != Some(true) && !known.is_empty() {
                    let names = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    found.push(format!("{field}: unknown field; known here: {names}"));
                }
            }
        }
    }
    for required in schema.required.iter().flatten().filter(|name| !fields.contains_key(*name)) {
        let field = if path.is_empty() { required.clone() } else { format!("{path}.{required}") };
        found.push(format!("{field}: is required; set it"));
    }
}

fn type_is(schema: &JSONSchemaProps, wanted: &str, path: &str, words: &str, found: &mut Vec<String>) -> bool {
    let fits = schema.type_.as_deref().is_none_or(|declared| declared == wanted);
    if !fits {
        found.push(format!(
            "{path}: {words} was given, {} is expected",
            schema.type_.as_deref().unwrap_or_default()
        ));
    }
    fits
}

fn check_list(schema: &JSONSchemaProps, items: &[Value], path: &str, found: &mut Vec<String>) {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if schema.min_items.is_some_and(|least| length < least)
        || schema.max_items.is_some_and(|most| length > most)
    {
        found.push(format!(
            "{path}: has {length} entries; {} to {} are allowed",
            schema.min_items.unwrap_or(0),
            schema.max_items.map_or_else(|| "any number".to_owned(), |most| most.to_string())
        ));
    }
    // What tells the entries of a list of this type apart: themselves, or the fields that are its keys.
    let identity = |item: &Value| match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => Some(vec![item.clone()]),
        Some("map") => schema.x_kubernetes_list_map_keys.as_ref().map(|keys| {
            keys.iter().map(|key| item.get(key).cloned().unwrap_or_default()).collect::<Vec<_>>()
        }),
        Some(_) | None => None,
    };
    let mut seen = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(identity) = identity(item) else { continue };
        if seen.contains(&identity) {
            let said: Vec<String> = identity.iter().map(ToString::to_string).collect();
            found.push(format!("{path}[{index}]: {} is there twice: remove one", said.join(", ")));
        }
        seen.push(identity);
    }
}

fn check_string(schema: &JSONSchemaProps, text: &str, path: &str, found: &mut Vec<String>) {
    if let Some(allowed) = &schema.enum_ {
        let names: Vec<_> = allowed.iter().filter_map(|choice| choice.0.as_str()).collect();
        if !names.contains(&text) {
            found.push(format!("{path}: {text:?} is not one of {}", names.join(", ")));
        }
    }
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if schema.min_length.is_some_and(|least| length < least)
        || schema.max_length.is_some_and(|most| length > most)
    {
        found.push(format!(
            "{path}: has {length} characters; {} to {} are allowed",
            schema.min_length.unwrap_or(0),
            schema.max_length.map_or_else(|| "any number".to_owned(), |most| most.to_string())
        ));
    }
    if schema.format.as_deref() == Some("date-time") && text.parse::<k8s_openapi::jiff::Timestamp>().is_err()
    {
        found.push(format!("{path}: {text:?} is no time: write it as 2026-12-31T00:00:00Z"));
    }
    if let Some(pattern) = &schema.pattern
        && regex::Regex::new(pattern).is_ok_and(|expression| !expression.is_match(text))
    {
        found.push(format!("{path}: {text:?} does not match {pattern}"));
    }
}

fn check_bounds(schema: &JSONSchemaProps, number: &Number, path: &str, found: &mut Vec<String>) {
    let amount = number.as_f64().unwrap_or(f64::NAN);
    if schema.minimum.is_some_and(|minimum| amount < minimum)
        || schema.maximum.is_some_and(|maximum| amount > maximum)
    {
        found.push(format!("{path}: {number} is outside {}", bounds(schema)));
    }
}

fn bounds(schema: &JSONSchemaProps) -> String {
    let end =
        |bound: Option<f64>, word: &str| bound.map_or_else(|| word.to_owned(), |limit| limit.to_string());
    format!("{} to {}", end(schema.minimum, "any"), end(schema.maximum, "any"))
}
