//! Dimensions, activations, layers' kinds, rotation and experts.

use super::{Changed, assert_keys_refused, assert_refused, plan_decoder};
use crate::gguf::Value;

#[test]
fn dimensions_are_those_of_a_model() {
    assert_refused(&[
        (
            "llama2",
            r#"{"num_key_value_heads": 3}"#,
            "num_key_value_heads is 3: it must divide the number of query heads",
        ),
        (
            "llama2",
            r#"{"num_attention_heads": 0}"#,
            "num_attention_heads is 0: it must be from 1 to 16777216",
        ),
        (
            "llama2",
            r#"{"num_attention_heads": 3, "num_key_value_heads": null}"#,
            "num_attention_heads is 3: it must divide the embedding's length",
        ),
        ("llama2", r#"{"head_dim": 513}"#, "head_dim is 513: it must be from 1 to 512"),
        ("llama2", r#"{"hidden_size": 4096}"#, "head_dim is 1024: a head may be 512 elements long"),
        ("llama2", r#"{"hidden_size": 16777217}"#, "hidden_size is 16777217: it must be from 1 to 16777216"),
        ("llama2", r#"{"hidden_size": -1}"#, "hidden_size holds -1, expected an unsigned 32-bit integer"),
        ("llama2", r#"{"intermediate_size": 0}"#, "intermediate_size is 0: it must be from 1 to 16777216"),
        ("llama2", r#"{"num_hidden_layers": 0}"#, "num_hidden_layers is 0: it must be from 1 to 4096"),
        ("llama2", r#"{"num_hidden_layers": 4097}"#, "num_hidden_layers is 4097: it must be from 1 to 4096"),
        ("llama2", r#"{"rms_norm_eps": -1.0}"#, "rms_norm_eps is -1: it must not be negative"),
        ("llama2", r#"{"rms_norm_eps": null}"#, "rms_norm_eps is missing"),
        ("llama2", r#"{"max_position_embeddings": null}"#, "max_position_embeddings is missing"),
        ("bert", r#"{"layer_norm_eps": -1.0}"#, "layer_norm_eps is -1: it must not be negative"),
        ("bert", r#"{"layer_norm_eps": null}"#, "layer_norm_eps is missing"),
        ("bert", r#"{"num_attention_heads": 3}"#, "num_attention_heads is 3: it must divide"),
        (
            "llama2",
            r#"{"model_type": "gpt2"}"#,
            r#"model_type is "gpt2", which is not served; served: llama, "#,
        ),
    ]);
    let u32 = |value| Some(Value::U32(value));
    assert_keys_refused(&[
        (
            "qwen3",
            "attention.value_length",
            u32(8),
            "qwen3.attention.value_length is 8: it must equal attention.key_length",
        ),
        ("llama2", "block_count", u32(4097), "llama.block_count is 4097: it must be from 1 to 4096"),
        ("llama2", "attention.head_count_kv", u32(3), "llama.attention.head_count_kv is 3: it must divide"),
        ("llama2", "context_length", None, "llama.context_length is missing"),
        (
            "llama2",
            "general.architecture",
            Some(Value::String("bert".to_owned())),
            r#"general.architecture is "bert", which is not served; served: llama, "#,
        ),
    ]);
}

#[test]
fn each_family_has_its_own_activation() {
    for name in ["llama2", "mistral", "mixtral", "qwen2", "qwen3", "qwen3-moe", "phi3"] {
        assert_refused(&[(name, r#"{"hidden_act": "gelu"}"#, "hidden_act is gelu: silu is served")]);
    }
    for name in ["gemma2", "gemma3"] {
        let words = "hidden_activation is gelu: gelu_pytorch_tanh is served";
        assert_refused(&[(name, r#"{"hidden_activation": "gelu"}"#, words)]);
    }
    for name in ["bert", "xlm-roberta"] {
        let words = "hidden_act is relu: gelu, gelu_new and gelu_pytorch_tanh are served";
        assert_refused(&[(name, r#"{"hidden_act": "relu"}"#, words)]);
    }
}

#[test]
fn layers_are_of_kinds_that_are_served() {
    assert_refused(&[
        (
            "gemma2",
            r#"{"layer_types": ["full_attention"]}"#,
            "layer_types is 1 long: it must name every layer",
        ),
        (
            "gemma2",
            r#"{"layer_types": ["full_attention", "sliding_attention", "chunked_attention"]}"#,
            "layer_types is chunked_attention: not served in this family",
        ),
        (
            "qwen3",
            r#"{"layer_types": ["full_attention", "linear_attention"]}"#,
            "layer_types is linear_attention: not served in this family",
        ),
        (
            "qwen2",
            r#"{"layer_types": ["full_attention", "sliding_attention"]}"#,
            "layer_types is sliding_attention: there is no window: set sliding_window",
        ),
        ("gemma3", r#"{"sliding_window_pattern": 0}"#, "sliding_window_pattern is 0: it must be from 1 to"),
    ]);
}

#[test]
fn rotation_is_of_a_kind_that_is_served() {
    let served = "not served; none, linear, llama3, yarn and longrope are";
    for (name, key) in [
        ("llama-linear", "rope_scaling.type"),
        ("llama2", "rope_parameters.rope_type"),
        ("gemma3", "rope_scaling.rope_type"),
        ("qwen3-yarn", "rope_scaling.rope_type"),
    ] {
        let changes = match name {
            "llama2" => r#"{"rope_parameters": {"rope_type": "dynamic"}}"#.to_owned(),
            _ => format!(r#"{{"{key}": "dynamic"}}"#),
        };
        assert_refused(&[(name, &changes, &format!("{key} is dynamic: {served}"))]);
    }
    let dynamic = Some(Value::String("dynamic".to_owned()));
    let words = format!("llama.rope.scaling.type is dynamic: {served}");
    assert_keys_refused(&[("llama-linear", "rope.scaling.type", dynamic, &words)]);
}

#[test]
fn rotation_has_all_that_its_kind_needs() {
    for key in ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"] {
        let (changes, words) =
            (format!(r#"{{"rope_scaling.{key}": null}}"#), format!("rope_parameters.{key} is missing"));
        assert_refused(&[("llama3", &changes, &words)]);
    }
    assert_refused(&[
        ("llama2", r#"{"rope_theta": -1.0}"#, "rope_theta is -1: it must be positive"),
        ("llama3", r#"{"rope_scaling.factor": 0}"#, "rope_scaling.factor is 0: it must be positive"),
        (
            "qwen3-yarn",
            r#"{"rope_scaling.original_max_position_embeddings": null}"#,
            "rope_parameters.original_max_position_embeddings is missing",
        ),
        (
            "qwen3-yarn",
            r#"{"rope_scaling.beta_fast": -1}"#,
            "rope_scaling.beta_fast is -1: it must be positive",
        ),
        (
            "phi3-longrope",
            r#"{"original_max_position_embeddings": null}"#,
            "rope_parameters.original_max_position_embeddings is missing",
        ),
        ("phi3-longrope", r#"{"rope_scaling.long_factor": null}"#, "rope_parameters.long_factor is missing"),
        (
            "phi3-longrope",
            r#"{"rope_scaling.long_factor": [1, 2, 3]}"#,
            "rope_scaling.long_factor is a list of 3: it must be 8 positive numbers, one a rotated pair",
        ),
        (
            "phi3-longrope",
            r#"{"rope_scaling.long_factor": [1, 2, 3, 4, 5, 6, 7, 0]}"#,
            "rope_scaling.long_factor is a list of 8: it must be 8 positive numbers",
        ),
    ]);
    let short = Changed::folder("phi3-longrope").with(r#"{"rope_scaling.short_factor": [1]}"#);
    let said = plan_decoder(&short, Some(40)).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("rope_scaling.short_factor is a list of 1: it must be 8"), "{said}");
    assert_eq!(short.refusal(), None, "past the original context nobody asks for it");
    assert_keys_refused(&[
        (
            "qwen3-yarn",
            "rope.scaling.original_context_length",
            None,
            "qwen3.rope.scaling.original_context_length is missing",
        ),
        ("phi3-longrope", "rope.dimension_count", None, "phi3.rope.dimension_count is missing"),
    ]);
}

#[test]
fn the_rotated_part_is_of_whole_pairs() {
    assert_refused(&[
        (
            "llama2",
            r#"{"head_dim": 15}"#,
            "head_dim is 15: the rotated part, of 15 elements, must be even and at most a head's 15",
        ),
        (
            "phi4-mini",
            r#"{"partial_rotary_factor": 0.2}"#,
            "partial_rotary_factor is 0.2: the rotated part, of 3 elements, must be even",
        ),
        (
            "phi4-mini",
            r#"{"partial_rotary_factor": 1.5}"#,
            "partial_rotary_factor is 1.5: the rotated part, of 24 elements, must be even and at most a head's 16",
        ),
    ]);
    let words = "llama.rope.dimension_count is u32 18: the rotated part, of 18 elements, must be even";
    assert_keys_refused(&[("llama2", "rope.dimension_count", Some(Value::U32(18)), words)]);
}

#[test]
fn experts_are_counted() {
    assert_refused(&[
        ("mixtral", r#"{"num_local_experts": 0}"#, "num_local_experts is 0: it must be from 1 to 4096"),
        ("mixtral", r#"{"num_local_experts": 4097}"#, "num_local_experts is 4097: it must be from 1 to 4096"),
        ("mixtral", r#"{"num_local_experts": null}"#, "num_local_experts is missing"),
        ("mixtral", r#"{"num_experts_per_tok": 0}"#, "num_experts_per_tok is 0: it must be from 1 to 4096"),
        ("qwen3-moe", r#"{"num_experts": 0}"#, "num_experts is 0: it must be from 1 to 4096"),
        ("qwen3-moe", r#"{"moe_intermediate_size": null}"#, "moe_intermediate_size is missing"),
        ("qwen3-moe", r#"{"decoder_sparse_step": 0}"#, "decoder_sparse_step is 0: it must be from 1 to"),
    ]);
    assert_keys_refused(&[
        ("mixtral", "expert_used_count", None, "llama.expert_used_count is missing"),
        ("qwen3-moe", "expert_count", Some(Value::U32(0)), "qwen3moe.expert_count is 0: it must be from 1"),
    ]);
}

#[test]
fn caps_and_scales_are_positive() {
    assert_refused(&[
        ("gemma2", r#"{"attn_logit_softcapping": -1}"#, "attn_logit_softcapping is -1: it must be positive"),
        ("gemma2", r#"{"final_logit_softcapping": 0}"#, "final_logit_softcapping is 0: it must be positive"),
        ("gemma3", r#"{"query_pre_attn_scalar": 0}"#, "query_pre_attn_scalar is 0: it must be positive"),
    ]);
}
