//! What to make, and whether it can be.

use super::{E4m3, Family, Rope, Shape, SynthError};
use crate::gguf::TensorType;

/// Largest head that kernels take, and the most layers, experts and elements of a dimension that loaders believe.
const MAX_HEAD: usize = 512;
const MAX_LAYERS: usize = 4096;
const MAX_DIMENSION: usize = 1 << 24;
const MAX_EXPERTS: usize = 1024;
/// What the key of a split GGUF file holds.
const MAX_SHARDS: usize = u16::MAX as usize;
/// Some nine trillion: keeps every offset far from the end of 64 bits.
const MAX_PARAMETERS: u128 = 1 << 43;

/// How a model lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One file, or several as `gguf-split` cuts and names them.
    Gguf,
    /// A folder with `config.json`, `tokenizer.json` and `model.safetensors`, or shards and their index.
    Safetensors,
}

/// One model. Equal ones are equal to the byte.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthSpec {
    /// Its family.
    pub family: Family,
    /// Its dimensions.
    pub shape: Shape,
    /// How it is stored.
    pub format: Format,
    /// Type of the layers' matrices.
    pub matrices: TensorType,
    /// With the layers' matrices in 8-bit floats in its place, which norms and routers keep.
    pub e4m3: Option<E4m3>,
    /// Type of the embedding table, and of the output matrix where there is one.
    pub embeddings: TensorType,
    /// With a classifier of one score, which makes an encoder a reranker.
    pub reranker: bool,
    /// Files that its weights are cut into; the numbers in them are the same.
    pub shards: usize,
    /// Seed of every number in it.
    pub seed: u64,
    /// False for weights with no tokenizer, whose vocabulary may then be of any size.
    pub tokenizer: bool,
}

impl SynthSpec {
    /// A model of `family` and `shape` whose matrices are `matrices`, and its embeddings what quantisers usually choose
    /// beside them.
    pub fn new(family: Family, shape: Shape, format: Format, matrices: TensorType) -> Self {
        let embeddings = usual_embeddings(matrices, shape.embedding);
        Self {
            family,
            shape,
            format,
            matrices,
            e4m3: None,
            embeddings,
            reranker: false,
            shards: 1,
            seed: 1,
            tokenizer: true,
        }
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// [`SynthError::Field`] for the first that does not, with what would.
    pub fn check(&self) -> Result<(), SynthError> {
        let Self { family, shape, .. } = self;
        for (field, value, limit) in [
            ("layers", shape.layers, MAX_LAYERS),
            ("embedding", shape.embedding, MAX_DIMENSION),
            ("heads", shape.heads, MAX_DIMENSION),
            ("kv-heads", shape.kv_heads, MAX_DIMENSION),
            ("head", shape.head, MAX_HEAD),
            ("feed-forward", shape.feed_forward, MAX_DIMENSION),
            ("vocabulary", shape.vocabulary, MAX_DIMENSION),
            ("context", shape.context, MAX_DIMENSION),
            ("window", shape.window.unwrap_or(1), MAX_DIMENSION),
        ] {
            if value == 0 || value > limit {
                return Err(refuse(field, value, format!("it must be from 1 to {limit}")));
            }
        }
        self.check_heads()?;
        self.check_experts()?;
        self.check_family()?;
        self.check_types()?;
        let least = super::tokenizer::least_vocabulary(*family);
        if self.tokenizer && shape.vocabulary < least {
            let problem =
                format!("a tokenizer of bytes needs {least} tokens: use as many, or --no-tokenizer");
            return Err(refuse("vocabulary", shape.vocabulary, problem));
        }
        let parameters: u128 =
            super::tensors::tensors(self).iter().map(|tensor| tensor.elements() as u128).sum();
        if parameters > MAX_PARAMETERS {
            let problem = format!(
                "the model would have {parameters} parameters: use less, up to {MAX_PARAMETERS} in all"
            );
            return Err(refuse("layers", shape.layers, problem));
        }
        self.check_shards()
    }

    fn check_shards(&self) -> Result<(), SynthError> {
        let tensors = super::plan::stored(self).len();
        if self.shards == 0 || self.shards > tensors.min(MAX_SHARDS) {
            let most = tensors.min(MAX_SHARDS);
            let problem = format!(
                "the model has {tensors} tensors, and each shard holds one at least: use 1 to {most}"
            );
            return Err(refuse("shards", self.shards, problem));
        }
        Ok(())
    }

    fn check_heads(&self) -> Result<(), SynthError> {
        let Shape { heads, kv_heads, head, embedding, .. } = self.shape;
        if !heads.is_multiple_of(kv_heads) {
            let problem =
                format!("it must divide the {heads} query heads: use a divisor, such as 1 or {heads}");
            return Err(refuse("kv-heads", kv_heads, problem));
        }
        if !head.is_multiple_of(2) {
            return Err(refuse("head", head, "it must be even: rotation turns pairs".to_owned()));
        }
        if heads.checked_mul(head).is_none_or(|width| width > MAX_DIMENSION) {
            let problem =
                format!("heads of {head} would be more than {MAX_DIMENSION} elements wide: use fewer");
            return Err(refuse("heads", heads, problem));
        }
        if self.family.is_encoder() && (kv_heads != heads || heads * head != embedding) {
            let problem = format!(
                "{} has as many key-value heads as heads, which make up the embedding: use {heads} of {}, or \
                 another --embedding",
                self.family.name(),
                embedding / heads
            );
            return Err(refuse("kv-heads", kv_heads, problem));
        }
        Ok(())
    }

    fn check_experts(&self) -> Result<(), SynthError> {
        let Shape { experts, experts_used, expert_feed_forward, .. } = self.shape;
        if !self.family.is_mixture() {
            return if experts == 0 {
                Ok(())
            } else {
                let problem = "only mixtral and qwen3-moe have experts: leave it out".to_owned();
                Err(refuse("experts", experts, problem))
            };
        }
        if experts == 0 || experts > MAX_EXPERTS {
            return Err(refuse("experts", experts, format!("it must be from 1 to {MAX_EXPERTS}")));
        }
        if experts_used == 0 || experts_used > experts {
            return Err(refuse("experts-used", experts_used, format!("it must be from 1 to {experts}")));
        }
        if expert_feed_forward == 0 || expert_feed_forward > MAX_DIMENSION {
            let problem = format!("it must be from 1 to {MAX_DIMENSION}");
            return Err(refuse("expert-feed-forward", expert_feed_forward, problem));
        }
        if self.family == Family::Mixtral && expert_feed_forward != self.shape.feed_forward {
            let problem =
                format!("mixtral's is its --feed-forward, {}: leave it out", self.shape.feed_forward);
            return Err(refuse("expert-feed-forward", expert_feed_forward, problem));
        }
        Ok(())
    }

    fn check_family(&self) -> Result<(), SynthError> {
        let Self { family, shape, format, .. } = self;
        if shape.window.is_some() && !family.has_window() {
            let problem = format!("{} has no window: leave it out", family.name());
            return Err(refuse("window", shape.window.unwrap_or_default(), problem));
        }
        if !shape.rope.families().contains(family) {
            let kinds = Rope::ALL.iter().filter(|rope| rope.families().contains(family));
            let kinds: Vec<&str> = kinds.map(|rope| rope.name()).collect();
            let families: Vec<&str> = shape.rope.families().iter().map(|family| family.name()).collect();
            let problem = format!(
                "{} has {}: use one of these, or a --family that has it, of {}",
                family.name(),
                kinds.join(", "),
                families.join(", ")
            );
            return Err(refuse("rope", shape.rope.name(), problem));
        }
        if self.reranker && !family.is_encoder() {
            let problem = format!(
                "{} writes text, and encoders alone are rerankers: leave it out, or use --family bert or xlm-roberta",
                family.name()
            );
            return Err(refuse("reranker", self.reranker, problem));
        }
        if !(shape.rope_base.is_finite() && shape.rope_base > 0.0) {
            return Err(refuse("rope-base", shape.rope_base, "it must be a positive number".to_owned()));
        }
        if family.is_encoder() && *format == Format::Gguf {
            let problem = "it is made as safetensors: give a folder, not a .gguf file".to_owned();
            return Err(refuse("family", family.name(), problem));
        }
        Ok(())
    }

    fn check_types(&self) -> Result<(), SynthError> {
        if let (Some(e4m3), Format::Gguf) = (self.e4m3, self.format) {
            let problem = "GGUF has no such type: give a folder, not a .gguf file".to_owned();
            return Err(refuse("matrices", e4m3.name(), problem));
        }
        for (field, kind) in [("matrices", self.matrices), ("embeddings", self.embeddings)] {
            let is_float = matches!(kind, TensorType::F32 | TensorType::F16 | TensorType::BF16);
            if self.format == Format::Safetensors && !is_float {
                let problem = "safetensors hold f32, f16 or bf16: use one, or write a .gguf file".to_owned();
                return Err(refuse(field, kind, problem));
            }
        }
        for (field, columns, kind) in self.columns() {
            let block = kind.block_elements();
            if !columns.is_multiple_of(block) {
                let near = columns.next_multiple_of(block);
                let problem = format!(
                    "{kind} holds blocks of {block}: use a multiple, such as {near}, or another type, such as q8_0"
                );
                return Err(refuse(field, columns, problem));
            }
        }
        Ok(())
    }

    /// Rows of matrices, and the field that makes each as long as it is.
    fn columns(&self) -> Vec<(&'static str, usize, TensorType)> {
        let shape = &self.shape;
        let mut columns = vec![
            ("embedding", shape.embedding, self.embeddings),
            ("embedding", shape.embedding, self.matrices),
            ("heads", shape.query_width(), self.matrices),
        ];
        columns.push(if self.family.is_mixture() {
            ("expert-feed-forward", shape.expert_feed_forward, self.matrices)
        } else {
            ("feed-forward", shape.feed_forward, self.matrices)
        });
        columns
    }
}

/// The default is a Llama of some 10,000 parameters, in F32, with no tokenizer.
impl Default for SynthSpec {
    fn default() -> Self {
        let shape = Shape {
            layers: 2,
            embedding: 64,
            heads: 4,
            kv_heads: 2,
            head: 16,
            feed_forward: 96,
            vocabulary: 131,
            context: 512,
            experts: 0,
            experts_used: 0,
            expert_feed_forward: 0,
            window: None,
            rope_base: 10_000.0,
            rope: Rope::None,
            tied: true,
        };
        let spec = Self::new(Family::Llama, shape, Format::Gguf, TensorType::F32);
        Self { tokenizer: false, ..spec }
    }
}

/// Beside k-quants and small types the ends are kept finer: every token passes through them.
fn usual_embeddings(matrices: TensorType, columns: usize) -> TensorType {
    match matrices {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 | TensorType::Q8_0 => matrices,
        _ if columns.is_multiple_of(TensorType::Q6K.block_elements()) => TensorType::Q6K,
        _ => TensorType::Q8_0,
    }
}

/// The type called `name`, in any case.
pub fn tensor_type(name: &str) -> Option<TensorType> {
    TensorType::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
}

fn refuse(field: &'static str, value: impl std::fmt::Display, problem: String) -> SynthError {
    SynthError::Field { field, value: value.to_string(), problem }
}
