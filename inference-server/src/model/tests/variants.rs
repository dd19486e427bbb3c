//! Settings that a forward pass would ignore: refused where they change the numbers, and nowhere else.

use super::{Changed, assert_keys_refused, assert_refused, families};
use crate::gguf::Value;

#[test]
fn no_decoder_ignores_what_changes_its_numbers() {
    for name in families().0 {
        for (changes, words) in [
            (
                r#"{"use_bidirectional_attention": true}"#,
                "use_bidirectional_attention is true: this variant is not",
            ),
            (
                r#"{"is_causal": false}"#,
                "is_causal is false: this variant is not served; models with true are",
            ),
            (r#"{"attention_multiplier": 0.5}"#, "attention_multiplier is 0.5: this variant"),
            (
                r#"{"logits_scaling": 8}"#,
                "logits_scaling is 8: this variant is not served; models with 1 are",
            ),
            (r#"{"residual_multiplier": 0.2}"#, "residual_multiplier is 0.2: this variant"),
            (r#"{"embedding_multiplier": 12}"#, "embedding_multiplier is 12: this variant"),
        ] {
            assert_refused(&[(&name, changes, words)]);
        }
        let Some(model) = Changed::gguf(&name) else { continue };
        for (key, value) in [
            ("attention.causal", Value::Bool(false)),
            ("attention.scale", Value::F32(0.1)),
            ("attention.clamp_kqv", Value::F32(8.0)),
            ("attention.max_alibi_bias", Value::F32(8.0)),
            ("attention.temperature_scale", Value::F32(0.1)),
            ("logit_scale", Value::F32(0.5)),
            ("residual_scale", Value::F32(0.5)),
            ("embedding_scale", Value::F32(2.0)),
        ] {
            let said = model.clone().with_key(key, Some(value)).refusal().unwrap_or_default();
            assert!(said.contains(&format!(".{key} is ")) && said.contains("this variant"), "{name}: {said}");
        }
    }
}

#[test]
fn no_family_ignores_what_changes_its_numbers() {
    for name in ["llama2", "mistral", "mixtral", "qwen2", "qwen3", "qwen3-moe", "gemma3", "phi3"] {
        let words = "attn_logit_softcapping is 50.0: this variant is not served; models without it are";
        assert_refused(&[(name, r#"{"attn_logit_softcapping": 50.0}"#, words)]);
        let model = Changed::gguf(name).unwrap().with_key("attn_logit_softcapping", Some(Value::F32(50.0)));
        let said = model.refusal().unwrap_or_default();
        assert!(said.contains("attn_logit_softcapping is f32 50: this variant"), "{name}: {said}");
        if name != "gemma3" {
            let words = "final_logit_softcapping is 30.0: this variant is not served; models without it are";
            assert_refused(&[(name, r#"{"final_logit_softcapping": 30.0}"#, words)]);
        }
    }
    for name in families().1 {
        assert_refused(&[
            (
                &name,
                r#"{"position_embedding_type": "relative_key"}"#,
                r#"position_embedding_type is "relative_key": this variant is not served; models with absolute are"#,
            ),
            (&name, r#"{"is_decoder": true}"#, "is_decoder is true: this variant is not served"),
            (&name, r#"{"add_cross_attention": true}"#, "add_cross_attention is true: this variant is not"),
        ]);
    }
    assert_refused(&[
        ("llama2", r#"{"mlp_bias": true}"#, "mlp_bias is true: this variant is not served"),
        ("gemma2", r#"{"sliding_window_pattern": 3}"#, "sliding_window_pattern is 3: this variant"),
        (
            "gemma3",
            r#"{"rope_parameters.sliding_attention": {"rope_type": "linear", "factor": 2.0}}"#,
            r#"rope_parameters.sliding_attention.rope_type is "linear": this variant is not served; models with default"#,
        ),
    ]);
}

#[test]
fn no_mixture_ignores_what_changes_its_numbers() {
    for name in ["mixtral", "qwen3-moe"] {
        for (key, value) in [
            ("expert_gating_func", Value::U32(2)),
            ("expert_weights_scale", Value::F32(2.5)),
            ("expert_weights_norm", Value::Bool(false)),
            ("expert_group_count", Value::U32(8)),
            ("expert_shared_count", Value::U32(1)),
            ("leading_dense_block_count", Value::U32(1)),
        ] {
            assert_keys_refused(&[(name, key, Some(value), "this variant is not served")]);
        }
    }
}

#[test]
fn no_rotation_ignores_what_changes_its_numbers() {
    for (name, place) in [("qwen3-yarn", "rope_scaling"), ("qwen3-yarn", "rope_parameters")] {
        for (key, value) in
            [("truncate", "false"), ("mscale_all_dim", "1.0"), ("extrapolation_factor", "0.5")]
        {
            let changes = format!(r#"{{"{place}.{key}": {value}}}"#);
            assert_refused(&[(name, &changes, &format!("{place}.{key} is {value}: this variant is not"))]);
        }
    }
    let f32 = |value| Some(Value::F32(value));
    assert_keys_refused(&[
        ("qwen3-yarn", "rope.scaling.yarn_ext_factor", f32(0.0), "yarn_ext_factor is f32 0: this variant"),
        ("qwen3-yarn", "rope.scaling.yarn_log_multiplier", f32(0.1), "yarn_log_multiplier is f32 0.1: this"),
    ]);
    for name in ["llama2", "llama-linear"] {
        assert_keys_refused(&[
            (name, "rope.scaling.yarn_ext_factor", f32(1.0), "yarn_ext_factor is f32 1: this variant"),
            (name, "rope.scaling.attn_factor", f32(1.1), "attn_factor is f32 1.1: this variant"),
            (name, "rope.scaling.yarn_attn_factor", f32(1.1), "yarn_attn_factor is f32 1.1: this variant"),
        ]);
    }
}

/// Settings of published models, and of transformers' own when it saves one.
#[test]
fn what_changes_nothing_is_let_through() {
    let (decoders, encoders) = families();
    let common = r#""attention_dropout": 0.0, "initializer_range": 0.02, "torch_dtype": "bfloat16", "use_cache": true,
        "transformers_version": "4.57.0", "_name_or_path": "x", "auto_map": {"AutoConfig": "c.C"}, "bos_token_id": null,
        "eos_token_id": [1, 2], "output_attentions": false, "quantization_config": null"#;
    for name in decoders {
        let own = if name.starts_with("gemma") {
            r#""hidden_act": "gelu_pytorch_tanh", "cache_implementation": "hybrid", "attention_bias": false"#
        } else {
            r#""pretraining_tp": 1, "mlp_bias": false, "router_jitter_noise": 0.0, "attn_logit_softcapping": null,
               "use_mrope": false, "router_aux_loss_coef": 0.001, "output_router_logits": false, "resid_pdrop": 0.0,
               "embd_pdrop": 0.0, "interpolate_factor": 1, "full_attn_mod": 1, "lm_head_bias": false"#
        };
        let neutral = r#""is_causal": true, "use_bidirectional_attention": false, "attention_multiplier": null,
            "logits_scaling": 1.0, "residual_multiplier": 1"#;
        let model = Changed::folder(&name).with(&format!("{{{common}, {own}, {neutral}}}"));
        assert_eq!(model.refusal(), None, "{name}");

        let Some(mut model) = Changed::gguf(&name) else { continue };
        for (key, value) in [
            ("attention.causal", Value::Bool(true)),
            ("attention.clamp_kqv", Value::F32(0.0)),
            ("logit_scale", Value::U32(0)),
            ("residual_scale", Value::F32(1.0)),
            ("rope.scaling.finetuned", Value::Bool(false)),
            ("rope.scaling.yarn_log_multiplier", Value::F32(0.0)),
            ("expert_gating_func", Value::U32(1)),
            ("expert_weights_scale", Value::F32(1.0)),
            ("expert_weights_norm", Value::Bool(true)),
            ("expert_shared_count", Value::U32(0)),
            ("vocab_size", Value::U32(128)),
        ] {
            model = model.with_key(key, Some(value));
        }
        for ext_factor in [if name.contains("yarn") { 1.0 } else { 0.0 }, -1.0] {
            model = model.with_key("rope.scaling.yarn_ext_factor", Some(Value::F32(ext_factor)));
            assert_eq!(model.refusal(), None, "{name}, GGUF");
        }
    }
    for name in encoders {
        let own = r#""hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "classifier_dropout": null,
            "gradient_checkpointing": false, "is_decoder": false, "add_cross_attention": false,
            "position_embedding_type": "absolute", "output_past": true"#;
        assert_eq!(Changed::folder(&name).with(&format!("{{{common}, {own}}}")).refusal(), None, "{name}");
    }
    let sliding = r#"{"rope_parameters.sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                      "attn_logit_softcapping": null}"#;
    assert_eq!(Changed::folder("gemma3").with(sliding).refusal(), None);
    let yarn = r#"{"rope_scaling.truncate": true, "rope_scaling.mscale_all_dim": 0, "rope_scaling.finetuned": true}"#;
    assert_eq!(Changed::folder("qwen3-yarn").with(yarn).refusal(), None);
}
