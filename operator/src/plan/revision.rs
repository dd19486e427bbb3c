use std::fmt;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Ten hexadecimal characters that stand for a pod template.
///
/// Guarantees: equal templates have equal revisions, whatever order a library writes fields in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// The revision of `template`, which must not carry a revision itself.
    pub fn of(template: &PodTemplateSpec) -> Self {
        Revision(digest(template))
    }

    /// The revision of these ten characters.
    pub(super) fn named(hex: String) -> Self {
        Revision(hex)
    }

    /// The ten characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ten hexadecimal characters that stand for `part` of an object, whatever order a library writes fields in.
pub(super) fn digest<T: Serialize>(part: &T) -> String {
    // Parts of objects are maps with string keys, lists and scalars: turning one into a value can't fail.
    let value = serde_json::to_value(part).unwrap_or_default();
    let mut text = String::new();
    canonical(&value, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    let mut hex = String::with_capacity(10);
    for byte in digest.iter().take(5) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// JSON with sorted keys: a new version of a library that orders fields otherwise must roll no pod.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, field) in sorted {
                let _ = write!(text, "{}:", Value::String(name.clone()));
                canonical(field, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}
