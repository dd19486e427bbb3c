//! The dimensions that all decoders have, read and checked.

use super::ModelError;
use super::keys::{Key, Keys};

/// Largest head that kernels take.
pub(super) const MAX_HEAD: u32 = 512;
/// More layers than any model has; bounds what a hostile count costs.
pub(super) const MAX_LAYERS: u32 = 4096;
/// Largest dimension: keeps every product of two in 64 bits and of a tile's offsets in range.
pub(super) const MAX_DIMENSION: u32 = 1 << 24;

const HEADS: Key = ("attention.head_count", "num_attention_heads");
const KV_HEADS: Key = ("attention.head_count_kv", "num_key_value_heads");
pub(super) const KEY_LENGTH: Key = ("attention.key_length", "head_dim");
const EPSILON: Key = ("attention.layer_norm_rms_epsilon", "rms_norm_eps");

/// Dimensions of a decoder. All are positive; heads divide as they must.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimensions {
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Largest position + 1 that numbers are right for.
    pub context_length: usize,
    /// Of the normalisations.
    pub epsilon: f32,
}

impl Dimensions {
    /// Reads the dimensions.
    ///
    /// # Errors
    /// [`ModelError`] naming the key that is missing, contradictory or out of range.
    pub fn read(keys: &Keys<'_>) -> Result<Self, ModelError> {
        Self::read_with(keys, EPSILON)
    }

    /// Reads the dimensions of a model whose normalisations' epsilon has another key.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with(keys: &Keys<'_>, epsilon_key: Key) -> Result<Self, ModelError> {
        let embedding = keys.count(("embedding_length", "hidden_size"), MAX_DIMENSION)?;
        let heads = keys.count(HEADS, MAX_DIMENSION)?;
        let kv_heads = keys.optional_count(KV_HEADS, MAX_DIMENSION)?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(keys.refuse(KV_HEADS, kv_heads, "it must divide the number of query heads"));
        }
        let epsilon = keys.optional_f32(epsilon_key)?.ok_or_else(|| keys.missing(epsilon_key))?;
        if epsilon < 0.0 {
            return Err(keys.refuse(epsilon_key, epsilon, "it must not be negative"));
        }
        Ok(Self {
            layers: keys.count(("block_count", "num_hidden_layers"), MAX_LAYERS)?,
            embedding,
            heads,
            kv_heads,
            head: head(keys, embedding, heads)?,
            feed_forward: keys.count(("feed_forward_length", "intermediate_size"), MAX_DIMENSION)?,
            context_length: context_length(keys)?,
            epsilon,
        })
    }

    /// Elements of a token's queries.
    pub fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// Elements of a token's keys, and of its values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head
    }
}

/// The context that a model was built for.
pub(super) fn context_length(keys: &Keys<'_>) -> Result<usize, ModelError> {
    keys.count(("context_length", "max_position_embeddings"), u32::MAX)
}

fn head(keys: &Keys<'_>, embedding: usize, heads: usize) -> Result<usize, ModelError> {
    let value_length: Key = ("attention.value_length", "");
    let key = keys.optional_count(KEY_LENGTH, MAX_HEAD)?;
    let value = keys.optional_count(value_length, MAX_HEAD)?;
    let head = match (key, value) {
        (Some(key), Some(value)) if key != value => {
            return Err(keys.refuse(value_length, value, "it must equal attention.key_length"));
        }
        (Some(head), _) | (None, Some(head)) => head,
        (None, None) if embedding.is_multiple_of(heads) => embedding / heads,
        (None, None) => {
            return Err(keys.refuse(HEADS, heads, "it must divide the embedding's length"));
        }
    };
    if head <= MAX_HEAD as usize {
        Ok(head)
    } else {
        Err(keys.refuse(KEY_LENGTH, head, &format!("a head may be {MAX_HEAD} elements long")))
    }
}
