use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Entries kept. Only a webhook that rewrites our fields makes one; losing them costs one write each.
const MOST: usize = 4096;

/// Children that the server, or a webhook in it, keeps otherwise than asked. Asking again would change nothing
/// and never end, so that each is asked once for each wish.
#[derive(Default)]
pub struct Settled(Mutex<HashMap<String, (u64, u64)>>);

impl Settled {
    /// Remembers that `wanted` was asked and `echo` is what came of it.
    pub fn remember(&self, uid: &str, wanted: &Value, echo: &Value) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(uid.to_owned(), (hash(wanted), hash(&without_bookkeeping(echo))));
    }

    /// Whether `wanted` was asked already, with `seen` as the result.
    pub fn knows(&self, uid: &str, wanted: &Value, seen: &Value) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(uid).is_some_and(|entry| *entry == (hash(wanted), hash(&without_bookkeeping(seen))))
    }

    /// Forgets a child that is as asked, or gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn without_bookkeeping(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["resourceVersion", "managedFields", "generation"] {
            meta.remove(name);
        }
    }
    object
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
