//! What one dialect can say and no other: kept, so that it can be passed back, refused by name or dropped.

use serde_json::Value;

use super::Dialect;

/// Fields that a type does not know, in the order they came.
pub type Extra = serde_json::Map<String, Value>;

/// A field that its dialect's reader could not translate.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignField {
    /// Path of the object that held it, such as `messages[2]`; empty at the top.
    pub parent: String,
    /// The field's name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl ForeignField {
    /// The path that a caller knows it by.
    pub fn path(&self) -> String {
        if self.parent.is_empty() { self.name.clone() } else { format!("{}.{}", self.parent, self.name) }
    }
}

/// A content part, a tool or a block that only its own dialect has, such as a hosted tool's call.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignPart {
    /// Whose it is.
    pub dialect: Dialect,
    /// The word that names it there: the `type`, or the key that holds it.
    pub kind: String,
    /// The whole part as it came.
    pub value: Value,
}

/// Adds what is in `extra` to `fields`. Null says nothing, so it is not kept.
pub fn keep_foreign(parent: &str, extra: Extra, fields: &mut Vec<ForeignField>) {
    let said = extra.into_iter().filter(|(_, value)| !is_nothing(value));
    fields.extend(said.map(|(name, value)| ForeignField { parent: parent.to_owned(), name, value }));
}

/// Null: the field might as well not be there.
pub fn is_nothing(value: &Value) -> bool {
    value.is_null()
}
