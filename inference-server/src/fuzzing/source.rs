//! A model in memory, for plans.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::gguf::{Metadata, TensorInfo, TensorType};
use crate::model::keys::Keys;
use crate::model::{ModelError, Naming, TensorSource};

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

/// Dimensions of the tensors beside a `config.json`.
const WIDTH: usize = 32;
const KV_WIDTH: usize = 16;
const INNER: usize = 64;
const TOKENS: usize = 48;
const POSITIONS: usize = 24;

impl<'a> MemorySource<'a> {
    /// What lies in the GGUF file `bytes`.
    pub(super) fn of_gguf(metadata: &'a Metadata, tensors: Vec<TensorInfo>, bytes: &'a [u8]) -> Self {
        let tensors = tensors.into_iter().map(|tensor| (tensor.name().to_owned(), tensor)).collect();
        Self { settings: Settings::Gguf(metadata), tensors, bytes }
    }

    /// A folder of `config` and the tensors of the kind of model that it names.
    pub(super) fn of_config(config: &'a Map<String, Value>) -> Self {
        let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let shapes = if kind.contains("bert") { bert() } else { llama() };
        let info = |(name, shape): (String, Vec<usize>)| {
            let bytes = 4 * shape.iter().product::<usize>();
            (name.clone(), TensorInfo::new(name, shape, TensorType::F32, 0, bytes))
        };
        Self { settings: Settings::Json(config), tensors: shapes.into_iter().map(info).collect(), bytes: &[] }
    }
}

fn llama() -> Vec<(String, Vec<usize>)> {
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    vec![
        ("model.embed_tokens.weight".to_owned(), vec![WIDTH, TOKENS]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        (layer("input_layernorm"), vec![WIDTH]),
        (layer("self_attn.q_proj"), vec![WIDTH, WIDTH]),
        (layer("self_attn.k_proj"), vec![WIDTH, KV_WIDTH]),
        (layer("self_attn.v_proj"), vec![WIDTH, KV_WIDTH]),
        (layer("self_attn.o_proj"), vec![WIDTH, WIDTH]),
        (layer("post_attention_layernorm"), vec![WIDTH]),
        (layer("mlp.gate_proj"), vec![WIDTH, INNER]),
        (layer("mlp.up_proj"), vec![WIDTH, INNER]),
        (layer("mlp.down_proj"), vec![INNER, WIDTH]),
    ]
}

fn bert() -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    for (table, rows) in [("word", TOKENS), ("token_type", 2), ("position", POSITIONS)] {
        shapes.push((format!("embeddings.{table}_embeddings.weight"), vec![WIDTH, rows]));
    }
    let layer = "encoder.layer.0";
    for norm in ["embeddings".to_owned(), format!("{layer}.attention.output"), format!("{layer}.output")] {
        shapes.push((format!("{norm}.LayerNorm.weight"), vec![WIDTH]));
        shapes.push((format!("{norm}.LayerNorm.bias"), vec![WIDTH]));
    }
    for (part, columns, rows) in [
        ("attention.self.query", WIDTH, WIDTH),
        ("attention.self.key", WIDTH, WIDTH),
        ("attention.self.value", WIDTH, WIDTH),
        ("attention.output.dense", WIDTH, WIDTH),
        ("intermediate.dense", WIDTH, INNER),
        ("output.dense", INNER, WIDTH),
    ] {
        shapes.push((format!("{layer}.{part}.weight"), vec![columns, rows]));
        shapes.push((format!("{layer}.{part}.bias"), vec![rows]));
    }
    shapes
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
