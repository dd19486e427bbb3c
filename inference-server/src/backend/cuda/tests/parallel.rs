//! Several emulated cards against one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Small, with heads and columns that two and four cards share in whole blocks of `kind`: of 256, two.
pub(super) fn shared_spec(family: Family, kind: TensorType) -> SynthSpec {
    let tiny = Shape::named("tiny", family).unwrap();
    let width = if kind.block_elements() == 256 { 512 } else { 128 };
    let shape = Shape {
        embedding: width / 2,
        heads: 8,
        kv_heads: 4,
        head: width / 8,
        feed_forward: width,
        expert_feed_forward: if family.is_mixture() { width } else { 0 },
        ..tiny
    };
    SynthSpec { seed: 11, ..SynthSpec::new(family, shape, Format::Gguf, kind) }
}

fn devices(of: usize) -> Vec<EmulatedDevice> {
    EmulatedDevice::group(of, 1 << 30)
}

pub(super) fn boxed(devices: Vec<EmulatedDevice>) -> Vec<Box<dyn Device>> {
    devices.into_iter().map(|device| Box::new(device) as Box<dyn Device>).collect()
}

fn load_on(source: &dyn TensorSource, devices: Vec<EmulatedDevice>) -> Result<CudaBackend, LoadError> {
    CudaBackend::load_on(boxed(devices), source, &[], &OPTIONS, &mut |_| ())
}

/// Kullback-Leibler divergence of two rows of logits.
fn divergence(found: &[f32], expected: &[f32]) -> f64 {
    let logarithms = |row: &[f32]| {
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        row.iter().map(|x| f64::from(*x) - sum.ln()).collect::<Vec<_>>()
    };
    let pairs = logarithms(expected).into_iter().zip(logarithms(found));
    pairs.map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Logits of a prompt, in two chunks, and of what follows it greedily, drawn where the logits are.
fn text(backend: &mut CudaBackend) -> (Vec<Vec<f32>>, Vec<u32>) {
    let (prompt, table) = (tokens(90, 4), blocks(2..10));
    let mut logits = rows(backend, &[chunk(&prompt[..20], 0, &table, LogitsWanted::All)]);
    // More than the library takes over from, and only the last is wanted.
    logits.extend(rows(backend, &[chunk(&prompt[20..], 20, &table, LogitsWanted::Last)]));
    let greedy = SamplingParams { temperature: 0.0, ..SamplingParams::default() };
    let mut text = vec![7];
    for position in 90..96 {
        let last = text[text.len() - 1..].to_vec();
        let how = Sampler::new(greedy.clone(), &last).prepare();
        let step = chunk(&last, position, &table, LogitsWanted::Last);
        logits.extend(rows(backend, std::slice::from_ref(&step)));
        let drawn = draw(backend, &[step], &[how]);
        text.push(drawn.into_iter().next().unwrap().unwrap().token);
    }
    (logits, text)
}

fn recorded(backend: &CudaBackend) -> usize {
    backend.recordings.states().filter(|state| matches!(state, Recorded::As(_))).count()
}

fn check(family: Family, kind: TensorType, several: &[usize]) {
    let source = NotedFile::new(&shared_spec(family, kind));
    let (expected, greedy) = text(&mut card(&source, &OPTIONS).unwrap());
    for &of in several {
        let mut backend = load_on(&source, devices(of)).unwrap();
        let (found, followed) = text(&mut backend);
        let divergences = found.iter().zip(&expected).map(|(found, expected)| divergence(found, expected));
        let mean = divergences.sum::<f64>() / expected.len() as f64;
        assert!(mean < 1e-3, "{family:?} in {kind} on {of} cards: {mean:e}");
        assert_eq!(followed, greedy, "{family:?} in {kind} on {of} cards");
        assert!(recorded(&backend) > 0);
        // What was recorded computes what was not: each step came twice.
        let mut again = load_on(&source, devices(of)).unwrap();
        assert_eq!(text(&mut again), (found, followed), "{family:?} in {kind} on {of} cards, again");
    }
}

macro_rules! families {
    ($($test:ident: $family:ident, $kind:ident, $several:expr;)*) => {
        $(#[test] fn $test() { check(Family::$family, TensorType::$kind, &$several); })*
    };
}

families! {
    llama_of_wide_blocks: Llama, Q4K, [2];
    llama: Llama, Q8_0, [2, 4];
    llama_of_halves_made_of_another_type: Llama, Q5_0, [2];
    biases: Qwen2, F16, [2];
    normalised_heads: Qwen3, BF16, [4];
    fused_projections: Phi3, Q8_0, [2, 4];
    normalised_branches: Gemma2, BF16, [2, 4];
    windows: Gemma3, Q8_0, [2];
    experts: Mixtral, Q8_0, [2, 4];
    experts_of_qwen: Qwen3Moe, Q4_0, [2];
}

#[test]
fn a_card_holds_its_part_alone() {
    let source = NotedFile::new(&shared_spec(Family::Llama, TensorType::Q8_0));
    let alone = card(&source, &OPTIONS).unwrap().description();
    let shared = load_on(&source, devices(4)).unwrap().description();
    assert_eq!(shared.kv_bytes, alone.kv_bytes);
    assert_eq!((shared.kv_blocks, shared.kernels.as_str()), (alone.kv_blocks, "4 x emulator"));
    // The table four times, all else once: the head is the first's.
    let spec = shared_spec(Family::Llama, TensorType::Q8_0);
    let table = (spec.shape.vocabulary * spec.shape.embedding) as u64 * 34 / 32;
    assert_eq!(shared.weight_bytes, alone.weight_bytes + 3 * table);
}

#[test]
fn keys_and_values_get_what_the_fullest_card_has_left() {
    let source = NotedFile::new(&shared_spec(Family::Llama, TensorType::Q8_0));
    let blocks = |taken: u64, kv| {
        let mut devices = EmulatedDevice::group(2, 64 << 20);
        devices[1].allocate(taken).unwrap();
        let options = CudaOptions { kv, ..OPTIONS };
        let loaded = CudaBackend::load_on(boxed(devices), &source, &[], &options, &mut |_| ());
        loaded.map(|backend| backend.description().kv_blocks)
    };
    let (all, less) = (blocks(1, None).unwrap(), blocks(16 << 20, None).unwrap());
    assert!(less > 0 && less < all, "{less} of {all}");
    let refused = blocks(63 << 20, None).unwrap_err().to_string();
    assert!(refused.contains("are free on card 2 of the 2 that share the model"), "{refused}");
    // A size is that of all cards together.
    let sized = Some(KvMemory::Bytes(4 << 20));
    let one = card(&source, &CudaOptions { kv: sized, ..OPTIONS }).unwrap();
    assert_eq!(blocks(1, sized).unwrap(), one.description().kv_blocks);
}

#[test]
fn what_cannot_be_shared_out_is_refused_with_the_reason() {
    let said =
        |spec: SynthSpec, of: usize| load_on(&NotedFile::new(&spec), devices(of)).unwrap_err().to_string();
    let of = |change: fn(&mut Shape), kind| {
        let mut spec = shared_spec(Family::Llama, kind);
        change(&mut spec.shape);
        spec
    };
    let q8 = TensorType::Q8_0;
    assert_eq!(
        said(of(|_| (), q8), 3),
        "the GPU: its 8 heads can't be shared out to 3 cards: take a number that divides them"
    );
    let kv = said(of(|shape| shape.kv_heads = 2, q8), 4);
    assert!(kv.contains("its 2 heads of keys and values can't be shared out to 4 cards"), "{kv}");
    let inner = said(of(|shape| shape.feed_forward = 514, TensorType::F16), 4);
    assert!(inner.contains("its 514 columns of a feed-forward part can't be shared out to 4"), "{inner}");
    let blocks = said(of(|_| (), TensorType::Q4K), 4);
    assert_eq!(
        blocks,
        "the GPU: each of 4 cards would have 128 columns of blk.0.attn_output.weight, which is Q4_K in blocks of 256: \
         take fewer cards, or another type of weights"
    );
}

/// Cards that compute together, and a switch by which each fails.
fn that_fail(source: &dyn TensorSource, of: usize) -> (CudaBackend, Vec<Arc<AtomicBool>>) {
    let devices = devices(of);
    let fails = devices.iter().map(EmulatedDevice::fails).collect();
    (load_on(source, devices).unwrap(), fails)
}

#[test]
fn a_card_that_fails_ends_the_step_with_its_words_and_hangs_nobody() {
    let source = NotedFile::new(&shared_spec(Family::Llama, TensorType::Q8_0));
    let (prompt, table) = (tokens(5, 1), blocks(0..1));
    let whole = chunk(&prompt, 0, &table, LogitsWanted::Last);
    let next = chunk(&prompt[..1], 5, &table, LogitsWanted::Last);
    // As a prompt, as a step that is to be recorded, and as one that is replayed.
    for before in 0..3 {
        for failing in 0..3 {
            let (mut backend, fails) = that_fail_after(&source, &whole, &next, before);
            fails[failing].store(true, Ordering::Relaxed);
            let step = if before == 0 { &whole } else { &next };
            let mut logits = Logits::default();
            let error = backend.forward(std::slice::from_ref(step), &mut logits).unwrap_err();
            let BackendError::Lost { device: _, problem } = error else { panic!("{error}") };
            assert!(
                problem.contains(&format!("rank {failing} failed: kernel "))
                    && problem.contains("told to fail"),
                "{before}: {problem}"
            );
            // No later step does better.
            fails[failing].store(false, Ordering::Relaxed);
            let error = backend.forward(std::slice::from_ref(step), &mut logits).unwrap_err();
            assert!(matches!(error, BackendError::Lost { .. }), "{error}");
        }
    }
}

/// The same where the prompt and `before` steps were computed.
fn that_fail_after(
    source: &dyn TensorSource,
    whole: &SequenceChunk<'_>,
    next: &SequenceChunk<'_>,
    before: usize,
) -> (CudaBackend, Vec<Arc<AtomicBool>>) {
    let (mut backend, fails) = that_fail(source, 4);
    if before > 0 {
        rows(&mut backend, std::slice::from_ref(whole));
    }
    for _ in 0..before {
        rows(&mut backend, std::slice::from_ref(next));
    }
    (backend, fails)
}

#[test]
fn a_step_that_is_refused_is_no_cards_end() {
    let source = NotedFile::new(&shared_spec(Family::Llama, TensorType::Q8_0));
    let mut backend = load_on(&source, devices(2)).unwrap();
    let (prompt, table) = (tokens(129, 1), blocks(0..9));
    let long = chunk(&prompt, 0, &table, LogitsWanted::Last);
    let error = backend.forward(&[long], &mut Logits::default()).unwrap_err();
    assert!(matches!(error, BackendError::InvalidChunk { .. }), "{error}");
    // Nothing is wanted of this one, and more than there is room for of the next.
    assert!(rows(&mut backend, &[chunk(&prompt[..8], 0, &table, LogitsWanted::None)]).is_empty());
    assert_eq!(rows(&mut backend, &[chunk(&prompt[8..108], 8, &table, LogitsWanted::All)]).len(), 100);
}
