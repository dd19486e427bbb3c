//! How safetensors call and cut the tensors that ggml names.

use super::tensors::{Tensor, Values};
use super::{Family, SynthSpec};
use crate::gguf::StoredType;

type Part = (&'static str, &'static str);

const DECODER: &[Part] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const GEMMA: &[Part] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

const MIXTRAL: &[Part] = &[
    ("ffn_gate_inp", "block_sparse_moe.gate"),
    ("ffn_gate_exps", "block_sparse_moe.experts.{}.w1"),
    ("ffn_up_exps", "block_sparse_moe.experts.{}.w3"),
    ("ffn_down_exps", "block_sparse_moe.experts.{}.w2"),
];

const QWEN3_MOE: &[Part] = &[
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
    ("ffn_up_exps", "mlp.experts.{}.up_proj"),
    ("ffn_down_exps", "mlp.experts.{}.down_proj"),
];

const PHI3: &[Part] = &[("ffn_up", "mlp.gate_up_proj")];

const BERT: &[Part] = &[
    ("token_embd", "embeddings.word_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];

/// Classifiers lie beside what they read, which then has a name of its own.
const BERT_HEADS: &[Part] = &[("cls", "bert.pooler.dense"), ("cls.output", "classifier")];
const ROBERTA_HEADS: &[Part] = &[("cls", "classifier.dense"), ("cls.output", "classifier.out_proj")];

/// `tensor` as safetensors have it: under another name, each expert alone, all of one type, with scales where it has some.
pub(super) fn stored(spec: &SynthSpec, tensor: &Tensor) -> Vec<Tensor> {
    let (own, layers): (&[Part], _) = match spec.family {
        Family::Gemma2 | Family::Gemma3 => (GEMMA, "model.layers"),
        Family::Mixtral => (MIXTRAL, "model.layers"),
        Family::Qwen3Moe => (QWEN3_MOE, "model.layers"),
        Family::Phi3 => (PHI3, "model.layers"),
        Family::Bert | Family::XlmRoberta => (BERT, "encoder.layer"),
        _ => (&[], "model.layers"),
    };
    let (heads, root): (&[Part], _) = match spec.family {
        Family::Bert if spec.reranker => (BERT_HEADS, "bert."),
        Family::XlmRoberta if spec.reranker => (ROBERTA_HEADS, "roberta."),
        _ => (&[], ""),
    };
    let (layer, part) = match tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((index, part)) => (format!("{layers}.{index}."), part),
        None => (String::new(), tensor.name.as_str()),
    };
    let (part, ending) = part.rsplit_once('.').unwrap_or((part, "weight"));
    let named = |parts: &[Part]| parts.iter().find(|(ggml, _)| *ggml == part).map(|(_, stored)| *stored);
    let (root, part) = match named(heads) {
        Some(head) => ("", head),
        None => (root, named(own).or_else(|| named(DECODER)).unwrap_or(part)),
    };
    let mut values = tensor.values;
    if spec.family.is_gemma() && tensor.shape.len() == 1 {
        // There the weight stands for 1 + weight.
        values = Values::Between(-0.5, 0.5);
    }
    let one = |name: String, shape: &[usize]| Tensor {
        name,
        shape: shape.to_vec(),
        // Checkpoints keep norms and routers in the type of everything else.
        kind: if tensor.shape.len() == 1 { spec.matrices.into() } else { stored_kind(spec, tensor) },
        values,
    };
    let stored: Vec<Tensor> = match tensor.shape.as_slice() {
        [columns, rows, experts] => (0..*experts)
            .map(|expert| {
                let part = part.replace("{}", &expert.to_string());
                one(format!("{root}{layer}{part}.{ending}"), &[*columns, *rows])
            })
            .collect(),
        shape => vec![one(format!("{root}{layer}{part}.{ending}"), shape)],
    };
    // Of layers alone, and no routers: what quantisers leave out.
    let is_quantized = !layer.is_empty() && tensor.shape.len() > 1 && !is_router(tensor);
    match spec.e4m3.filter(|_| is_quantized) {
        Some(e4m3) => stored.into_iter().flat_map(|matrix| e4m3.stored(matrix)).collect(),
        None => stored,
    }
}

fn stored_kind(spec: &SynthSpec, tensor: &Tensor) -> StoredType {
    if is_router(tensor) { spec.matrices.into() } else { tensor.kind }
}

fn is_router(tensor: &Tensor) -> bool {
    tensor.name.contains("ffn_gate_inp")
}
