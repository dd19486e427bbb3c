//! The keys of a GGUF file.

use super::{Family, SynthSpec, rope, tokenizer};
use crate::gguf::Value;

/// Every key of `spec`, in the order of the file.
pub(super) fn pairs(spec: &SynthSpec) -> Vec<(String, Value)> {
    let (family, shape) = (spec.family, &spec.shape);
    let architecture = family.architecture();
    let mut pairs = vec![
        ("general.architecture".to_owned(), Value::String(architecture.to_owned())),
        ("general.name".to_owned(), Value::String(format!("synthetic, seed {}", spec.seed))),
    ];
    let mut own = |key: &str, value: Value| pairs.push((format!("{architecture}.{key}"), value));
    for (key, value) in [
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.embedding),
        ("feed_forward_length", shape.feed_forward),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head),
        ("attention.value_length", shape.head),
        ("rope.dimension_count", shape.head),
        ("vocab_size", shape.vocabulary),
    ] {
        own(key, Value::U32(value as u32));
    }
    own("attention.layer_norm_rms_epsilon", Value::F32(super::config::EPSILON));
    own("rope.freq_base", Value::F32(shape.rope_base));
    for (key, value) in rope::pairs(spec) {
        own(key, value);
    }
    if let Some(window) = shape.window {
        own("attention.sliding_window", Value::U32(window as u32));
    }
    if family.is_mixture() {
        own("expert_count", Value::U32(shape.experts as u32));
        own("expert_used_count", Value::U32(shape.experts_used as u32));
        own("expert_feed_forward_length", Value::U32(shape.expert_feed_forward as u32));
    }
    if family == Family::Gemma2 {
        own("attn_logit_softcapping", Value::F32(super::config::ATTENTION_CAP));
        own("final_logit_softcapping", Value::F32(super::config::LOGIT_CAP));
    }
    if spec.tokenizer {
        pairs.extend(tokenizer::pairs(family, shape.vocabulary));
    }
    pairs
}
