//! What sentence-transformers keeps beside an encoder's weights: how hidden states become one vector.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::SafetensorsError;
use super::json::{read, read_optional};

/// Pooling as the folder asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentenceFiles {
    /// How the tokens' states become one.
    pub pooling: PoolingMode,
    /// Whether that is brought to length 1.
    pub normalize: bool,
    /// Longest text, in tokens, where it is less than the model's positions.
    pub max_tokens: Option<usize>,
}

/// How the tokens' states become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
}

impl Default for SentenceFiles {
    /// For a folder that says nothing: what sentence-transformers makes of one, and length 1 as at OpenAI.
    fn default() -> Self {
        Self { pooling: PoolingMode::Mean, normalize: true, max_tokens: None }
    }
}

impl SentenceFiles {
    /// Reads them out of `folder`, where there are any.
    ///
    /// # Errors
    /// [`SafetensorsError`], naming the file and the key, for what is not served.
    pub fn read(folder: &Path) -> Result<Self, SafetensorsError> {
        let modules = folder.join("modules.json");
        let mut found = Self { max_tokens: max_tokens(folder)?, ..Self::default() };
        if !modules.is_file() {
            return Ok(found);
        }
        found.normalize = false;
        let list: Vec<Map<String, Value>> = read(&modules)?;
        for module in &list {
            let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => found.pooling = pooling(&part(folder, &modules, module)?.join("config.json"))?,
                "Normalize" => found.normalize = true,
                other => {
                    let problem = format!("{other:?} is not served; Transformer, Pooling and Normalize are");
                    return Err(wrong(&modules, "type", problem));
                }
            }
        }
        Ok(found)
    }
}

/// The folder of a module, which lies in the model's.
fn part(folder: &Path, modules: &Path, module: &Map<String, Value>) -> Result<PathBuf, SafetensorsError> {
    let path = module.get("path").and_then(Value::as_str).unwrap_or_default();
    let mut components = Path::new(path).components();
    let plain = matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
    if plain {
        return Ok(folder.join(path));
    }
    Err(wrong(modules, "path", format!("{path:?} is not a folder of this one")))
}

fn pooling(path: &Path) -> Result<PoolingMode, SafetensorsError> {
    const MODES: &str = "pooling_mode";
    let config: Map<String, Value> = read(path)?;
    // Newer files name the mode; older ones have a switch for each.
    let named = config.get(MODES).and_then(Value::as_str).map(|mode| vec![mode]);
    let switched = || {
        let on = config.iter().filter(|(_, value)| **value == Value::Bool(true));
        on.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")).collect::<Vec<_>>()
    };
    let modes = named.unwrap_or_else(switched);
    match modes.as_slice() {
        ["mean" | "mean_tokens"] => Ok(PoolingMode::Mean),
        ["cls" | "cls_token"] => Ok(PoolingMode::Cls),
        _ => {
            let problem =
                format!("{} is not served; mean_tokens and cls_token, one of them, are", modes.join(" + "));
            Err(wrong(path, MODES, problem))
        }
    }
}

fn max_tokens(folder: &Path) -> Result<Option<usize>, SafetensorsError> {
    let path = folder.join("sentence_bert_config.json");
    let said = read_optional(&path)?.unwrap_or_default();
    if said.get("do_lower_case") == Some(&Value::Bool(true)) {
        let problem = "true is not served: let the normalizer of tokenizer.json do it".to_owned();
        return Err(wrong(&path, "do_lower_case", problem));
    }
    match said.get("max_seq_length") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let most = value.as_u64().and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 2);
            most.map(Some).ok_or_else(|| wrong(&path, "max_seq_length", "it must be more than 2".to_owned()))
        }
    }
}

fn wrong(path: &Path, key: &'static str, problem: String) -> SafetensorsError {
    SafetensorsError::Value { path: path.to_owned(), key, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_folder(files: &[(&str, &str)]) -> Result<SentenceFiles, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        SentenceFiles::read(folder.path()).map_err(|error| error.to_string())
    }

    const MODULES: &str = r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]"#;

    #[test]
    fn what_the_folder_says_is_done() {
        assert_eq!(read_folder(&[]).unwrap(), SentenceFiles::default());
        let cls = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
        let found = read_folder(&[("modules.json", MODULES), ("1_Pooling/config.json", cls)]).unwrap();
        assert_eq!((found.pooling, found.normalize), (PoolingMode::Cls, false));
        let modules = MODULES.replace(']', r#", {"type": "x.Normalize", "path": "2_Normalize"}]"#);
        let mean = ("1_Pooling/config.json", r#"{"pooling_mode": "mean"}"#);
        let most = ("sentence_bert_config.json", r#"{"max_seq_length": 256, "do_lower_case": false}"#);
        let found = read_folder(&[("modules.json", modules.as_str()), mean, most]).unwrap();
        assert_eq!(
            found,
            SentenceFiles { pooling: PoolingMode::Mean, normalize: true, max_tokens: Some(256) }
        );
    }

    #[test]
    fn what_is_not_served_is_named() {
        let modules = ("modules.json", MODULES);
        let dense = MODULES.replace("models.Transformer", "models.Dense");
        let outside = MODULES.replace("1_Pooling", "../1_Pooling");
        for (files, words) in [
            (
                vec![modules, ("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#)],
                "max_tokens is not",
            ),
            (vec![modules, ("1_Pooling/config.json", "{}")], "config.json: pooling_mode: "),
            (
                vec![
                    modules,
                    (
                        "1_Pooling/config.json",
                        r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#,
                    ),
                ],
                "mean_tokens + ",
            ),
            (vec![modules], "1_Pooling/config.json"),
            (vec![("modules.json", dense.as_str())], "\"Dense\" is not served"),
            (vec![("modules.json", outside.as_str())], "modules.json: path: "),
            (vec![("modules.json", "{}")], "modules.json"),
            (vec![("sentence_bert_config.json", r#"{"max_seq_length": 0}"#)], "max_seq_length"),
            (vec![("sentence_bert_config.json", r#"{"do_lower_case": true}"#)], "do_lower_case"),
        ] {
            let said = read_folder(&files).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
