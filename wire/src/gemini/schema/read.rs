//! The subset into JSON Schema.

use serde_json::{Map, Value, json};

/// `schema` as JSON Schema: types in small letters, null as a type, and properties in the order asked for.
pub(in super::super) fn to_json_schema(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let mut out = Map::new();
    let mut nullable = false;
    let mut ordering: Vec<&str> = Vec::new();
    for (keyword, value) in schema {
        match keyword.as_str() {
            "type" => {
                let kind = value.as_str().unwrap_or_default().to_lowercase();
                if kind != "type_unspecified" && !kind.is_empty() {
                    out.insert("type".into(), kind.into());
                }
            }
            "nullable" => nullable = value.as_bool().unwrap_or_default(),
            "propertyOrdering" | "property_ordering" => {
                ordering = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            }
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let read = properties.map(|(name, property)| (name.clone(), to_json_schema(property)));
                out.insert("properties".into(), Value::Object(read.collect()));
            }
            "items" | "additionalProperties" | "additional_properties" => {
                out.insert(camel(keyword), to_json_schema(value));
            }
            "anyOf" | "any_of" => {
                let choices = value.as_array().into_iter().flatten().map(to_json_schema);
                out.insert("anyOf".into(), choices.collect());
            }
            "example" => {
                out.insert("examples".into(), json!([value]));
            }
            // Whole numbers may be strings in protobuf's JSON.
            "minItems" | "min_items" | "maxItems" | "max_items" | "minLength" | "min_length"
            | "maxLength" | "max_length" | "minProperties" | "min_properties" | "maxProperties"
            | "max_properties" => {
                let number = value.as_str().and_then(|text| text.parse::<u64>().ok());
                out.insert(camel(keyword), number.map_or_else(|| value.clone(), Value::from));
            }
            _ => {
                out.insert(keyword.clone(), value.clone());
            }
        }
    }
    if let Some(Value::Object(properties)) = out.get_mut("properties") {
        reorder(properties, &ordering);
    }
    if nullable { with_null(out) } else { Value::Object(out) }
}

fn camel(keyword: &str) -> String {
    let mut words = keyword.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        camel.push_str(&first.to_uppercase());
        camel.push_str(rest);
    }
    camel
}

fn reorder(properties: &mut Map<String, Value>, ordering: &[&str]) {
    let mut ordered = Map::new();
    for name in ordering {
        if let Some((name, property)) = properties.shift_remove_entry(*name) {
            ordered.insert(name, property);
        }
    }
    ordered.append(properties);
    *properties = ordered;
}

/// Null fits too.
fn with_null(mut schema: Map<String, Value>) -> Value {
    match schema.get("type").and_then(Value::as_str).map(str::to_owned) {
        Some(kind) => {
            schema.insert("type".into(), json!([kind, "null"]));
            // An enumeration must name null itself.
            if let Some(Value::Array(values)) = schema.get_mut("enum") {
                values.push(Value::Null);
            }
            Value::Object(schema)
        }
        None => match schema.get_mut("anyOf") {
            Some(Value::Array(choices)) => {
                choices.push(json!({"type": "null"}));
                Value::Object(schema)
            }
            _ => Value::Object(schema),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_schema_becomes_json_schema() {
        let schema = json!({
            "type": "OBJECT",
            "propertyOrdering": ["b", "a"],
            "properties": {
                "a": {"type": "ARRAY", "min_items": "2", "items": {"type": "STRING", "enum": ["x"], "nullable": true}},
                "b": {"any_of": [{"type": "INTEGER"}], "nullable": true},
                "type": {"type": "STRING", "example": "e"}
            },
            "required": ["b"]
        });
        let read = to_json_schema(&schema);
        let expected = json!({
            "type": "object",
            "properties": {
                "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "a": {"type": "array", "minItems": 2, "items": {"type": ["string", "null"], "enum": ["x", null]}},
                "type": {"type": "string", "examples": ["e"]}
            },
            "required": ["b"]
        });
        assert_eq!(read, expected);
        let names: Vec<&String> = read["properties"].as_object().expect("properties").keys().collect();
        assert_eq!(names, ["b", "a", "type"]);
    }
}
