//! The fields of the kinds, from their manifests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// A field that holds no further ones.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Kind of the object.
    pub kind: String,
    /// From the spec on; `[]` goes into each item of a list, `{}` into each value of a map.
    pub path: String,
    /// What may be in it.
    pub schema: Value,
}

/// Every field of every kind.
///
/// # Errors
/// The manifests can't be read.
pub fn leaves() -> Result<Vec<Leaf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/manifests");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path())?;
        let manifest: Value = serde_saphyr::from_str(&text)?;
        let kind = manifest["spec"]["names"]["kind"].as_str().context("a kind")?.to_owned();
        let version = &manifest["spec"]["versions"][0];
        walk(&kind, "", &version["schema"]["openAPIV3Schema"]["properties"]["spec"], &mut found);
    }
    Ok(found)
}

fn walk(kind: &str, path: &str, schema: &Value, found: &mut Vec<Leaf>) {
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if let Some(properties) = schema["properties"].as_object().filter(|_| !open) {
        for (name, inner) in properties {
            let inside = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(kind, &inside, inner, found);
        }
    } else if schema["items"].is_object() {
        walk(kind, &format!("{path}[]"), &schema["items"], found);
    } else if schema["additionalProperties"].is_object() {
        walk(kind, &format!("{path}{{}}"), &schema["additionalProperties"], found);
    } else {
        found.push(Leaf { kind: kind.to_owned(), path: path.to_owned(), schema: schema.clone() });
    }
}

/// The place that `path` means in `spec`: the first item of a list, the first value of a map. None where it is not set.
pub fn place<'a>(spec: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut at = spec;
    for step in path.split('.') {
        let name = step.trim_end_matches("[]").trim_end_matches("{}");
        at = at.get_mut(name)?;
        if step.ends_with("[]") {
            at = at.get_mut(0)?;
        } else if step.ends_with("{}") {
            at = at.as_object_mut()?.values_mut().next()?;
        }
    }
    Some(at)
}
