//! Which tensors a model of each family has, by ggml's names, in the order that a file has them.

use super::{Family, Format, SynthSpec, rope};
use crate::gguf::{StoredType, TensorType};

/// What a tensor's numbers are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Values {
    /// As a trained matrix': products keep the variance of their input.
    Matrix,
    /// As an embedding table's whose rows are the stream itself: of variance 1, so that what a token is outweighs what
    /// layers add.
    Stream,
    /// Between these two.
    Between(f32, f32),
}

impl Values {
    /// The largest magnitude of a tensor with rows of `columns`.
    pub(super) fn reach(self, columns: usize) -> f32 {
        match self {
            Self::Matrix => (3.0 * (1.0 / columns.max(1) as f32)).sqrt(),
            Self::Stream => 3.0f32.sqrt(),
            Self::Between(low, high) => low.abs().max(high.abs()),
        }
    }
}

/// A tensor to make.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// ggml's name.
    pub(super) name: String,
    /// The contiguous dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: StoredType,
    pub(super) values: Values,
}

impl Tensor {
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn bytes(&self) -> usize {
        self.elements() / self.kind.block_elements() * self.kind.block_bytes()
    }
}

/// Every tensor of `spec`, which was checked.
pub(super) fn tensors(spec: &SynthSpec) -> Vec<Tensor> {
    let mut list = List { spec, tensors: Vec::new() };
    if spec.family.is_encoder() {
        list.encoder()
    } else {
        list.decoder()
    }
    list.tensors
}

struct List<'a> {
    spec: &'a SynthSpec,
    tensors: Vec<Tensor>,
}

impl List<'_> {
    fn add(&mut self, name: String, shape: &[usize], kind: TensorType, values: Values) {
        self.tensors.push(Tensor { name, shape: shape.to_vec(), kind: kind.into(), values });
    }

    fn table(&mut self, name: &str, rows: usize) {
        let columns = self.spec.shape.embedding;
        self.add(name.to_owned(), &[columns, rows], self.spec.embeddings, Values::Matrix);
    }

    fn matrix(&mut self, name: String, columns: usize, rows: usize) {
        self.add(name, &[columns, rows], self.spec.matrices, Values::Matrix);
    }

    fn norm(&mut self, name: String, length: usize) {
        self.add(name, &[length], TensorType::F32, Values::Between(0.5, 1.5));
    }

    fn bias(&mut self, name: String, length: usize) {
        self.add(name, &[length], TensorType::F32, Values::Between(-0.1, 0.1));
    }

    fn decoder(&mut self) {
        let shape = self.spec.shape.clone();
        self.table("token_embd.weight", shape.vocabulary);
        if !shape.tied {
            if let (Some(table), false) = (self.tensors.last_mut(), self.spec.family.is_gemma()) {
                // A table that is the head too has a head's magnitudes, and Gemma multiplies it up.
                table.values = Values::Stream;
            }
            self.table("output.weight", shape.vocabulary);
        }
        self.norm("output_norm.weight".to_owned(), shape.embedding);
        if self.spec.format == Format::Gguf {
            self.tensors.extend(rope::tensors(self.spec));
        }
        for layer in 0..shape.layers {
            self.attention(layer);
            self.feed_forward(layer);
        }
    }

    fn attention(&mut self, layer: usize) {
        let (family, shape) = (self.spec.family, self.spec.shape.clone());
        let (embedding, queries, kv) = (shape.embedding, shape.query_width(), shape.kv_width());
        let name = |part: &str| format!("blk.{layer}.{part}");
        self.norm(name("attn_norm.weight"), embedding);
        if family == Family::Phi3 {
            self.matrix(name("attn_qkv.weight"), embedding, queries + 2 * kv);
        } else {
            for (part, rows) in [("attn_q", queries), ("attn_k", kv), ("attn_v", kv)] {
                self.matrix(name(&format!("{part}.weight")), embedding, rows);
                if family == Family::Qwen2 {
                    self.bias(name(&format!("{part}.bias")), rows);
                }
            }
        }
        if family.has_head_norms() {
            self.norm(name("attn_q_norm.weight"), shape.head);
            self.norm(name("attn_k_norm.weight"), shape.head);
        }
        self.matrix(name("attn_output.weight"), queries, embedding);
        if family.is_gemma() {
            self.norm(name("post_attention_norm.weight"), embedding);
        }
    }

    fn feed_forward(&mut self, layer: usize) {
        let (family, shape) = (self.spec.family, self.spec.shape.clone());
        let (embedding, inner) = (shape.embedding, shape.feed_forward);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        self.norm(name("ffn_norm"), embedding);
        if family.is_mixture() {
            let (count, inner) = (shape.experts, shape.expert_feed_forward);
            // Routers are never quantised: a token at the wrong expert is a large error.
            self.add(name("ffn_gate_inp"), &[embedding, count], TensorType::F32, Values::Matrix);
            for (part, columns, rows) in [
                ("ffn_gate_exps", embedding, inner),
                ("ffn_up_exps", embedding, inner),
                ("ffn_down_exps", inner, embedding),
            ] {
                self.add(name(part), &[columns, rows, count], self.spec.matrices, Values::Matrix);
            }
        } else if family == Family::Phi3 {
            self.matrix(name("ffn_up"), embedding, 2 * inner);
            self.matrix(name("ffn_down"), inner, embedding);
        } else {
            self.matrix(name("ffn_gate"), embedding, inner);
            self.matrix(name("ffn_up"), embedding, inner);
            self.matrix(name("ffn_down"), inner, embedding);
        }
        if family.is_gemma() {
            self.norm(name("post_ffw_norm"), embedding);
        }
    }

    fn encoder(&mut self) {
        let (family, shape) = (self.spec.family, self.spec.shape.clone());
        let (embedding, inner) = (shape.embedding, shape.feed_forward);
        // RoBERTa keeps places for padding before the first position.
        let (types, positions) = match family {
            Family::Bert => (2, shape.context),
            _ => (1, shape.context + 2),
        };
        self.table("token_embd.weight", shape.vocabulary);
        self.table("token_types.weight", types);
        self.table("position_embd.weight", positions);
        self.norm("token_embd_norm.weight".to_owned(), embedding);
        self.bias("token_embd_norm.bias".to_owned(), embedding);
        for layer in 0..shape.layers {
            for (part, columns, rows) in [
                ("attn_q", embedding, embedding),
                ("attn_k", embedding, embedding),
                ("attn_v", embedding, embedding),
                ("attn_output", embedding, embedding),
                ("ffn_up", embedding, inner),
                ("ffn_down", inner, embedding),
            ] {
                self.matrix(format!("blk.{layer}.{part}.weight"), columns, rows);
                self.bias(format!("blk.{layer}.{part}.bias"), rows);
            }
            for part in ["attn_output_norm", "layer_output_norm"] {
                self.norm(format!("blk.{layer}.{part}.weight"), embedding);
                self.bias(format!("blk.{layer}.{part}.bias"), embedding);
            }
        }
        if self.spec.reranker {
            for (part, rows) in [("cls", embedding), ("cls.output", 1)] {
                self.matrix(format!("{part}.weight"), embedding, rows);
                self.bias(format!("{part}.bias"), rows);
            }
        }
    }
}
