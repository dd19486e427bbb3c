//! A model's settings, whichever of the two formats they come in.
//!
//! Each setting is asked for by its two names: ggml's, below the architecture's prefix, and that of a
//! `config.json`. A name that a format has not is empty.

use serde_json::{Map, Value};

use super::ModelError;
use crate::gguf::{self, Metadata, MetadataError};

/// A setting's name in GGUF, without the architecture, and in `config.json`, where `a.b` is `b` inside `a`.
pub type Key = (&'static str, &'static str);

/// The settings of one model.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// GGUF metadata, and the architecture that prefixes its keys.
    Gguf {
        /// The file's metadata.
        metadata: &'a Metadata,
        /// `general.architecture`.
        architecture: &'a str,
    },
    /// A `config.json`.
    Json {
        /// Its object.
        config: &'a Map<String, Value>,
        /// `model_type`.
        architecture: &'a str,
    },
}

/// A value as either format has it, for those who only ask whether it is a certain one.
#[derive(Clone, Copy, Debug)]
pub enum Setting<'a> {
    /// Of GGUF metadata.
    Gguf(&'a gguf::Value),
    /// Of a `config.json`.
    Json(&'a Value),
}

impl<'a> Setting<'a> {
    /// The boolean that it is.
    pub fn boolean(self) -> Option<bool> {
        match self {
            Self::Gguf(gguf::Value::Bool(value)) => Some(*value),
            Self::Gguf(_) => None,
            Self::Json(value) => value.as_bool(),
        }
    }

    /// The number that it is; no negative integer of GGUF.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Gguf(gguf::Value::F32(value)) => Some((*value).into()),
            Self::Gguf(gguf::Value::F64(value)) => Some(*value),
            Self::Gguf(value) => value.as_u64().map(|value| value as f64),
            Self::Json(value) => value.as_f64(),
        }
    }

    /// The text that it is.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Gguf(gguf::Value::String(value)) => Some(value),
            Self::Gguf(_) => None,
            Self::Json(value) => value.as_str(),
        }
    }

    /// For messages.
    pub fn in_words(self) -> String {
        match self {
            Self::Gguf(value) => value.in_words(),
            Self::Json(value) => shortened(value),
        }
    }
}

impl<'a> Keys<'a> {
    /// The settings of a GGUF file.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] without `general.architecture`.
    pub fn of_gguf(metadata: &'a Metadata) -> Result<Self, ModelError> {
        Ok(Self::Gguf { metadata, architecture: metadata.string("general.architecture")? })
    }

    /// The settings of a `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] without `model_type`.
    pub fn of_json(config: &'a Map<String, Value>) -> Result<Self, ModelError> {
        let missing = || MetadataError::Missing { key: "model_type".to_owned() };
        let architecture = config.get("model_type").and_then(Value::as_str).ok_or_else(missing)?;
        Ok(Self::Json { config, architecture })
    }

    /// The family, as the format names it.
    pub fn architecture(&self) -> &'a str {
        match self {
            Self::Gguf { architecture, .. } | Self::Json { architecture, .. } => architecture,
        }
    }

    /// The setting's full name in this format.
    pub fn name(&self, key: Key) -> String {
        match self {
            Self::Gguf { architecture, .. } => format!("{architecture}.{}", key.0),
            Self::Json { .. } => key.1.to_owned(),
        }
    }

    /// An unsigned integer, if it is there.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] when it is something else.
    pub fn optional_u32(&self, key: Key) -> Result<Option<u32>, ModelError> {
        match self {
            Self::Gguf { metadata, .. } => self.gguf(key, |name| metadata.optional_u32(name)),
            Self::Json { .. } => self.json(key, "an unsigned 32-bit integer", |value| {
                value.as_u64().and_then(|value| u32::try_from(value).ok())
            }),
        }
    }

    /// A finite number, if it is there.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] when it is something else.
    pub fn optional_f32(&self, key: Key) -> Result<Option<f32>, ModelError> {
        match self {
            // Some lengths are factors elsewhere: an integer is a number.
            Self::Gguf { metadata, .. } => self.gguf(key, |name| match metadata.get(name) {
                Some(value) if value.as_u64().is_some() => Ok(value.as_u64().map(|value| value as f32)),
                _ => metadata.optional_f32(name),
            }),
            Self::Json { .. } => self.json(key, "a finite number", |value| {
                value.as_f64().map(|value| value as f32).filter(|value| value.is_finite())
            }),
        }
    }

    /// A string, if it is there.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] when it is something else.
    pub fn optional_string(&self, key: Key) -> Result<Option<&'a str>, ModelError> {
        match self {
            Self::Gguf { metadata, .. } => self.gguf(key, |name| metadata.optional_string(name)),
            Self::Json { .. } => self.json(key, "a string", Value::as_str),
        }
    }

    /// A boolean, if it is there.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] when it is something else.
    pub fn optional_bool(&self, key: Key) -> Result<Option<bool>, ModelError> {
        match self {
            Self::Gguf { metadata, .. } => self.gguf(key, |name| metadata.optional_bool(name)),
            Self::Json { .. } => self.json(key, "a boolean", Value::as_bool),
        }
    }

    /// Numbers, if they are there. In GGUF such lists are tensors, so none are found.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] when it is something else.
    pub fn optional_numbers(&self, key: Key) -> Result<Option<Vec<f32>>, ModelError> {
        match self {
            Self::Gguf { .. } => Ok(None),
            Self::Json { .. } => self.json(key, "an array of numbers", |value| {
                value.as_array()?.iter().map(|value| value.as_f64().map(|value| value as f32)).collect()
            }),
        }
    }

    /// Strings, if they are there.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] when it is something else.
    pub fn optional_strings(&self, key: Key) -> Result<Option<Vec<&'a str>>, ModelError> {
        match self {
            Self::Gguf { metadata, .. } => {
                let found = self.gguf(key, |name| metadata.optional_strings(name))?;
                Ok(found.map(|list| list.iter().map(String::as_str).collect()))
            }
            Self::Json { .. } => self.json(key, "an array of strings", |value| {
                value.as_array()?.iter().map(Value::as_str).collect()
            }),
        }
    }

    /// A count from 1 to `limit`, if it is there.
    ///
    /// # Errors
    /// [`ModelError`], naming the key, when it is something else.
    pub fn optional_count(&self, key: Key, limit: u32) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.optional_u32(key)? else { return Ok(None) };
        if (1..=limit).contains(&value) {
            Ok(Some(value as usize))
        } else {
            Err(self.refuse(key, value, &format!("it must be from 1 to {limit}")))
        }
    }

    /// A count from 1 to `limit`.
    ///
    /// # Errors
    /// [`ModelError`], naming the key, when it is missing or something else.
    pub fn count(&self, key: Key, limit: u32) -> Result<usize, ModelError> {
        self.optional_count(key, limit)?.ok_or_else(|| self.missing(key))
    }

    /// Length of a sliding window, if there is one; some files say 0 for none.
    ///
    /// # Errors
    /// [`ModelError`], naming the key, when it is something else.
    pub fn window(&self) -> Result<Option<usize>, ModelError> {
        let window = self.optional_u32(("attention.sliding_window", "sliding_window"))?;
        Ok(window.map(|window| window as usize).filter(|&window| window > 0))
    }

    /// The value of `key`, whatever its type, if it is there.
    pub fn setting(&self, key: Key) -> Option<Setting<'a>> {
        match self {
            Self::Gguf { .. } if key.0.is_empty() => None,
            Self::Gguf { metadata, .. } => metadata.get(&self.name(key)).map(Setting::Gguf),
            Self::Json { config, .. } => nested(config, key.1).map(Setting::Json),
        }
    }

    /// A positive number, if it is there.
    ///
    /// # Errors
    /// [`ModelError`], naming the key, when it is something else.
    pub fn optional_positive(&self, key: Key) -> Result<Option<f32>, ModelError> {
        match self.optional_f32(key)? {
            Some(value) if value <= 0.0 => Err(self.refuse(key, value, "it must be positive")),
            other => Ok(other),
        }
    }

    /// The error for a key that must be there and is not.
    pub fn missing(&self, key: Key) -> ModelError {
        MetadataError::Missing { key: self.name(key) }.into()
    }

    /// The error for a value that makes no model, or one that is not served.
    pub fn refuse(&self, key: Key, value: impl std::fmt::Display, problem: &str) -> ModelError {
        ModelError::Config { key: self.name(key), value: value.to_string(), problem: problem.to_owned() }
    }

    fn gguf<T>(
        &self,
        key: Key,
        read: impl FnOnce(&str) -> Result<Option<T>, MetadataError>,
    ) -> Result<Option<T>, ModelError> {
        if key.0.is_empty() { Ok(None) } else { Ok(read(&self.name(key))?) }
    }

    fn json<T>(
        &self,
        key: Key,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Self::Json { config, .. } = self else { return Ok(None) };
        let Some(value) = nested(config, key.1) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => {
                let found = shortened(value);
                Err(MetadataError::Type { key: key.1.to_owned(), expected, found }.into())
            }
        }
    }
}

/// What lies at `name`, where `a.b` is `b` inside `a`; null is nothing.
fn nested<'a>(config: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut parts = name.split('.');
    let first = parts.next().and_then(|part| config.get(part));
    let value = parts.fold(first, |value, part| value.and_then(|value| value.get(part)));
    value.filter(|value| !value.is_null())
}

/// For messages.
fn shortened(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}
