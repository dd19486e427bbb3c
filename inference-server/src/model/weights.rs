//! Which tensors a Llama file holds, of what shape, and the packed weights made of them.

use std::collections::HashSet;

use super::{LlamaConfig, ModelError};
use crate::gguf::{GgufFile, TensorInfo};
use crate::kernels::packed::{PackedLayout, PackedMatrix};
use crate::kernels::reference::dequantize;

/// One layer's weights.
#[derive(Clone, Debug)]
pub struct Layer<M> {
    /// `[embedding]`.
    pub attention_norm: Vec<f32>,
    /// `[heads * head, embedding]`.
    pub query: M,
    /// `[kv_heads * head, embedding]`.
    pub key: M,
    /// `[kv_heads * head, embedding]`.
    pub value: M,
    /// `[embedding, heads * head]`.
    pub attention_output: M,
    /// `[embedding]`.
    pub feed_forward_norm: Vec<f32>,
    /// `[feed_forward, embedding]`.
    pub gate: M,
    /// `[feed_forward, embedding]`.
    pub up: M,
    /// `[embedding, feed_forward]`.
    pub down: M,
}

/// A model's weights, with matrices of type `M`: planned, then packed.
#[derive(Clone, Debug)]
pub struct Weights<M> {
    /// `[vocabulary, embedding]`.
    pub embedding: M,
    /// `[vocabulary, embedding]`; `None` where the embedding table serves.
    pub output: Option<M>,
    /// `[embedding]`.
    pub output_norm: Vec<f32>,
    /// Layers, first to last.
    pub layers: Vec<Layer<M>>,
    /// `[rotary / 2]`, where the file has them.
    pub rope_factors: Option<Vec<f32>>,
}

/// A matrix of the file, checked, with the layout it will be packed to.
#[derive(Clone, Debug)]
pub struct PlannedMatrix {
    /// The tensor.
    pub tensor: TensorInfo,
    /// How it will be packed.
    pub layout: PackedLayout,
}

/// Vectors and planned matrices, once their packed form is known.
pub type PackedWeights = Weights<PackedMatrix>;

impl Weights<PlannedMatrix> {
    /// Finds every tensor of the model and checks its shape; reads the vectors. No matrix is read.
    ///
    /// # Errors
    /// [`ModelError`] naming the tensor that is missing, misshapen or has no place.
    pub fn plan(file: &GgufFile, config: &LlamaConfig) -> Result<Self, ModelError> {
        let mut finder = Finder { file, used: HashSet::new() };
        let (embedding, queries, kv) = (config.embedding, config.query_width(), config.kv_width());
        let vocabulary = finder.tensor("token_embd.weight")?.shape().get(1).copied().unwrap_or(0);
        let output = match file.tensor("output.weight") {
            Some(_) => Some(finder.matrix("output.weight", vocabulary, embedding)?),
            None => None,
        };
        let rope_factors = match file.tensor("rope_freqs.weight") {
            Some(_) => Some(finder.vector("rope_freqs.weight", config.rotary / 2)?),
            None => None,
        };
        let mut layers = Vec::with_capacity(config.layers.min(file.tensors().len()));
        for index in 0..config.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: finder.vector(&name("attn_norm"), embedding)?,
                query: finder.matrix(&name("attn_q"), queries, embedding)?,
                key: finder.matrix(&name("attn_k"), kv, embedding)?,
                value: finder.matrix(&name("attn_v"), kv, embedding)?,
                attention_output: finder.matrix(&name("attn_output"), embedding, queries)?,
                feed_forward_norm: finder.vector(&name("ffn_norm"), embedding)?,
                gate: finder.matrix(&name("ffn_gate"), config.feed_forward, embedding)?,
                up: finder.matrix(&name("ffn_up"), config.feed_forward, embedding)?,
                down: finder.matrix(&name("ffn_down"), embedding, config.feed_forward)?,
            });
        }
        let weights = Self {
            embedding: finder.matrix("token_embd.weight", vocabulary, embedding)?,
            output,
            output_norm: finder.vector("output_norm.weight", embedding)?,
            layers,
            rope_factors,
        };
        finder.refuse_unused()?;
        Ok(weights)
    }
}

impl<M> Weights<M> {
    /// The same weights with every matrix turned into something else, in the order a forward pass needs them.
    ///
    /// # Errors
    /// The first that `turn` gives.
    pub fn map<N, E>(self, turn: &mut impl FnMut(M) -> Result<N, E>) -> Result<Weights<N>, E> {
        let embedding = turn(self.embedding)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            layers.push(Layer {
                attention_norm: layer.attention_norm,
                query: turn(layer.query)?,
                key: turn(layer.key)?,
                value: turn(layer.value)?,
                attention_output: turn(layer.attention_output)?,
                feed_forward_norm: layer.feed_forward_norm,
                gate: turn(layer.gate)?,
                up: turn(layer.up)?,
                down: turn(layer.down)?,
            });
        }
        let output = self.output.map(turn).transpose()?;
        Ok(Weights {
            embedding,
            output,
            output_norm: self.output_norm,
            layers,
            rope_factors: self.rope_factors,
        })
    }

    /// Every matrix, in the order of [`Self::map`].
    pub fn matrices(&self) -> impl Iterator<Item = &M> {
        let layers = self.layers.iter().flat_map(|layer| {
            [
                &layer.query,
                &layer.key,
                &layer.value,
                &layer.attention_output,
                &layer.gate,
                &layer.up,
                &layer.down,
            ]
        });
        std::iter::once(&self.embedding).chain(layers).chain(&self.output)
    }

    /// The matrix that makes logits.
    pub fn head(&self) -> &M {
        self.output.as_ref().unwrap_or(&self.embedding)
    }
}

/// Looks tensors up and remembers which had a place.
struct Finder<'a> {
    file: &'a GgufFile,
    used: HashSet<String>,
}

impl<'a> Finder<'a> {
    fn tensor(&mut self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        self.used.insert(name.to_owned());
        self.file.tensor(name).ok_or_else(|| ModelError::MissingTensor { tensor: name.to_owned() })
    }

    fn shaped(&mut self, name: &str, expected: &[usize]) -> Result<&'a TensorInfo, ModelError> {
        let tensor = self.tensor(name)?;
        if tensor.shape() == expected {
            return Ok(tensor);
        }
        Err(ModelError::TensorShape {
            tensor: name.to_owned(),
            found: tensor.shape().to_vec(),
            expected: expected.to_vec(),
        })
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<PlannedMatrix, ModelError> {
        let tensor = self.shaped(name, &[columns, rows])?;
        let layout =
            PackedLayout::new(tensor.kind(), rows, columns).ok_or_else(|| ModelError::TensorShape {
                tensor: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected: vec![columns, rows],
            })?;
        Ok(PlannedMatrix { tensor: tensor.clone(), layout })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.shaped(name, &[length])?;
        let mut values = vec![0.0; length];
        dequantize(tensor.kind(), self.file.bytes(tensor), &mut values);
        Ok(values)
    }

    fn refuse_unused(&self) -> Result<(), ModelError> {
        match self.file.tensors().iter().find(|tensor| !self.used.contains(tensor.name())) {
            None => Ok(()),
            Some(tensor) => {
                Err(ModelError::UnknownTensor { tensor: tensor.name().to_owned(), architecture: "llama" })
            }
        }
    }
}
