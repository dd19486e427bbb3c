//! Batch invariance: what a step computes beside a token, and how its prompt was cut, changes no bit of its logits.

use weighbridge_inference_server::backend::cpu::{CpuBackend, KvKind};
use weighbridge_inference_server::gguf::{GgufFile, TensorType};
use weighbridge_inference_server::kernels::Isa;
use weighbridge_inference_server::kv::BlockId;
use weighbridge_inference_server::synth::{Family, Format, Shape, SynthSpec};

use super::support::{blocks, cut, load, open, part, step, tokens};

/// Every kind of cache.
const KV_KINDS: [KvKind; 3] = [KvKind::F32, KvKind::F16, KvKind::Q8_0];

/// Rows of a step, and how many of them are one prompt's: one, two, one more than the blocked kernels begin at, and some
/// tiles with a rest.
const STEPS: [(usize, usize); 5] = [(1, 1), (2, 1), (17, 1), (17, 9), (40, 21)];

/// A model of `family` with rows of `width`, small enough to run some thousand of them.
fn model(family: Family, kind: TensorType, width: usize) -> GgufFile {
    let shape = Shape {
        // Every sixth layer of Gemma 3 sees everything, and the first does not.
        layers: if family == Family::Gemma3 { 6 } else { 2 },
        embedding: width,
        heads: width / 32,
        kv_heads: width / 64,
        feed_forward: width,
        expert_feed_forward: if family.is_mixture() { width } else { 0 },
        vocabulary: 97,
        context: 1024,
        window: family.has_window().then_some(11),
        ..Shape::named("tiny", family).unwrap()
    };
    let spec = SynthSpec::new(family, shape, Format::Gguf, kind);
    let spec = SynthSpec { embeddings: kind, tokenizer: false, ..spec };
    open(&spec)
}

fn bits(rows: &[Vec<f32>]) -> Vec<u32> {
    rows.iter().flatten().map(|x| x.to_bits()).collect()
}

/// Holds every row of `tokens`, cut at `sizes` and in each step, to the bits of its own step of one row.
fn check(backend: &mut CpuBackend, tokens: &[u32], sizes: &[usize], what: &str) {
    let length = tokens.len();
    let mine = blocks(0..length.div_ceil(16) as u32);
    let alone = bits(&cut(backend, tokens, &mine, &[1]));
    let width = alone.len() / length;
    let found = bits(&cut(backend, tokens, &mine, sizes));
    assert!(found == alone, "{what}: a prompt cut at {sizes:?}");
    // The other rows: a prompt, and sequences of one token each.
    let (prompt, prompt_table) = (super::support::tokens(20, 89), blocks(40..42));
    let single_tables: Vec<Vec<BlockId>> = (42..64).map(|id| blocks([id])).collect();
    for (rows, own) in STEPS {
        let others = rows - own;
        let prompt_rows = others / 2;
        let mut batch = Vec::new();
        if prompt_rows > 0 {
            batch.push(part(&prompt, 0, prompt_rows, &prompt_table));
        }
        batch.push(part(tokens, length - own, length, &mine));
        for (index, table) in single_tables.iter().enumerate().take(others - prompt_rows) {
            batch.push(part(&prompt[index % 20..], 0, 1, table));
        }
        let found = bits(&step(backend, &batch)[prompt_rows..prompt_rows + own]);
        assert!(found == alone[(length - own) * width..], "{what}: {own} rows in a step of {rows}");
    }
}

/// On every instruction set, all of which but portable Rust, which has no fused multiply-add, give the same bits.
fn check_everywhere(model: &GgufFile, kv_kind: KvKind, what: &str) {
    let tokens = tokens(23, 97);
    let mut fused: Option<(Isa, Vec<u32>)> = None;
    for isa in Isa::available() {
        let mut backend = load(model, isa, kv_kind);
        check(&mut backend, &tokens, &[5, 1, 17], &format!("{what}, {kv_kind:?}, {}", isa.name()));
        if isa == Isa::Portable {
            continue;
        }
        let found = bits(&cut(&mut backend, &tokens, &blocks(0..2), &[tokens.len()]));
        let (first, wanted) = fused.get_or_insert_with(|| (isa, found.clone()));
        assert!(
            found == *wanted,
            "{what}, {kv_kind:?}: {} gives other bits than {}",
            isa.name(),
            first.name()
        );
    }
}

#[test]
fn the_rest_of_a_step_changes_no_bit_of_any_type() {
    for kind in TensorType::ALL {
        check_everywhere(&model(Family::Llama, kind, 256), KvKind::F16, kind.name());
    }
}

/// Experts, which get other numbers of rows in other steps; layers with a window; and every kind of cache.
#[test]
fn the_rest_of_a_step_changes_no_bit_of_any_family_or_cache() {
    for family in Family::ALL.into_iter().filter(|family| !family.is_encoder()) {
        for kind in [TensorType::F32, TensorType::Q8_0] {
            let model = model(family, kind, 64);
            for kv_kind in KV_KINDS {
                check_everywhere(&model, kv_kind, &format!("{} in {kind}", family.name()));
            }
        }
    }
}

/// Positions are attended to 256 and 512 at a time: a long prompt and a window end within such spans, and where a step has
/// few rows, threads share them out.
#[test]
fn the_rest_of_a_step_changes_no_bit_far_into_a_context() {
    for (family, kv_kinds) in [(Family::Llama, KV_KINDS.as_slice()), (Family::Gemma3, &[KvKind::F16])] {
        let shape = Shape {
            layers: if family == Family::Gemma3 { 6 } else { 1 },
            embedding: 64,
            heads: 2,
            kv_heads: 1,
            feed_forward: 32,
            vocabulary: 97,
            context: 1024,
            window: (family == Family::Gemma3).then_some(270),
            ..Shape::named("tiny", family).unwrap()
        };
        let spec = SynthSpec::new(family, shape, Format::Gguf, TensorType::F32);
        let spec = SynthSpec { tokenizer: false, ..spec };
        let model = open(&spec);
        for &kv_kind in kv_kinds {
            for isa in Isa::available() {
                let mut backend = load(&model, isa, kv_kind);
                let what = format!("{}, {kv_kind:?}, {}", family.name(), isa.name());
                check(&mut backend, &tokens(560, 97), &[251, 2, 17, 61], &what);
            }
        }
    }
}
