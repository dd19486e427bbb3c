//! Seeded random Llama-shaped models of any dimensions and types, so that tests and benchmarks need no
//! download. The numbers mean nothing; their magnitudes are those of trained weights.

use std::path::Path;

use half::{bf16, f16};

use super::write::GgufWriter;
use super::{GgufError, TensorType, Value};

/// What to make. [`Default`] is a model of some 10,000 parameters.
#[derive(Clone, Debug)]
pub struct SyntheticLlama {
    /// Seed of every number in the file.
    pub seed: u64,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Elements of a head; even.
    pub head: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Longest context.
    pub context_length: usize,
    /// Type of the layers' matrices.
    pub matrices: TensorType,
    /// Type of the embedding table, and of the output matrix where there is one.
    pub embeddings: TensorType,
    /// True without an output matrix of its own.
    pub tied: bool,
    /// True with a `rope_freqs.weight` of Llama 3's kind.
    pub rope_factors: bool,
}

impl Default for SyntheticLlama {
    fn default() -> Self {
        Self {
            seed: 1,
            layers: 2,
            embedding: 64,
            heads: 4,
            kv_heads: 2,
            head: 16,
            feed_forward: 96,
            vocabulary: 131,
            context_length: 512,
            matrices: TensorType::F32,
            embeddings: TensorType::F32,
            tied: true,
            rope_factors: false,
        }
    }
}

impl SyntheticLlama {
    /// The model's header and tensors, to be written as they are or with more keys.
    ///
    /// # Errors
    /// [`GgufError::Shape`] when a matrix' columns are no multiple of its type's block.
    pub fn build(&self) -> Result<GgufWriter, GgufError> {
        let mut writer = GgufWriter::new();
        self.metadata(&mut writer);
        let mut random = Random(self.seed);
        let (heads, kv) = (self.heads * self.head, self.kv_heads * self.head);

        let mut matrix = |writer: &mut GgufWriter, name: &str, kind, columns, rows| {
            let data = random_matrix(kind, columns, rows, random.next());
            writer.tensor(name, &[columns, rows], kind, data).map(|_| ())
        };
        matrix(&mut writer, "token_embd.weight", self.embeddings, self.embedding, self.vocabulary)?;
        if !self.tied {
            matrix(&mut writer, "output.weight", self.embeddings, self.embedding, self.vocabulary)?;
        }
        for layer in 0..self.layers {
            for (name, columns, rows) in [
                ("attn_q", self.embedding, heads),
                ("attn_k", self.embedding, kv),
                ("attn_v", self.embedding, kv),
                ("attn_output", heads, self.embedding),
                ("ffn_gate", self.embedding, self.feed_forward),
                ("ffn_up", self.embedding, self.feed_forward),
                ("ffn_down", self.feed_forward, self.embedding),
            ] {
                let name = format!("blk.{layer}.{name}.weight");
                matrix(&mut writer, &name, self.matrices, columns, rows)?;
            }
        }

        let mut vector = |writer: &mut GgufWriter, name: &str, length: usize, low: f32, high: f32| {
            let data = (0..length).flat_map(|_| random.between(low, high).to_le_bytes()).collect();
            writer.tensor(name, &[length], TensorType::F32, data).map(|_| ())
        };
        vector(&mut writer, "output_norm.weight", self.embedding, 0.5, 1.5)?;
        for layer in 0..self.layers {
            vector(&mut writer, &format!("blk.{layer}.attn_norm.weight"), self.embedding, 0.5, 1.5)?;
            vector(&mut writer, &format!("blk.{layer}.ffn_norm.weight"), self.embedding, 0.5, 1.5)?;
        }
        if self.rope_factors {
            vector(&mut writer, "rope_freqs.weight", self.head / 2, 1.0, 8.0)?;
        }
        Ok(writer)
    }

    /// Writes the model to `path`.
    ///
    /// # Errors
    /// [`GgufError::Shape`] as [`Self::build`], and [`GgufError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), GgufError> {
        let writer = self.build()?;
        let io = |source| GgufError::Io { path: path.to_owned(), source };
        let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(io)?);
        writer.write(&mut out).and_then(|()| std::io::Write::flush(&mut out)).map_err(io)
    }

    fn metadata(&self, writer: &mut GgufWriter) {
        writer.pair("general.architecture", Value::String("llama".to_owned()));
        writer.pair("general.name", Value::String(format!("synthetic, seed {}", self.seed)));
        for (key, value) in [
            ("block_count", self.layers),
            ("context_length", self.context_length),
            ("embedding_length", self.embedding),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head),
            ("attention.value_length", self.head),
            ("rope.dimension_count", self.head),
            ("vocab_size", self.vocabulary),
        ] {
            writer.pair(&format!("llama.{key}"), Value::U32(value as u32));
        }
        writer.pair("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
        writer.pair("llama.rope.freq_base", Value::F32(10_000.0));
    }
}

/// SplitMix64: small, and the same on every machine and in every version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u64 << 24) as f32)
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }
}

/// Stored bytes of a `[rows, columns]` matrix with values spread over ± sqrt(3 / columns), so that products
/// keep the variance of their input.
pub fn random_matrix(kind: TensorType, columns: usize, rows: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let reach = (3.0 / columns.max(1) as f32).sqrt();
    let blocks = columns / kind.block_elements() * rows;
    let mut out = Vec::with_capacity(blocks * kind.block_bytes());
    for _ in 0..blocks {
        random_block(kind, reach, &mut random, &mut out);
    }
    out
}

fn random_block(kind: TensorType, reach: f32, random: &mut Random, out: &mut Vec<u8>) {
    let size = random.between(0.5, 1.0) * reach;
    let half = |out: &mut Vec<u8>, value: f32| out.extend(f16::from_f32(value).to_le_bytes());
    match kind {
        TensorType::F32 => out.extend(random.between(-reach, reach).to_le_bytes()),
        TensorType::F16 => half(out, random.between(-reach, reach)),
        TensorType::BF16 => out.extend(bf16::from_f32(random.between(-reach, reach)).to_le_bytes()),
        TensorType::Q4_0 => {
            half(out, size / 8.0);
            out.extend((0..16).map(|_| random.byte()));
        }
        TensorType::Q4_1 => {
            half(out, size / 7.5);
            half(out, -size);
            out.extend((0..16).map(|_| random.byte()));
        }
        TensorType::Q5_0 => {
            half(out, size / 16.0);
            out.extend((0..20).map(|_| random.byte()));
        }
        TensorType::Q5_1 => {
            half(out, size / 15.5);
            half(out, -size);
            out.extend((0..20).map(|_| random.byte()));
        }
        TensorType::IQ4NL => {
            half(out, size / 127.0);
            out.extend((0..16).map(|_| random.byte()));
        }
        TensorType::MXFP4 => {
            // 2^(e - 128) times values up to 12.
            let exponent = (size / 12.0).log2().round() + 128.0;
            out.push(exponent as u8);
            out.extend((0..16).map(|_| random.byte()));
        }
        TensorType::Q2K => {
            // A scale and a minimum of the same bits, whose values' middle is 1.5 of the scale.
            out.extend((0..16).map(|_| (random.byte() & 0x0F) * 0x11));
            out.extend((0..64).map(|_| random.byte()));
            half(out, size / 15.0);
            half(out, 1.5 * size / 15.0);
        }
        TensorType::Q3K => {
            out.extend((0..108).map(|_| random.byte()));
            half(out, size / 4.0 / 31.0);
        }
        TensorType::IQ4XS => {
            half(out, size / 127.0 / 31.0);
            out.extend((0..134).map(|_| random.byte()));
        }
        TensorType::Q8_0 => {
            half(out, size / 127.0);
            // -128 is never written by a quantiser.
            out.extend((0..32).map(|_| random.byte().max(1) ^ 0x80));
        }
        TensorType::Q4K | TensorType::Q5K => {
            let levels = if kind == TensorType::Q4K { 15.0 } else { 31.0 };
            half(out, 2.0 * size / levels / 63.0);
            half(out, size / 63.0);
            // The same bits for a scale and its minimum centre the values: bytes j, j + 4 and both nibbles.
            let scales: [u8; 4] = std::array::from_fn(|_| random.byte());
            out.extend(scales);
            out.extend(scales);
            out.extend((0..4).map(|_| (random.byte() & 0x0F) * 0x11));
            let rest = if kind == TensorType::Q4K { 128 } else { 160 };
            out.extend((0..rest).map(|_| random.byte()));
        }
        TensorType::Q6K => {
            out.extend((0..192).map(|_| random.byte()));
            out.extend((0..16).map(|_| random.byte()));
            half(out, size / 32.0 / 127.0);
        }
    }
}
