//! A model in memory, for plans.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::gguf::{Metadata, TensorInfo, TensorType};
use crate::model::keys::Keys;
use crate::model::{ModelError, Naming, TensorSource};
use crate::synth::{Rope, Shape, tensors_beside};

/// Settings and tensors, as a file or a folder has them.
#[derive(Debug)]
pub(super) struct MemorySource<'a> {
    settings: Settings<'a>,
    tensors: BTreeMap<String, TensorInfo>,
    bytes: &'a [u8],
}

#[derive(Debug)]
enum Settings<'a> {
    Gguf(&'a Metadata),
    Json(&'a Map<String, Value>),
}

/// Of the tensors beside a `config.json`.
const SHAPE: Shape = Shape {
    layers: 1,
    embedding: 32,
    heads: 4,
    kv_heads: 2,
    head: 8,
    feed_forward: 64,
    vocabulary: 48,
    context: 24,
    experts: 4,
    experts_used: 2,
    expert_feed_forward: 64,
    window: None,
    rope_base: 10_000.0,
    rope: Rope::None,
    // A head that is there is no harm to a config that ties it to the table.
    tied: false,
};

impl<'a> MemorySource<'a> {
    /// What lies in the GGUF file `bytes`.
    pub(super) fn of_gguf(metadata: &'a Metadata, tensors: Vec<TensorInfo>, bytes: &'a [u8]) -> Self {
        let tensors = tensors.into_iter().map(|tensor| (tensor.name().to_owned(), tensor)).collect();
        Self { settings: Settings::Gguf(metadata), tensors, bytes }
    }

    /// A folder of `config` and the tensors of the family that it names.
    pub(super) fn of_config(config: &'a Map<String, Value>) -> Self {
        let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let shapes = tensors_beside(model_type, SHAPE);
        let info = |(name, shape): (String, Vec<usize>)| {
            let bytes = 4 * shape.iter().product::<usize>();
            (name.clone(), TensorInfo::new(name, shape, TensorType::F32, 0, bytes))
        };
        Self { settings: Settings::Json(config), tensors: shapes.into_iter().map(info).collect(), bytes: &[] }
    }
}

impl TensorSource for MemorySource<'_> {
    fn naming(&self) -> Naming {
        match self.settings {
            Settings::Gguf(_) => Naming::Ggml,
            Settings::Json(_) => Naming::HuggingFace,
        }
    }

    fn keys(&self) -> Result<Keys<'_>, ModelError> {
        match self.settings {
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
        match self.settings {
            Settings::Gguf(_) => Ok(self.bytes(tensor).to_vec()),
            Settings::Json(_) => Ok(vec![0; tensor.bytes()]),
        }
    }

    fn map(&self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.bytes.get(tensor.range()).unwrap_or_default()
    }

    fn release(&self, _: &TensorInfo, _: Range<usize>) {}
}
