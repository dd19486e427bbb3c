//! The `config.json` of a folder.

use serde_json::{Map, Value, json};

use super::{Family, SynthSpec, rope, tokenizer};

/// Of the normalisations; encoders have their own.
pub(super) const EPSILON: f32 = 1e-5;
/// Gemma 2's caps, as its members have them.
pub(super) const ATTENTION_CAP: f32 = 50.0;
pub(super) const LOGIT_CAP: f32 = 30.0;
/// Every so many layers of Gemma 3, one sees everything.
const GEMMA3_PATTERN: usize = 6;

/// The config of `spec`, as checkpoints of its family have it.
pub(super) fn config(spec: &SynthSpec) -> Value {
    let shape = &spec.shape;
    let (model_type, class) = spec.family.transformers(spec.reranker);
    let mut config = Map::new();
    let mut add = |more: Value| config.extend(more.as_object().cloned().unwrap_or_default());
    add(json!({
        "architectures": [class],
        "model_type": model_type,
        "torch_dtype": match spec.matrices.block_bytes() {
            4 => "float32",
            _ if spec.matrices == crate::gguf::TensorType::BF16 => "bfloat16",
            _ => "float16",
        },
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.embedding,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
    }));
    add(if spec.family.is_encoder() { encoder(spec) } else { decoder(spec) });
    add(family(spec));
    add(rope::config(spec));
    if let Some(e4m3) = spec.e4m3 {
        add(json!({"quantization_config": e4m3.config()}));
    }
    Value::Object(config)
}

fn decoder(spec: &SynthSpec) -> Value {
    let shape = &spec.shape;
    let ends = tokenizer::special_ids(spec.family);
    json!({
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": decimal(EPSILON),
        "rope_theta": decimal(shape.rope_base),
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "attention_bias": false,
        "bos_token_id": ends.begin,
        "eos_token_id": ends.end,
        "pad_token_id": ends.padding,
    })
}

fn encoder(spec: &SynthSpec) -> Value {
    let ends = tokenizer::special_ids(spec.family);
    let is_bert = spec.family == Family::Bert;
    json!({
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": spec.shape.context + if is_bert { 0 } else { 2 },
        "type_vocab_size": if is_bert { 2 } else { 1 },
        "position_embedding_type": "absolute",
        "bos_token_id": ends.begin,
        "eos_token_id": ends.end,
        "pad_token_id": ends.padding,
    })
}

/// What the family's configs have beside the usual.
fn family(spec: &SynthSpec) -> Value {
    let shape = &spec.shape;
    match spec.family {
        Family::Mistral => json!({"sliding_window": shape.window}),
        Family::Mixtral => json!({
            "num_local_experts": shape.experts,
            "num_experts_per_tok": shape.experts_used,
            "sliding_window": null,
        }),
        Family::Qwen2 | Family::Qwen3 => json!({"use_sliding_window": false}),
        Family::Qwen3Moe => json!({
            "num_experts": shape.experts,
            "num_experts_per_tok": shape.experts_used,
            "moe_intermediate_size": shape.expert_feed_forward,
            "norm_topk_prob": true,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "use_sliding_window": false,
        }),
        Family::Gemma2 => json!({
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": shape.head,
            "attn_logit_softcapping": decimal(ATTENTION_CAP),
            "final_logit_softcapping": decimal(LOGIT_CAP),
            "sliding_window": shape.window,
        }),
        Family::Gemma3 => json!({
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": shape.head,
            "sliding_window": shape.window,
            "sliding_window_pattern": GEMMA3_PATTERN,
            "rope_local_base_freq": 10_000.0,
        }),
        Family::Phi3 => json!({
            "sliding_window": shape.window,
            "original_max_position_embeddings": shape.rope.original_context(shape.context),
        }),
        Family::Bert | Family::XlmRoberta if spec.reranker => json!({
            "id2label": {"0": "LABEL_0"},
            "label2id": {"LABEL_0": 0},
        }),
        Family::Llama | Family::Bert | Family::XlmRoberta => json!({}),
    }
}

/// The number as people write it: 1e-5 in f32 is 9.999999747378752e-6 in f64.
pub(super) fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}
