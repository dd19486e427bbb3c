//! What makes no model, or one that would be computed wrongly, each refused in words that name it: the goldens' own models
//! with a setting or a tensor changed.

mod rotary;
mod settings;
mod tensors;
mod variants;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::keys::Keys;
use super::{ModelError, Naming, TensorSource, is_encoder, plan_decoder, plan_encoder};
use crate::gguf::write::GgufHeader;
use crate::gguf::{self, GgufFile, Metadata, TensorInfo, TensorType};
use crate::safetensors::SafetensorsFolder;

/// What generates and what encodes, by the names of the goldens' folders.
fn families() -> (Vec<String>, Vec<String>) {
    let entries = std::fs::read_dir(family("")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.filter(|path| path.is_dir()).map(name).collect();
    names.sort();
    names.into_iter().partition(|name| !name.contains("bert"))
}

/// A model of the goldens, changed. It has no bytes: all numbers are 1.
#[derive(Clone, Debug)]
struct Changed {
    settings: Settings,
    tensors: BTreeMap<String, TensorInfo>,
    is_readable: bool,
}

#[derive(Clone, Debug)]
enum Settings {
    Gguf(Metadata),
    Json(Map<String, Value>),
}

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/families").join(name)
}

impl Changed {
    /// The folder of `name`.
    fn folder(name: &str) -> Self {
        let folder = SafetensorsFolder::open(&family(name)).unwrap();
        Self::new(Settings::Json(folder.config().clone()), &folder)
    }

    /// The GGUF file of `name`, where it has one.
    fn gguf(name: &str) -> Option<Self> {
        let path = family(name).join("model.gguf");
        let file = path.is_file().then(|| GgufFile::open(&path).unwrap())?;
        Some(Self::new(Settings::Gguf(file.metadata().clone()), &file))
    }

    /// Every model of the goldens in every format that it has, with a name for messages.
    fn every() -> Vec<(String, Self)> {
        let (decoders, encoders) = families();
        let files: Vec<_> =
            decoders.iter().filter_map(|name| Some((format!("{name}, GGUF"), Self::gguf(name)?))).collect();
        let folders = decoders.into_iter().chain(encoders).map(|name| (name.clone(), Self::folder(&name)));
        folders.chain(files).collect()
    }

    fn new(settings: Settings, source: &dyn TensorSource) -> Self {
        let tensor = |name: &str| (name.to_owned(), source.tensor(name).unwrap().clone());
        Self { settings, tensors: source.names().map(tensor).collect(), is_readable: true }
    }

    /// With the settings of `changes`, an object whose keys may be paths (`a.b`); null removes.
    fn with(mut self, changes: &str) -> Self {
        let Settings::Json(config) = &mut self.settings else { panic!("{changes}: not a folder") };
        for (path, value) in serde_json::from_str::<Map<String, Value>>(changes).unwrap() {
            let (parents, key) = path.rsplit_once('.').map_or((None, path.as_str()), |(a, b)| (Some(a), b));
            let mut object = &mut *config;
            for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
                let entry = object.entry(parent).or_insert_with(|| Value::Object(Map::new()));
                object = entry.as_object_mut().unwrap();
            }
            object.insert(key.to_owned(), value);
        }
        self
    }

    /// With `key`, below the architecture unless it names another place, at `value`; none removes it.
    fn with_key(self, key: &str, value: Option<gguf::Value>) -> Self {
        let Settings::Gguf(metadata) = &self.settings else { panic!("{key}: not a GGUF file") };
        let key = match key.strip_prefix("general.") {
            Some(_) => key.to_owned(),
            None => format!("{}.{key}", metadata.string("general.architecture").unwrap()),
        };
        let mut header = GgufHeader::new();
        for (name, value) in metadata.iter().filter(|(name, _)| **name != *key) {
            header.pair(name, value.clone());
        }
        if let Some(value) = value {
            header.pair(&key, value);
        }
        let bytes = header.bytes();
        let (metadata, _) = gguf::read_header(&bytes[..], bytes.len() as u64).unwrap();
        Self { settings: Settings::Gguf(metadata), ..self }
    }

    /// With a tensor, which takes the place of another of its name.
    fn with_tensor(mut self, name: &str, shape: &[usize]) -> Self {
        let bytes = 4 * shape.iter().product::<usize>();
        let tensor = TensorInfo::new(name.to_owned(), shape.to_vec(), TensorType::F32, 0, bytes);
        self.tensors.insert(name.to_owned(), tensor);
        self
    }

    fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.remove(name).unwrap();
        self
    }

    /// What is said of it; none when it is served.
    fn refusal(&self) -> Option<String> {
        let planned = if is_encoder(self).unwrap() {
            plan_encoder(self).map(|_| ())
        } else {
            plan_decoder(self, None).map(|_| ())
        };
        planned.err().map(|error| error.to_string())
    }
}

/// Folders with changed settings, and what is said of each.
fn assert_refused(rows: &[(&str, &str, &str)]) {
    let said = |name: &str, changes: &str| Changed::folder(name).with(changes).refusal();
    let found = rows
        .iter()
        .map(|&(name, changes, words)| (format!("{name} with {changes}"), words, said(name, changes)));
    assert_each(found);
}

/// GGUF files with one key changed, and what is said of each.
fn assert_keys_refused(rows: &[(&str, &str, Option<gguf::Value>, &str)]) {
    let said = |name: &str, key: &str, value: &Option<gguf::Value>| {
        Changed::gguf(name).unwrap().with_key(key, value.clone()).refusal()
    };
    let found = rows.iter().map(|(name, key, value, words)| {
        (format!("{name} with {key} {value:?}"), *words, said(name, key, value))
    });
    assert_each(found);
}

/// Names all that is not refused in its words.
fn assert_each<'a>(found: impl Iterator<Item = (String, &'a str, Option<String>)>) {
    let wrong: Vec<String> = found
        .filter(|(_, words, said)| said.as_ref().is_none_or(|said| !said.contains(words)))
        .map(|(what, words, said)| format!("{what}: {said:?} instead of {words:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl TensorSource for Changed {
    fn naming(&self) -> Naming {
        match self.settings {
            Settings::Gguf(_) => Naming::Ggml,
            Settings::Json(_) => Naming::HuggingFace,
        }
    }

    fn keys(&self) -> Result<Keys<'_>, ModelError> {
        match &self.settings {
            Settings::Gguf(metadata) => Keys::of_gguf(metadata),
            Settings::Json(config) => Keys::of_json(config),
        }
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        if !self.is_readable {
            return Err(io::Error::other("a bad sector"));
        }
        Ok(1f32.to_le_bytes().repeat(tensor.bytes() / 4))
    }

    fn map(&self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self, _: &TensorInfo) -> &[u8] {
        &[]
    }

    fn release(&self, _: &TensorInfo, _: Range<usize>) {}
}

#[test]
fn the_models_themselves_are_served() {
    for (name, model) in Changed::every() {
        assert_eq!(model.refusal(), None, "{name}");
    }
}
