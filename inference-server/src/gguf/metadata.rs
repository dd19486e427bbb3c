//! Typed access to a file's metadata.

use std::collections::BTreeMap;

use super::{Array, MetadataError, Value};

/// A file's key-value pairs.
///
/// Integers are read whatever width the file gave them; converters differ there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    pub(super) fn new(entries: BTreeMap<String, Value>) -> Self {
        Self { entries }
    }

    /// Every pair, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, untyped.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// `key` as an unsigned integer.
    ///
    /// # Errors
    /// [`MetadataError`] when it is missing, no integer, negative or too large.
    pub fn u32(&self, key: &str) -> Result<u32, MetadataError> {
        self.required(key, self.optional_u32(key)?)
    }

    /// `key` as an unsigned integer, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is no such integer.
    pub fn optional_u32(&self, key: &str) -> Result<Option<u32>, MetadataError> {
        self.typed(key, "an unsigned 32-bit integer", |value| {
            value.as_u64().and_then(|value| u32::try_from(value).ok())
        })
    }

    /// `key` as a finite floating-point number.
    ///
    /// # Errors
    /// [`MetadataError`] when it is missing or something else.
    pub fn f32(&self, key: &str) -> Result<f32, MetadataError> {
        self.required(key, self.optional_f32(key)?)
    }

    /// `key` as a finite floating-point number, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is no such number.
    pub fn optional_f32(&self, key: &str) -> Result<Option<f32>, MetadataError> {
        self.typed(key, "a finite number", |value| match *value {
            Value::F32(value) => Some(value).filter(|value| value.is_finite()),
            Value::F64(value) => Some(value as f32).filter(|value| value.is_finite()),
            _ => None,
        })
    }

    /// `key` as a boolean, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is no boolean.
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.typed(key, "a boolean", |value| match *value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// `key` as a string.
    ///
    /// # Errors
    /// [`MetadataError`] when it is missing or something else.
    pub fn string(&self, key: &str) -> Result<&str, MetadataError> {
        self.required(key, self.optional_string(key)?)
    }

    /// `key` as a string, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is no string.
    pub fn optional_string(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        self.typed(key, "a string", |value| match value {
            Value::String(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// `key` as an array of strings.
    ///
    /// # Errors
    /// [`MetadataError`] when it is missing or something else.
    pub fn strings(&self, key: &str) -> Result<&[String], MetadataError> {
        self.required(key, self.optional_strings(key)?)
    }

    /// `key` as an array of strings, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is something else.
    pub fn optional_strings(&self, key: &str) -> Result<Option<&[String]>, MetadataError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::String(value)) => Some(value.as_slice()),
            _ => None,
        })
    }

    /// `key` as an array of 32-bit integers, such as token types, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is something else.
    pub fn optional_i32s(&self, key: &str) -> Result<Option<&[i32]>, MetadataError> {
        self.typed(key, "an array of i32", |value| match value {
            Value::Array(Array::I32(value)) => Some(value.as_slice()),
            _ => None,
        })
    }

    /// `key` as an array of floats, such as token scores, if it is there.
    ///
    /// # Errors
    /// [`MetadataError::Type`] when it is there and is something else.
    pub fn optional_f32s(&self, key: &str) -> Result<Option<&[f32]>, MetadataError> {
        self.typed(key, "an array of f32", |value| match value {
            Value::Array(Array::F32(value)) => Some(value.as_slice()),
            _ => None,
        })
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, MetadataError> {
        value.ok_or_else(|| MetadataError::Missing { key: key.to_owned() })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        match read(value) {
            Some(typed) => Ok(Some(typed)),
            None => Err(MetadataError::Type { key: key.to_owned(), expected, found: value.in_words() }),
        }
    }
}
