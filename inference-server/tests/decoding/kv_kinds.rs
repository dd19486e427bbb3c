//! Keys and values kept in halves and in int8, of every family: how far logits come from those with floats. Encoders keep
//! none: theirs are of one layer, and floats.

use weighbridge_inference_server::backend::cpu::{CpuBackend, KvKind};
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::kernels::Isa;
use weighbridge_inference_server::synth::{Family, Format, Shape, SynthSpec};

use super::support::{blocks, cut, load, open, tokens};

/// Logits of every token of a prompt, in chunks.
fn run(backend: &mut CpuBackend, tokens: &[u32]) -> Vec<f32> {
    cut(backend, tokens, &blocks(0..6), &[33]).concat()
}

/// Largest distance of two values, as a share of the largest of the second.
fn difference(found: &[f32], exact: &[f32]) -> f32 {
    let largest = exact.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    found.iter().zip(exact).fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / largest
}

/// The largest distance of a logit, as a share of the largest logit, with F16 and with Q8_0: three times what is seen.
fn bounds(family: Family) -> Option<(f32, f32)> {
    match family {
        Family::Llama => Some((1e-3, 0.02)),
        Family::Mistral => Some((1e-3, 0.02)),
        Family::Mixtral => Some((1e-3, 0.016)),
        Family::Qwen2 => Some((7e-4, 0.016)),
        Family::Qwen3 => Some((7e-4, 0.023)),
        Family::Qwen3Moe => Some((6e-4, 0.017)),
        Family::Gemma2 => Some((1.2e-3, 0.028)),
        Family::Gemma3 => Some((3.2e-3, 0.053)),
        Family::Phi3 => Some((8e-4, 0.016)),
        Family::Bert | Family::XlmRoberta => None,
    }
}

#[test]
fn smaller_keys_and_values_keep_every_familys_logits_near() {
    for family in Family::ALL {
        let Some((halves, int8)) = bounds(family) else { continue };
        let shape = Shape {
            // Every sixth layer of Gemma 3 sees everything.
            layers: if family == Family::Gemma3 { 6 } else { 2 },
            embedding: 64,
            heads: 2,
            kv_heads: 1,
            head: 32,
            feed_forward: 64,
            expert_feed_forward: if family.is_mixture() { 64 } else { 0 },
            // All of them: a rounding that sends a token to another expert is no distance.
            experts_used: if family.is_mixture() { 8 } else { 0 },
            ..Shape::named("tiny", family).unwrap()
        };
        // Float weights: what is seen is what the cache rounds, and nothing else.
        let spec = SynthSpec::new(family, shape, Format::Gguf, TensorType::F32);
        let model = open(&spec);
        for isa in Isa::available() {
            let logits = |kv_kind| run(&mut load(&model, isa, kv_kind), &tokens(90, 512));
            let exact = logits(KvKind::F32);
            for (kv_kind, bound) in [(KvKind::F16, halves), (KvKind::Q8_0, int8)] {
                let error = difference(&logits(kv_kind), &exact);
                let what = format!("{}, {kv_kind:?}, {}", family.name(), isa.name());
                assert!(error > 0.0, "{what}: nothing was rounded");
                assert!(error < bound, "{what}: {error:.1e}");
            }
        }
    }
}
