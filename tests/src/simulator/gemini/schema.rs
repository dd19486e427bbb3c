//! The subset of OpenAPI's schema that Gemini takes; one word more and the whole request is refused.

use serde_json::Value;

use super::fields::only;
use crate::simulator::error::Refusal;

const WORDS: [&str; 22] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
];

/// Refuses what the subset does not have.
pub(super) fn check(place: &str, schema: &Value) -> Result<(), Refusal> {
    only(place, schema, &WORDS)?;
    let kind = schema["type"].as_str().unwrap_or_default().to_ascii_uppercase();
    if !schema["type"].is_null() && !schema["type"].is_string() {
        let message = format!(
            "Invalid value at '{place}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type)"
        );
        return Err(Refusal::bad(message));
    }
    if schema["type"].is_null() && schema["anyOf"].is_null() && schema["any_of"].is_null() {
        return Err(Refusal::bad(format!("* GenerateContentRequest.{place}.type: must be specified")));
    }
    if schema.get("enum").is_some() && kind != "STRING" {
        return Err(Refusal::bad(format!(
            "* GenerateContentRequest.{place}.enum: only allowed for STRING type"
        )));
    }
    let properties = &schema["properties"];
    for (index, name) in schema["required"].as_array().into_iter().flatten().enumerate() {
        if properties.get(name.as_str().unwrap_or_default()).is_none() {
            let message =
                format!("* GenerateContentRequest.{place}.required[{index}]: property is not defined");
            return Err(Refusal::bad(message));
        }
    }
    for (name, schema) in properties.as_object().into_iter().flatten() {
        check(&format!("{place}.properties[{name}]"), schema)?;
    }
    if kind == "ARRAY" && schema["items"].is_null() {
        return Err(Refusal::bad(format!("* GenerateContentRequest.{place}.items: missing field.")));
    }
    if !schema["items"].is_null() {
        check(&format!("{place}.items"), &schema["items"])?;
    }
    let branches = schema.get("anyOf").or_else(|| schema.get("any_of"));
    for (index, branch) in branches.and_then(Value::as_array).into_iter().flatten().enumerate() {
        check(&format!("{place}.any_of[{index}]"), branch)?;
    }
    Ok(())
}
