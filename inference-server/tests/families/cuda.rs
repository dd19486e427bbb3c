//! The same goldens on the CUDA backend, whose card is the emulator: activations are bfloat16 there, so that nearness is
//! told by what a sampler sees, the distributions.

use weighbridge_cuda::device::Device;
use weighbridge_cuda_emulator::EmulatedDevice;
use weighbridge_inference_server::backend::cpu::LoadError;
use weighbridge_inference_server::backend::cuda::{CacheKind, CudaBackend, CudaOptions};

use super::*;

/// Divergence of the model's next token from the golden's, in nats: the mean of all positions, and the most of any.
const MEAN_DIVERGENCE: f64 = 1e-3;
const MOST_DIVERGENCE: f64 = 2e-2;

fn load(
    source: &dyn TensorSource,
    adapters: &[(String, AdapterFile)],
    context: Option<usize>,
) -> CudaBackend {
    load_with(source, adapters, context, CacheKind::F16)
}

fn load_with(
    source: &dyn TensorSource,
    adapters: &[(String, AdapterFile)],
    context: Option<usize>,
    cache: CacheKind,
) -> CudaBackend {
    let device = Box::new(EmulatedDevice::new(1 << 30));
    CudaBackend::load(device, source, adapters, &options_of(cache, context), &mut |_| ())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The same on two cards.
fn load_on_two(
    source: &dyn TensorSource,
    adapters: &[(String, AdapterFile)],
    context: Option<usize>,
) -> Result<CudaBackend, LoadError> {
    let devices = EmulatedDevice::group(2, 1 << 30).into_iter();
    let devices = devices.map(|device| Box::new(device) as Box<dyn Device>).collect();
    CudaBackend::load_on(devices, source, adapters, &options_of(CacheKind::F16, context), &mut |_| ())
}

fn options_of(cache: CacheKind, context: Option<usize>) -> CudaOptions {
    CudaOptions {
        kv: Some(KvMemory::Blocks(16)),
        cache,
        step_tokens: 256,
        sequences: 4,
        context_length: context,
        sleeps: false,
    }
}

/// Natural logarithms of a row's probabilities.
fn logarithms(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
    row.iter().map(|x| f64::from(x - most) - sum.ln()).collect()
}

/// Kullback-Leibler divergence of `found` from `expected`, and by how much the golden holds its likeliest token for
/// likelier than the one that was found.
fn divergence(found: &[f32], expected: &[f32]) -> (f64, f64) {
    let (p, q) = (logarithms(expected), logarithms(found));
    let sum = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
    (sum, p[argmax(expected) as usize] - p[argmax(found) as usize])
}

/// Holds the backend to a golden: the prompt whole, then in two chunks, then step by step.
fn hold(name: &str, backend: &mut CudaBackend, case: &Case, positions: usize, adapter: Option<AdapterId>) {
    let blocks: Vec<BlockId> = (0..16).map(BlockId).collect();
    let (vocabulary, mut logits) = (backend.vocabulary_size(), Logits::default());
    let mut divergences: Vec<f64> = Vec::new();
    let mut near = |what: &str, found: &[f32], expected: &[f32]| {
        let (divergence, lead) = divergence(found, expected);
        // 0 but for near-ties. These adapters make logits several times as large, and with them what rounding does.
        let near_tie = if adapter.is_some() { 0.2 } else { 0.05 };
        assert!(
            lead < near_tie,
            "{name}, {what}: another token is the likeliest, whose golden is {lead} less likely"
        );
        divergences.push(divergence);
    };
    let row = |position: usize| &case.prefill[position * vocabulary..][..vocabulary];
    let half = case.prompt.len() / 2;
    for cuts in [&[0, case.prompt.len()][..], &[0, half, case.prompt.len()]] {
        for part in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            let (start, tokens) = (part.start, &case.prompt[part.clone()]);
            let chunk = SequenceChunk { tokens, start, blocks: &blocks, logits: LogitsWanted::All, adapter };
            backend.forward(&[chunk], &mut logits).unwrap();
            for position in part.filter(|position| *position < positions) {
                near("prefill", logits.row(position - start).unwrap(), row(position));
            }
        }
    }
    let steps = if positions < case.prompt.len() { 0 } else { usize::MAX };
    for (step, expected) in case.steps.chunks_exact(vocabulary).take(steps).enumerate() {
        let (tokens, start) = (&case.greedy[step..step + 1], case.prompt.len() + step);
        let chunk = SequenceChunk { tokens, start, blocks: &blocks, logits: LogitsWanted::Last, adapter };
        backend.forward(&[chunk], &mut logits).unwrap();
        near("step", logits.row(0).unwrap(), expected);
    }
    let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
    let most = divergences.iter().copied().fold(0.0, f64::max);
    println!("{name} on the emulated card: {mean:.1e}, at most {most:.1e}");
    assert!(mean < MEAN_DIVERGENCE && most < MOST_DIVERGENCE, "{name}: {mean:e}, at most {most:e}");
}

/// As `super::check`.
fn check(name: &str, part: &str, context: Option<usize>, gguf: Option<usize>) {
    let case = case(name, part);
    let source = SafetensorsFolder::open(&folder(name)).unwrap();
    hold(name, &mut load(&source, &[], context), &case, usize::MAX, None);
    if let Some(positions) = gguf {
        let source = GgufFile::open(&folder(name).join("model.gguf")).unwrap();
        hold(name, &mut load(&source, &[], context), &case, positions, None);
    }
}

macro_rules! families {
    ($($test:ident: $name:literal, $gguf:expr;)*) => {
        $(#[test] fn $test() { check($name, "main", None, $gguf); })*
    };
}

families! {
    llama_2: "llama2", Some(usize::MAX);
    llama_3: "llama3", None;
    smollm2: "smollm2", None;
    mistral: "mistral", None;
    mixtral: "mixtral", Some(usize::MAX);
    qwen2: "qwen2", None;
    qwen2_windows: "qwen2-windows", None;
    qwen2_yarn: "qwen2-yarn", None;
    qwen3: "qwen3", Some(usize::MAX);
    qwen3_moe: "qwen3-moe", Some(usize::MAX);
    qwen3_moe_mixed: "qwen3-moe-mixed", None;
    gemma2: "gemma2", Some(usize::MAX);
    gemma3: "gemma3", Some(usize::MAX);
    phi3: "phi3", Some(usize::MAX);
    phi4_mini_long: "phi4-mini-long", None;
}

#[test]
fn two_cards() {
    for name in
        ["llama2", "llama3", "mistral", "mixtral", "qwen2", "qwen3", "qwen3-moe", "gemma2", "gemma3", "phi3"]
    {
        let source = SafetensorsFolder::open(&folder(name)).unwrap();
        let mut backend = load_on_two(&source, &[], None).unwrap_or_else(|error| panic!("{name}: {error}"));
        hold(&format!("{name} twice"), &mut backend, &case(name, "main"), usize::MAX, None);
    }
    let source = SafetensorsFolder::open(&folder("smollm2")).unwrap();
    let said = load_on_two(&source, &[], None).unwrap_err().to_string();
    assert!(said.contains("its 1 heads of keys and values can't be shared out to 2 cards"), "{said}");
    let tone = AdapterFile::open(&adapter("llama2-all", "")).unwrap();
    let source = SafetensorsFolder::open(&folder("llama2")).unwrap();
    let said = load_on_two(&source, &[("tone".to_owned(), tone)], None).unwrap_err().to_string();
    assert!(said.contains("adapters are served on one card"), "{said}");
}

#[test]
fn adapters() {
    for (name, base) in [
        ("llama2-all", "llama2"),
        ("qwen3-stabilised", "qwen3"),
        ("gemma3-all", "gemma3"),
        ("phi3-fused", "phi3"),
    ] {
        let bytes = std::fs::read(adapter(name, "expected.safetensors")).unwrap();
        let golden = case_of(&SafeTensors::deserialize(&bytes).unwrap(), "main");
        let file = AdapterFile::open(&adapter(name, "")).unwrap();
        let source = SafetensorsFolder::open(&folder(base)).unwrap();
        let mut backend = load(&source, &[("tone".to_owned(), file)], None);
        hold(name, &mut backend, &golden, usize::MAX, Some(AdapterId(0)));
        hold(base, &mut backend, &case(base, "main"), usize::MAX, None);
    }
}

/// Three bits of each key and value: what the arithmetic of attention costs, and no more.
#[test]
fn keys_and_values_of_eight_bits() {
    for name in ["llama2", "qwen3", "gemma3"] {
        let source = SafetensorsFolder::open(&folder(name)).unwrap();
        let mut halves = load(&source, &[], None);
        let mut eighths = load_with(&source, &[], None, CacheKind::E4m3);
        assert_eq!(eighths.description().kv_bytes * 2, halves.description().kv_bytes);
        let case = case(name, "main");
        let blocks: Vec<BlockId> = (0..16).map(BlockId).collect();
        let rows = |backend: &mut CudaBackend| {
            let mut logits = Logits::default();
            let tokens = &case.prompt[..];
            let chunk =
                SequenceChunk { tokens, start: 0, blocks: &blocks, logits: LogitsWanted::All, adapter: None };
            backend.forward(&[chunk], &mut logits).unwrap();
            (0..tokens.len()).map(|row| logits.row(row).unwrap().to_vec()).collect::<Vec<_>>()
        };
        let (found, expected) = (rows(&mut eighths), rows(&mut halves));
        let sum: f64 = found.iter().zip(&expected).map(|(a, b)| divergence(a, b).0).sum();
        let mean = sum / found.len() as f64;
        println!("{name} with keys and values of eight bits: {mean:.1e}");
        assert!(mean > 0.0 && mean < 0.1, "{name}: {mean:e}");
    }
}
