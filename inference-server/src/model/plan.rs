//! Tensors found, checked and given their place, before any matrix is read.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::{ModelError, Naming, TensorSource};
use crate::gguf::TensorInfo;
use crate::kernels::packed::{Arena, PackedLayout, PackedMatrix};
use crate::kernels::reference::dequantize;

/// Matrices begin at a cache line.
const ALIGNMENT: usize = 64;
/// Most bytes of norms and biases: they are read while planning, before it is known whether the model fits. Those of
/// Llama 3.1 405B have 17 MB.
const MAX_VECTORS: usize = 64 << 20;

/// A part of a layer or of a model by ggml's name, and by the Hugging Face hub's.
pub type Part = (&'static str, &'static str);

/// Names that most families share.
const PARTS: &[Part] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
];

/// Matrices that take adapters, for messages.
pub(super) const TARGETS: &str = "q_proj, k_proj, v_proj, qkv_proj, o_proj, gate_proj, up_proj, gate_up_proj and down_proj of dense layers";

/// A matrix to be read, packed and put at `offset` of the arena.
#[derive(Clone, Debug)]
pub struct Packing {
    /// The tensor.
    pub tensor: TensorInfo,
    /// The matrix' bytes among the tensor's.
    pub bytes: Range<usize>,
    /// How it will lie.
    pub layout: PackedLayout,
    /// Columns that share a scale, where it is stored as E4M3.
    pub scale_columns: Option<usize>,
    /// Where.
    pub offset: usize,
}

/// All matrices of a model, in the order that the first token needs them.
#[derive(Debug)]
pub struct PackPlan {
    /// What they will lie in.
    pub arena: Arc<Arena>,
    /// Bytes of the arena.
    pub bytes: usize,
    /// Bytes of norms and biases, which the planned model holds already.
    pub vector_bytes: usize,
    /// The matrices.
    pub matrices: Vec<Packing>,
}

impl PackPlan {
    /// Bytes that the model will hold, packed or not.
    pub fn held_bytes(&self) -> u64 {
        (self.bytes as u64).saturating_add(self.vector_bytes as u64)
    }

    /// How many matrices are kept as which type, and what those were that are stored as another: `Q4_K 24 (from BF16), F32 1`.
    pub fn types(&self) -> String {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for Packing { tensor, layout, bytes: _, scale_columns: _, offset: _ } in &self.matrices {
            *counts.entry((layout.kind().name(), tensor.kind().name())).or_default() += 1;
        }
        let words = counts.iter().map(|((kept, stored), count)| {
            let from = if kept == stored { String::new() } else { format!(" (from {stored})") };
            format!("{kept} {count}{from}")
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// How a family names tensors in safetensors. In GGUF all name them alike.
#[derive(Clone, Debug)]
pub struct Names {
    /// What the names of everything but heads begin with.
    pub root: &'static str,
    /// What comes after it in the names of layers, before their index.
    pub layers: &'static str,
    /// The family's own names, which go before the usual ones.
    pub parts: &'static [Part],
}

impl Names {
    /// As decoders have them, but for `parts`.
    pub fn decoder(parts: &'static [Part]) -> Self {
        Self { root: "", layers: "model.layers.", parts }
    }
}

/// Looks tensors up, remembers which had a place, and gives matrices theirs in the arena.
pub struct Planner<'a> {
    source: &'a dyn TensorSource,
    family: Names,
    arena: Arc<Arena>,
    length: Option<usize>,
    vector_bytes: usize,
    most_vector_bytes: usize,
    matrices: Vec<Packing>,
    used: HashSet<String>,
}

impl<'a> Planner<'a> {
    /// A planner of `source`.
    pub fn new(source: &'a dyn TensorSource, family: Names) -> Self {
        Self {
            source,
            family,
            arena: Arc::default(),
            length: Some(0),
            vector_bytes: 0,
            most_vector_bytes: MAX_VECTORS,
            matrices: Vec::new(),
            used: HashSet::new(),
        }
    }

    /// How the source names tensors.
    pub fn naming(&self) -> Naming {
        self.source.naming()
    }

    /// True when the source has the tensor that ggml calls `name`.
    pub fn has(&self, name: &str) -> bool {
        self.source.tensor(&self.stored_name(name)).is_some()
    }

    /// Counts the tensor as known though nothing reads it: a family says why.
    pub fn ignore(&mut self, name: &str) {
        let name = self.stored_name(name);
        self.used.insert(name);
    }

    /// Rows of the matrix that ggml calls `name`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub fn rows_of(&mut self, name: &str) -> Result<usize, ModelError> {
        Ok(self.tensor(name)?.shape().get(1).copied().unwrap_or(0))
    }

    /// The matrix `[rows, columns]` that ggml calls `name`.
    ///
    /// # Errors
    /// [`ModelError`] when it is missing, of another shape, or too large.
    pub fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<PackedMatrix, ModelError> {
        let tensor = self.shaped(name, &[columns, rows])?;
        self.place(tensor, 0..tensor.bytes(), rows, columns)
    }

    /// The `count` matrices `[rows, columns]` of a layer's experts: in GGUF one tensor, else one each, which
    /// `stored` names.
    ///
    /// # Errors
    /// [`ModelError`] when one is missing, of another shape, or too large.
    pub fn experts(
        &mut self,
        name: &str,
        stored: impl Fn(usize) -> String,
        count: usize,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<PackedMatrix>, ModelError> {
        match self.source.naming() {
            Naming::Ggml => {
                let tensor = self.shaped(name, &[columns, rows, count])?;
                let size = tensor.bytes() / count;
                (0..count)
                    .map(|index| self.place(tensor, index * size..(index + 1) * size, rows, columns))
                    .collect()
            }
            Naming::HuggingFace => (0..count)
                .map(|index| {
                    let tensor = self.shaped_as(stored(index), &[columns, rows])?;
                    self.place(tensor, 0..tensor.bytes(), rows, columns)
                })
                .collect(),
        }
    }

    /// The vector `[length]` that ggml calls `name`.
    ///
    /// # Errors
    /// [`ModelError`] when it is missing, of another shape or no floats, too much with those before, or cannot be read.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.shaped(name, &[length])?;
        let kind = tensor.kind().ggml().ok_or_else(|| ModelError::StoredType {
            tensor: tensor.name().to_owned(),
            found: tensor.kind().name(),
        })?;
        let bytes = self.vector_bytes.saturating_add(length.saturating_mul(size_of::<f32>()));
        if bytes > self.most_vector_bytes {
            let (tensor, limit) = (tensor.name().to_owned(), self.most_vector_bytes);
            return Err(ModelError::VectorBytes { tensor, bytes, limit });
        }
        self.vector_bytes = bytes;
        let mut values = vec![0.0; length];
        let stored = self.source.read(tensor).map_err(|error| ModelError::Read {
            tensor: tensor.name().to_owned(),
            problem: error.to_string(),
        })?;
        dequantize(kind, &stored, &mut values);
        Ok(values)
    }

    /// The same where the source has it.
    ///
    /// # Errors
    /// [`ModelError`] when it is of another shape.
    pub fn optional_vector(&mut self, name: &str, length: usize) -> Result<Option<Vec<f32>>, ModelError> {
        if self.has(name) { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    /// The plan, when every tensor of the source has its place.
    ///
    /// # Errors
    /// [`ModelError::UnknownTensor`] for one that would be ignored; [`ModelError::TooLarge`].
    pub fn finish(self) -> Result<PackPlan, ModelError> {
        if let Some(tensor) = self.source.names().find(|name| !self.used.contains(*name)) {
            let architecture = self.source.keys()?.architecture().to_owned();
            return Err(ModelError::UnknownTensor { tensor: tensor.to_owned(), architecture });
        }
        let bytes = self.length.ok_or(ModelError::TooLarge)?;
        let (vector_bytes, matrices) = (self.vector_bytes, self.matrices);
        Ok(PackPlan { arena: self.arena, bytes, vector_bytes, matrices })
    }

    /// `name`, which is ggml's, as the source has it.
    fn stored_name(&self, name: &str) -> String {
        if self.source.naming() == Naming::Ggml {
            return name.to_owned();
        }
        let Names { root, layers, parts } = &self.family;
        let (layer, part) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((index, part)) => (format!("{layers}{index}."), part),
            None => (String::new(), name),
        };
        let (part, ending) = part.rsplit_once('.').unwrap_or((part, ""));
        let known = parts.iter().chain(PARTS).find(|(ggml, _)| *ggml == part);
        let part = known.map_or(part, |(_, stored)| stored);
        let bare = format!("{layer}{part}.{ending}");
        let rooted = format!("{root}{bare}");
        // Heads lie beside the root.
        if self.source.tensor(&rooted).is_some() { rooted } else { bare }
    }

    fn tensor(&mut self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        let name = self.stored_name(name);
        self.tensor_as(name)
    }

    fn tensor_as(&mut self, name: String) -> Result<&'a TensorInfo, ModelError> {
        let found = self.source.tensor(&name);
        self.used.insert(name.clone());
        found.ok_or(ModelError::MissingTensor { tensor: name })
    }

    fn shaped(&mut self, name: &str, expected: &[usize]) -> Result<&'a TensorInfo, ModelError> {
        let name = self.stored_name(name);
        self.shaped_as(name, expected)
    }

    fn shaped_as(&mut self, name: String, expected: &[usize]) -> Result<&'a TensorInfo, ModelError> {
        let tensor = self.tensor_as(name)?;
        if tensor.shape() == expected { Ok(tensor) } else { Err(misshapen(tensor, expected)) }
    }

    fn place(
        &mut self,
        tensor: &TensorInfo,
        bytes: Range<usize>,
        rows: usize,
        columns: usize,
    ) -> Result<PackedMatrix, ModelError> {
        let layout = PackedLayout::new(self.source.kept_as(tensor, columns), rows, columns)
            .ok_or_else(|| misshapen(tensor, &[columns, rows]))?;
        let offset = self.length.ok_or(ModelError::TooLarge)?;
        self.length =
            offset.checked_add(layout.bytes()).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
        let scale_columns = self.source.scale_columns(tensor);
        self.matrices.push(Packing { tensor: tensor.clone(), bytes, layout, scale_columns, offset });
        Ok(PackedMatrix::new(layout, Arc::clone(&self.arena), offset))
    }
}

fn misshapen(tensor: &TensorInfo, expected: &[usize]) -> ModelError {
    ModelError::TensorShape {
        tensor: tensor.name().to_owned(),
        found: tensor.shape().to_vec(),
        expected: expected.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::SynthSpec;
    use crate::testing::NotedFile;

    /// Guard: `Planner::vector` adds up what shapes say, before it reads.
    #[test]
    fn norms_and_biases_are_bounded_before_they_are_read() {
        let source = NotedFile::new(&SynthSpec::default());
        let mut planner = Planner::new(&source, Names::decoder(&[]));
        planner.most_vector_bytes = 2 * 64 * size_of::<f32>();
        planner.vector("blk.0.attn_norm.weight", 64).unwrap();
        planner.vector("blk.0.ffn_norm.weight", 64).unwrap();
        let refusal = planner.vector("output_norm.weight", 64).unwrap_err();
        let tensor = "output_norm.weight".to_owned();
        assert_eq!(refusal, ModelError::VectorBytes { tensor, bytes: 768, limit: 512 });
        assert_eq!(source.tensors_read(), ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"]);
    }
}
