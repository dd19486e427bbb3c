//! JSON Schema into the subset.

use serde_json::{Map, Value, json};

use super::keyword::{Fate, fate, takes_format};
use super::merge::flattened;
use crate::canonical::{Inexpressible, Losses};

/// Schemas that one may come to: references to references can make a small schema as large as they like.
const MAX_SCHEMAS: usize = 4_096;

/// Schemas within schemas: references reach deeper than JSON may be nested, and each level is on the stack.
const MAX_DEPTH: usize = 64;

/// `schema` in the subset; `path` is where the caller wrote it.
pub(in super::super) fn from_json_schema(
    schema: &Value,
    path: &str,
    losses: &mut Losses,
) -> Result<Value, Inexpressible> {
    Writer { root: schema, following: Vec::new(), left: MAX_SCHEMAS, depth: 0 }.schema(schema, path, losses)
}

struct Writer<'a> {
    root: &'a Value,
    /// The references that led here.
    following: Vec<String>,
    left: usize,
    depth: usize,
}

impl Writer<'_> {
    fn schema(&mut self, schema: &Value, path: &str, losses: &mut Losses) -> Result<Value, Inexpressible> {
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => {
                losses.lose(path, "give a schema that some value fits")?;
                return Ok(json!({}));
            }
            // `true`, and what is no schema at all, forbids nothing.
            _ => return Ok(json!({})),
        };
        if self.left == 0 || self.depth == MAX_DEPTH {
            losses.lose(path, "write a smaller schema")?;
            return Ok(json!({}));
        }
        self.left -= 1;
        self.depth += 1;
        let followed = self.following.len();
        let schema = flattened(self.root, schema, path, &mut self.following, losses)?;
        let mut out = Map::new();
        kind(&schema, path, &mut out, losses)?;
        values(&schema, path, &mut out, losses)?;
        bounds(&schema, path, &mut out, losses)?;
        self.inner(&schema, path, &mut out, losses)?;
        self.following.truncate(followed);
        self.depth -= 1;
        for (keyword, value) in &schema {
            match fate(keyword) {
                Fate::Kept => {
                    out.insert(keyword.clone(), value.clone());
                }
                Fate::Translated => {}
                Fate::Remark => losses.waive(format!("{path}.{keyword}")),
                Fate::Lost => {
                    losses.lose(format!("{path}.{keyword}"), "Gemini's schemas have no such keyword")?
                }
            }
        }
        Ok(Value::Object(out))
    }

    /// The schemas inside.
    fn inner(
        &mut self,
        schema: &Map<String, Value>,
        path: &str,
        out: &mut Map<String, Value>,
        losses: &mut Losses,
    ) -> Result<(), Inexpressible> {
        if let Some(Value::Object(properties)) = schema.get("properties") {
            let mut written = Map::new();
            for (name, property) in properties {
                let path = format!("{path}.properties.{name}");
                written.insert(name.clone(), self.schema(property, &path, losses)?);
            }
            out.insert("properties".into(), written.into());
        }
        if let Some(Value::Array(required)) = schema.get("required") {
            let declared = schema.get("properties").and_then(Value::as_object);
            let (kept, lost): (Vec<&str>, Vec<&str>) = required
                .iter()
                .filter_map(Value::as_str)
                .partition(|name| declared.is_some_and(|declared| declared.contains_key(*name)));
            for name in lost {
                losses
                    .lose(format!("{path}.required.{name}"), "declare the property, or do not require it")?;
            }
            if !kept.is_empty() {
                out.insert("required".into(), kept.into());
            }
        }
        match schema.get("items") {
            Some(items) => {
                let items = self.schema(items, &format!("{path}.items"), losses)?;
                out.insert("items".into(), items);
            }
            // An array without `items` is refused.
            None if out.get("type").is_some_and(|kind| kind == "ARRAY") => {
                out.insert("items".into(), json!({}));
            }
            None => {}
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(Value::Array(choices)) = schema.get(keyword) else { continue };
            if keyword == "oneOf" {
                losses.lose(format!("{path}.oneOf"), "write `anyOf`")?;
            }
            self.choices(choices, &format!("{path}.{keyword}"), out, losses)?;
        }
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            match schema.get(keyword) {
                // Gemini writes declared properties only.
                None | Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => losses.waive(format!("{path}.{keyword}")),
                Some(_) => losses.lose(format!("{path}.{keyword}"), "declare each property")?,
            }
        }
        Ok(())
    }

    /// `anyOf`; a choice that is only null is the subset's `nullable`.
    fn choices(
        &mut self,
        choices: &[Value],
        path: &str,
        out: &mut Map<String, Value>,
        losses: &mut Losses,
    ) -> Result<(), Inexpressible> {
        let mut written = Vec::new();
        for (index, choice) in choices.iter().enumerate() {
            if *choice == json!({"type": "null"}) {
                out.insert("nullable".into(), true.into());
            } else {
                written.push(self.schema(choice, &format!("{path}[{index}]"), losses)?);
            }
        }
        match (<[Value; 1]>::try_from(written), out.contains_key("type")) {
            // Pydantic writes an optional field as a choice of one schema and null.
            (Ok([Value::Object(only)]), false) => {
                for (keyword, value) in only {
                    out.entry(keyword).or_insert(value);
                }
            }
            (Ok(only), _) => {
                out.insert("anyOf".into(), only.to_vec().into());
            }
            (Err(several), _) => {
                out.insert("anyOf".into(), several.into());
            }
        }
        Ok(())
    }
}

/// `type` and `format`. The subset has one type, in capitals, and `nullable` beside it.
fn kind(
    schema: &Map<String, Value>,
    path: &str,
    out: &mut Map<String, Value>,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    let said: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let kinds: Vec<String> =
        said.iter().filter(|kind| **kind != "null").map(|kind| kind.to_uppercase()).collect();
    let nullable = said.contains(&"null");
    match kinds.as_slice() {
        [] if nullable => {
            out.insert("type".into(), "NULL".into());
        }
        [] => {
            if let Some(kind) = implied_kind(schema) {
                out.insert("type".into(), kind.into());
            }
        }
        [kind] => {
            out.insert("type".into(), kind.as_str().into());
        }
        several => {
            let any: Vec<Value> = several.iter().map(|kind| json!({"type": kind})).collect();
            out.insert("anyOf".into(), any.into());
            if schema.contains_key("anyOf") {
                losses.lose(format!("{path}.type"), "name one type, or put the types into `anyOf`")?;
            }
        }
    }
    if nullable && !kinds.is_empty() {
        out.insert("nullable".into(), true.into());
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        if takes_format(out.get("type").and_then(Value::as_str), format) {
            out.insert("format".into(), format.into());
        } else {
            losses.waive(format!("{path}.format"));
        }
    }
    Ok(())
}

fn implied_kind(schema: &Map<String, Value>) -> Option<&'static str> {
    if schema.contains_key("properties") {
        return Some("OBJECT");
    }
    if schema.contains_key("items") {
        return Some("ARRAY");
    }
    let strings = |values: &[Value]| !values.is_empty() && values.iter().all(Value::is_string);
    let words = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(values)), _) => strings(values),
        (_, Some(value)) => value.is_string(),
        _ => false,
    };
    words.then_some("STRING")
}

/// `enum` and `const`: the subset enumerates strings only.
fn values(
    schema: &Map<String, Value>,
    path: &str,
    out: &mut Map<String, Value>,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    match schema.get("const") {
        Some(Value::String(word)) => {
            out.insert("enum".into(), json!([word]));
        }
        Some(Value::Number(number)) => {
            out.insert("minimum".into(), number.clone().into());
            out.insert("maximum".into(), number.clone().into());
        }
        Some(_) => losses.lose(format!("{path}.const"), "leave the constant out")?,
        None => {}
    }
    let Some(Value::Array(given)) = schema.get("enum") else { return Ok(()) };
    let (nulls, values): (Vec<&Value>, Vec<&Value>) = given.iter().partition(|value| value.is_null());
    if !nulls.is_empty() {
        out.insert("nullable".into(), true.into());
    }
    if values.iter().all(|value| value.is_string()) {
        out.insert("enum".into(), values.into_iter().cloned().collect());
        return Ok(());
    }
    losses.lose(format!("{path}.enum"), "enumerate strings")
}

/// Exclusive bounds: of whole numbers they can be said by the next one.
fn bounds(
    schema: &Map<String, Value>,
    path: &str,
    out: &mut Map<String, Value>,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    let whole = out.get("type").is_some_and(|kind| kind == "INTEGER");
    for (keyword, inclusive, step) in
        [("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)]
    {
        let Some(bound) = schema.get(keyword) else { continue };
        let next = bound.as_i64().filter(|_| whole).and_then(|bound| bound.checked_add(step));
        match next {
            Some(next) if !schema.contains_key(inclusive) => {
                out.insert(inclusive.into(), next.into());
            }
            Some(_) | None => losses.lose(format!("{path}.{keyword}"), "write an inclusive bound")?,
        }
    }
    Ok(())
}
