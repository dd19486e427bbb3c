//! The Llama forward pass in plain f32, with no cache, no batch and no kernels: what the fast one is tested
//! against. It is read, not run: a sample model takes seconds a token.

use super::rotary::{ROTARY_KEYS, Rotary, RotaryFactors, RotarySpec};
use super::{Dimensions, ModelError};
use crate::gguf::{GgufFile, TensorInfo};
use crate::kernels::elementwise::PairLayout;
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
    dimensions: Dimensions,
    frequencies: Vec<f64>,
    rounding: Rounding,
}

impl<'a> ReferenceLlama<'a> {
    /// The model of `file`.
    ///
    /// # Errors
    /// [`ModelError`] when the file holds no Llama model.
    pub fn new(file: &'a GgufFile, rounding: Rounding) -> Result<Self, ModelError> {
        file.map().map_err(|error| ModelError::Read {
            tensor: "of any name".to_owned(),
            problem: error.to_string(),
        })?;
        let keys = super::keys::Keys::of_gguf(file.metadata())?;
        let dimensions = Dimensions::read(&keys)?;
        let divisors = file.tensor("rope_freqs.weight").map(|tensor| read(file, tensor));
        let spec = RotarySpec {
            keys: ROTARY_KEYS,
            layout: PairLayout::Interleaved,
            head: dimensions.head,
            default_base: 10_000.0,
            context: dimensions.context_length,
        };
        let factors = RotaryFactors { divisors: divisors.as_deref(), short_long: None };
        let frequencies = Rotary::read(&keys, spec, factors)?.frequencies;
        Ok(Self { file, dimensions, frequencies, rounding })
    }

    /// Logits after each of `tokens`, `[tokens][vocabulary]`. Token ids are below the vocabulary's size.
    pub fn logits(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let config = &self.dimensions;
        let mut stream: Vec<Vec<f32>> = tokens.iter().map(|&token| self.embed(token)).collect();

        for layer in 0..config.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let normed = self.normalized(&stream, &name("attn_norm"));
            let mut queries = self.product(&name("attn_q"), &normed);
            let mut keys = self.product(&name("attn_k"), &normed);
            let mut values = self.product(&name("attn_v"), &normed);
            for (position, (query, key)) in queries.iter_mut().zip(&mut keys).enumerate() {
                for head in query.chunks_exact_mut(config.head).chain(key.chunks_exact_mut(config.head)) {
                    rotate(PairLayout::Interleaved, head, position, &self.frequencies, 1.0);
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
            add(&mut stream, &self.product(&name("attn_output"), &attended));

            let normed = self.normalized(&stream, &name("ffn_norm"));
            let gate = self.product(&name("ffn_gate"), &normed);
            let up = self.product(&name("ffn_up"), &normed);
            let gated: Vec<Vec<f32>> = gate.iter().zip(&up).map(|(gate, up)| swiglu(gate, up)).collect();
            add(&mut stream, &self.product(&name("ffn_down"), &gated));
        }

        let normed = self.normalized(&stream, "output_norm.weight");
        let tied = self.file.tensor("output.weight").is_none();
        self.product(if tied { "token_embd.weight" } else { "output.weight" }, &normed)
    }

    fn embed(&self, token: u32) -> Vec<f32> {
        let columns = self.dimensions.embedding;
        let table = self.file.tensor("token_embd.weight").map(|tensor| read(self.file, tensor));
        table.unwrap_or_default().chunks_exact(columns).nth(token as usize).unwrap_or_default().to_vec()
    }

    fn normalized(&self, rows: &[Vec<f32>], weight: &str) -> Vec<Vec<f32>> {
        let weight = self.file.tensor(weight).map(|tensor| read(self.file, tensor)).unwrap_or_default();
        rows.iter().map(|row| rms_norm(row, &weight, self.dimensions.epsilon)).collect()
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
        let size = self.dimensions.head;
        let kv_head = head / (self.dimensions.heads / self.dimensions.kv_heads);
        let part = |row: &'r [f32], head: usize| &row[head * size..(head + 1) * size];
        let scale = 1.0 / (size as f32).sqrt();
        let query: Vec<f32> = part(&queries[position], head).iter().map(|q| q * scale).collect();
        let keys: Vec<&[f32]> = keys[..=position].iter().map(|row| part(row, kv_head)).collect();
        let values: Vec<&[f32]> = values[..=position].iter().map(|row| part(row, kv_head)).collect();
        attention(&query, &keys, &values, None)
    }

    fn product(&self, matrix: &str, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let Some(matrix) = self.file.tensor(matrix) else { return Vec::new() };
        let &[columns, out_width] = matrix.shape() else { return Vec::new() };
        let (stored, kind) = (self.file.bytes(matrix), matrix.kind().kept());
        let input = rows.concat();
        let out = match self.rounding {
            Rounding::None => matmul(kind, stored, columns, &input),
            Rounding::AsServed => matmul_quantized(kind, stored, columns, &input),
        };
        out.chunks_exact(out_width).map(<[f32]>::to_vec).collect()
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

fn read(file: &GgufFile, tensor: &TensorInfo) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().iter().product()];
    dequantize(tensor.kind().kept(), &file.read(tensor).unwrap_or_default(), &mut values);
    values
}
