//! The Llama forward pass in plain f32, with no cache, no batch and no kernels: what [`super::llama`] is
//! tested against. It is read, not run: a sample model takes seconds a token.

use super::weights::{PlannedMatrix, Weights};
use super::{LlamaConfig, ModelError};
use crate::gguf::GgufFile;
use crate::kernels::reference::{attention, dequantize, matmul, matmul_quantized, rms_norm, rotate, swiglu};

/// How numbers are rounded on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Nowhere but in the stored weights.
    None,
    /// Where a served model's are: activations to int8 before quantised weights, keys and values to f16.
    AsServed,
}

/// A model to run slowly.
#[derive(Debug)]
pub struct ReferenceLlama<'a> {
    file: &'a GgufFile,
    config: LlamaConfig,
    weights: Weights<PlannedMatrix>,
    rounding: Rounding,
}

impl<'a> ReferenceLlama<'a> {
    /// The model of `file`.
    ///
    /// # Errors
    /// [`ModelError`] when the file holds no Llama model.
    pub fn new(file: &'a GgufFile, rounding: Rounding) -> Result<Self, ModelError> {
        let config = LlamaConfig::from_metadata(file.metadata())?;
        let weights = Weights::plan(file, &config)?;
        Ok(Self { file, config, weights, rounding })
    }

    /// Logits after each of `tokens`, `[tokens][vocabulary]`. Token ids are below the vocabulary's size.
    pub fn logits(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let config = &self.config;
        let mut stream: Vec<Vec<f32>> = tokens.iter().map(|&token| self.embed(token)).collect();
        let frequencies = config.rotary_frequencies(self.weights.rope_factors.as_deref());

        for layer in &self.weights.layers {
            let normed: Vec<Vec<f32>> =
                stream.iter().map(|row| rms_norm(row, &layer.attention_norm, config.epsilon)).collect();
            let mut queries = self.product(&layer.query, &normed);
            let mut keys = self.product(&layer.key, &normed);
            let mut values = self.product(&layer.value, &normed);
            for (position, (query, key)) in queries.iter_mut().zip(&mut keys).enumerate() {
                for head in query.chunks_exact_mut(config.head).chain(key.chunks_exact_mut(config.head)) {
                    rotate(head, position, &frequencies);
                }
            }
            self.round_to_cache(&mut keys);
            self.round_to_cache(&mut values);

            let attended: Vec<Vec<f32>> = (0..tokens.len())
                .map(|position| {
                    (0..config.heads)
                        .flat_map(|head| self.attend(head, position, &queries, &keys, &values))
                        .collect()
                })
                .collect();
            add(&mut stream, &self.product(&layer.attention_output, &attended));

            let normed: Vec<Vec<f32>> =
                stream.iter().map(|row| rms_norm(row, &layer.feed_forward_norm, config.epsilon)).collect();
            let gate = self.product(&layer.gate, &normed);
            let up = self.product(&layer.up, &normed);
            let gated: Vec<Vec<f32>> = gate.iter().zip(&up).map(|(gate, up)| swiglu(gate, up)).collect();
            add(&mut stream, &self.product(&layer.down, &gated));
        }

        let normed: Vec<Vec<f32>> =
            stream.iter().map(|row| rms_norm(row, &self.weights.output_norm, config.epsilon)).collect();
        self.product(self.weights.head(), &normed)
    }

    fn embed(&self, token: u32) -> Vec<f32> {
        let table = &self.weights.embedding;
        let row = table.layout.stored_row_bytes();
        let start = token as usize * row;
        let mut out = vec![0.0; table.layout.columns()];
        let stored = self.file.bytes(&table.tensor).get(start..start + row).unwrap_or_default();
        dequantize(table.layout.kind(), stored, &mut out);
        out
    }

    /// Attention of query head `head` at `position` over all positions up to its own.
    fn attend<'r>(
        &self,
        head: usize,
        position: usize,
        queries: &'r [Vec<f32>],
        keys: &'r [Vec<f32>],
        values: &'r [Vec<f32>],
    ) -> Vec<f32> {
        let size = self.config.head;
        let kv_head = head / (self.config.heads / self.config.kv_heads);
        let part = |row: &'r [f32], head: usize| &row[head * size..(head + 1) * size];
        let scale = 1.0 / (size as f32).sqrt();
        let query: Vec<f32> = part(&queries[position], head).iter().map(|q| q * scale).collect();
        let keys: Vec<&[f32]> = keys[..=position].iter().map(|row| part(row, kv_head)).collect();
        let values: Vec<&[f32]> = values[..=position].iter().map(|row| part(row, kv_head)).collect();
        attention(&query, &keys, &values)
    }

    fn product(&self, matrix: &PlannedMatrix, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let stored = self.file.bytes(&matrix.tensor);
        let (kind, columns) = (matrix.layout.kind(), matrix.layout.columns());
        let input = rows.concat();
        let out = match self.rounding {
            Rounding::None => matmul(kind, stored, columns, &input),
            Rounding::AsServed => matmul_quantized(kind, stored, columns, &input),
        };
        out.chunks_exact(matrix.layout.rows()).map(<[f32]>::to_vec).collect()
    }

    fn round_to_cache(&self, rows: &mut [Vec<f32>]) {
        if self.rounding == Rounding::AsServed {
            rows.iter_mut().flatten().for_each(|x| *x = half::f16::from_f32(*x).to_f32());
        }
    }
}

fn add(stream: &mut [Vec<f32>], more: &[Vec<f32>]) {
    stream.iter_mut().flatten().zip(more.iter().flatten()).for_each(|(x, more)| *x += more);
}
