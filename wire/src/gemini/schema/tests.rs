use serde_json::{Value, json};

use super::{from_json_schema, to_json_schema};
use crate::canonical::{Dialect, Losses, Unsupported};

fn dropping(schema: &Value) -> (Value, Vec<String>) {
    let mut losses = Losses::new(Unsupported::Drop, Dialect::OpenAiChat, Dialect::Gemini);
    let written = from_json_schema(schema, "p", &mut losses).expect("dropped");
    (written, losses.into_dropped())
}

fn refused(schema: &Value) -> String {
    let mut losses = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Gemini);
    from_json_schema(schema, "p", &mut losses).expect_err("must be refused").field
}

/// Every keyword in a written schema that the subset lacks.
fn foreign_keywords(schema: &Value, found: &mut Vec<String>) {
    const SUBSET: [&str; 22] = [
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "default",
        "items",
        "minItems",
        "maxItems",
        "enum",
        "properties",
        "propertyOrdering",
        "required",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "example",
        "anyOf",
    ];
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        if !SUBSET.contains(&keyword.as_str()) {
            found.push(keyword.clone());
        }
        match keyword.as_str() {
            "properties" => {
                value.as_object().into_iter().flatten().for_each(|(_, v)| foreign_keywords(v, found))
            }
            "items" => foreign_keywords(value, found),
            "anyOf" => value.as_array().into_iter().flatten().for_each(|v| foreign_keywords(v, found)),
            _ => {}
        }
    }
}

/// Bug 11 (databricks/unity-gateway #491, OmniRoute #1421, freellmapi #97): one such keyword and the whole request is a 400.
#[test]
fn bug_11_no_keyword_outside_geminis_subset_gets_through() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "x",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "kind": {"const": "insert"},
            "count": {"type": "integer", "exclusiveMinimum": 0, "multipleOf": 2},
            "map": {"type": "object", "propertyNames": {"pattern": "^a"}, "patternProperties": {"^a": {}}},
            "list": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/item", "description": "d"}},
            "mail": {"type": ["string", "null"], "format": "email"},
            "$schema": {"type": "string"}
        },
        "required": ["kind", "absent"],
        "$defs": {"item": {"type": "object", "additionalProperties": {"type": "string"}, "examples": [1]}}
    });
    let (written, dropped) = dropping(&schema);
    let mut found = Vec::new();
    foreign_keywords(&written, &mut found);
    assert_eq!(found, [] as [&str; 0], "{written}");
    let expected = json!({
        "type": "OBJECT",
        "properties": {
            "kind": {"type": "STRING", "enum": ["insert"]},
            "count": {"type": "INTEGER", "minimum": 1},
            "map": {"type": "OBJECT"},
            "list": {"type": "ARRAY", "items": {"type": "OBJECT", "description": "d"}},
            "mail": {"type": "STRING", "nullable": true},
            "$schema": {"type": "STRING"}
        },
        "required": ["kind"]
    });
    assert_eq!(written, expected);
    for lost in [
        "p.$schema",
        "p.$id",
        "p.additionalProperties",
        "p.properties.count.multipleOf",
        "p.properties.map.propertyNames",
        "p.properties.list.uniqueItems",
        "p.properties.list.items.additionalProperties",
        "p.properties.mail.format",
        "p.required.absent",
    ] {
        assert!(dropped.iter().any(|name| name == lost), "{lost} of {dropped:?}");
    }
}

#[test]
fn what_changes_the_meaning_is_refused_by_name_and_remarks_are_not() {
    assert_eq!(refused(&json!({"type": "number", "multipleOf": 0.5})), "p.multipleOf");
    assert_eq!(refused(&json!({"properties": {"a": {"not": {}}}})), "p.properties.a.not");
    assert_eq!(refused(&json!({"enum": [1, 2]})), "p.enum");
    assert_eq!(refused(&json!({"const": true})), "p.const");
    assert_eq!(refused(&json!({"type": "number", "exclusiveMinimum": 0})), "p.exclusiveMinimum");
    assert_eq!(refused(&json!({"oneOf": [{"type": "string"}]})), "p.oneOf");
    let mut losses = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Gemini);
    let remarks =
        json!({"$schema": "s", "$comment": "c", "additionalProperties": false, "x-own": 1, "format": "uri"});
    assert_eq!(from_json_schema(&remarks, "p", &mut losses).expect("remarks only"), json!({}));
}

#[test]
fn optional_fields_as_pydantic_writes_them_are_nullable() {
    let (written, dropped) =
        dropping(&json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}));
    assert_eq!(written, json!({"nullable": true, "type": "STRING", "maxLength": 3}));
    assert_eq!(dropped, [] as [&str; 0]);
    let (written, _) = dropping(&json!({"type": ["string", "integer", "null"]}));
    assert_eq!(written, json!({"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": true}));
}

#[test]
fn all_of_is_one_schema() {
    let schema = json!({
        "allOf": [{"$ref": "#/definitions/base"}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}],
        "definitions": {"base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}
    });
    let (written, dropped) = dropping(&schema);
    let expected = json!({
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}},
        "required": ["a", "b"]
    });
    assert_eq!((written, dropped), (expected, Vec::new()));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"l": {"$ref": "#/$defs/node"}, "r": {"$ref": "#/$defs/node"}}}}
    });
    assert_eq!(refused(&tree), "p.properties.l.$ref");
    let (written, dropped) = dropping(&tree);
    assert_eq!(written["properties"]["l"], json!({}));
    assert_eq!(dropped, ["p.properties.l.$ref", "p.properties.r.$ref"]);
}

#[test]
fn references_cannot_reach_down_without_end() {
    let nested = |depth: usize| {
        move |next: Value| (0..depth).fold(next, |inner, _| json!({"properties": {"a": inner}}))
    };
    for (definitions, depth) in [(20_000, 0), (20_000, 1), (100, 5)] {
        let wrap = nested(depth);
        let chain = (0..definitions)
            .map(|level| (format!("d{level}"), wrap(json!({"$ref": format!("#/$defs/d{}", level + 1)}))));
        let mut chain: serde_json::Map<String, Value> = chain.collect();
        chain.insert(format!("d{definitions}"), json!({"type": "string"}));
        let schema = json!({"$ref": "#/$defs/d0", "$defs": chain});
        let mut losses = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Gemini);
        assert!(from_json_schema(&schema, "p", &mut losses).is_err(), "{definitions} of {depth}");
    }
}

#[test]
fn references_cannot_multiply_without_end() {
    let mut definitions = serde_json::Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        definitions.insert(format!("d{level}"), json!({"properties": {"a": next, "b": next}}));
    }
    definitions.insert("d40".into(), json!({"type": "string"}));
    let (written, _) = dropping(&json!({"$ref": "#/$defs/d0", "$defs": definitions}));
    assert!(written.to_string().len() < 1 << 20);
}

#[test]
fn the_subset_comes_back() {
    let schema = json!({
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING", "enum": ["x", "y"], "nullable": true},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER", "minimum": 1}}
        },
        "required": ["b"]
    });
    let (written, dropped) = dropping(&to_json_schema(&schema));
    assert_eq!((written, dropped), (schema, Vec::new()));
}
