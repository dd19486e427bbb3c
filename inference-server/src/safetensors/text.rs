//! What lies beside the weights and says how text is read and written.

use std::path::Path;

use serde_json::{Map, Value};

use super::SafetensorsError;
use super::json::{read_bytes, read_optional};

/// The files of a folder that are about text, as far as a server needs them.
#[derive(Clone, Debug, Default)]
pub struct TextFiles {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// How the token that begins a sequence is written.
    pub bos: Option<String>,
    /// How the token that ends a sequence is written.
    pub eos: Option<String>,
    /// Id of the token that begins a sequence, where only that is said.
    pub bos_id: Option<u32>,
    /// Ids that end an answer.
    pub ends: Vec<u32>,
    /// The chat template, where there is one.
    pub chat_template: Option<String>,
}

impl TextFiles {
    /// Reads them out of `folder`, whose `config.json` holds `config`.
    ///
    /// # Errors
    /// [`SafetensorsError`], naming the file, and the key where one is at fault.
    pub fn read(folder: &Path, config: &Map<String, Value>) -> Result<Self, SafetensorsError> {
        let tokenizer = folder.join("tokenizer.json");
        if !tokenizer.is_file() {
            let fix = "put the model's own beside config.json; for a model with tokenizer.model or vocab.txt alone, \
                       transformers' AutoTokenizer writes it with save_pretrained";
            return Err(SafetensorsError::Missing { path: tokenizer, fix });
        }
        let tokenizer_config = folder.join("tokenizer_config.json");
        let said = read_optional(&tokenizer_config)?.unwrap_or_default();
        let generation_config = folder.join("generation_config.json");
        let generation = read_optional(&generation_config)?.unwrap_or_default();
        let config_path = folder.join("config.json");
        let mut ends = ids(&generation_config, &generation, "eos_token_id")?;
        ends.extend(ids(&config_path, config, "eos_token_id")?);
        Ok(Self {
            tokenizer: read_bytes(&tokenizer)?,
            bos: token(&tokenizer_config, &said, "bos_token")?,
            eos: token(&tokenizer_config, &said, "eos_token")?,
            bos_id: ids(&config_path, config, "bos_token_id")?.first().copied(),
            ends,
            chat_template: chat_template(folder, &tokenizer_config, &said)?,
        })
    }
}

/// A file of its own goes before the key, as in transformers.
fn chat_template(
    folder: &Path,
    path: &Path,
    said: &Map<String, Value>,
) -> Result<Option<String>, SafetensorsError> {
    let own = folder.join("chat_template.jinja");
    if own.is_file() {
        let text = String::from_utf8(read_bytes(&own)?);
        return text
            .map(Some)
            .map_err(|error| SafetensorsError::Text { path: own, problem: error.to_string() });
    }
    let wrong = || SafetensorsError::Value {
        path: path.to_owned(),
        key: "chat_template",
        problem: "it must be a string, or a list of {name, template} with one named default".to_owned(),
    };
    match said.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(named)) => {
            let default =
                named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"));
            let template = default.and_then(|entry| entry.get("template")).and_then(Value::as_str);
            template.map(|template| Some(template.to_owned())).ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// A token's text: a string, or an object with the text and how to match it.
fn token(
    path: &Path,
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<String>, SafetensorsError> {
    let value = match object.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(token)) => token.get("content"),
        Some(value) => Some(value),
    };
    let problem = "it must be a string, or an object with the string content";
    let wrong = || SafetensorsError::Value { path: path.to_owned(), key, problem: problem.to_owned() };
    value.and_then(Value::as_str).map(|text| Some(text.to_owned())).ok_or_else(wrong)
}

/// Token ids: one, several or none.
pub(crate) fn ids(
    path: &Path,
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Vec<u32>, SafetensorsError> {
    let values = match object.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    let problem = "it must be a token id, or a list of them";
    let wrong = || SafetensorsError::Value { path: path.to_owned(), key, problem: problem.to_owned() };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong);
    values.iter().map(id).collect()
}
