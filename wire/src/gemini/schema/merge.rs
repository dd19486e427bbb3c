//! `$ref` and `allOf` say one schema in several places; the subset wants it in one.

use serde_json::{Map, Value};

use crate::canonical::{Inexpressible, Losses};

/// References on the way to one schema; each is on the stack.
const MAX_REFERENCES: usize = 128;

/// `schema` with its `$ref` and `allOf` put in place. References that are followed are added to `following`; one that
/// is there already refers to itself.
pub(super) fn flattened(
    root: &Value,
    schema: &Map<String, Value>,
    path: &str,
    following: &mut Vec<String>,
    losses: &mut Losses,
) -> Result<Map<String, Value>, Inexpressible> {
    let mut own = schema.clone();
    let reference = own.shift_remove("$ref");
    let all = own.shift_remove("allOf");
    let mut inner: Vec<Value> = Vec::new();
    if let Some(reference) = reference.as_ref().and_then(Value::as_str) {
        let again = following.iter().any(|followed| followed == reference);
        match resolve(root, reference) {
            Some(target) if !again && following.len() < MAX_REFERENCES => {
                following.push(reference.to_owned());
                inner.push(target.clone());
            }
            Some(_) => {
                losses.lose(format!("{path}.$ref"), "write the schema without references to itself")?
            }
            None => {
                losses.lose(format!("{path}.$ref"), "refer to a schema under `$defs` of the same schema")?
            }
        }
    }
    if let Some(Value::Array(all)) = all {
        inner.extend(all);
    }
    for part in inner {
        let Value::Object(part) = part else { continue };
        let part = flattened(root, &part, path, following, losses)?;
        merge(&mut own, part, path, losses)?;
    }
    Ok(own)
}

fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// Adds what `part` says to `schema`.
fn merge(
    schema: &mut Map<String, Value>,
    part: Map<String, Value>,
    path: &str,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    for (keyword, value) in part {
        match (keyword.as_str(), schema.get_mut(&keyword), value) {
            (_, None, value) => {
                schema.insert(keyword, value);
            }
            ("properties" | "$defs" | "definitions", Some(Value::Object(ours)), Value::Object(theirs)) => {
                for (name, value) in theirs {
                    if ours.get(&name).is_some_and(|ours| *ours != value) {
                        losses.lose(format!("{path}.allOf.{keyword}.{name}"), "declare a property once")?;
                    } else {
                        ours.insert(name, value);
                    }
                }
            }
            ("required", Some(Value::Array(ours)), Value::Array(theirs)) => {
                let new = theirs.into_iter().filter(|name| !ours.contains(name)).collect::<Vec<_>>();
                ours.extend(new);
            }
            // What stands beside a reference describes this use of it.
            ("title" | "description" | "default", Some(_), _) => {}
            (_, Some(ours), value) => {
                if *ours != value {
                    losses.lose(format!("{path}.allOf.{keyword}"), "say it once, outside `allOf`")?;
                }
            }
        }
    }
    Ok(())
}
