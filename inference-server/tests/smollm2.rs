//! SmolLM2 as we compute it against llama.cpp's own numbers (goldens in `tests/goldens/smollm2`).
//!
//! Rounding activations to int8 is chaotic: two kernels that differ in the order of additions alone end up
//! apart by the whole rounding noise, here 0.15 to 0.2 in a logit, and so do llama.cpp's own variants. What
//! must be equal is therefore compared in F32, on the same weights dequantised; the file as it is served is
//! held to llama.cpp's agreement with itself.
//!
//! These tests need the sample file: without it they fail and say how to get it.
#![allow(clippy::unwrap_used, clippy::panic)] // A golden or model that cannot be read fails the test.
#![allow(clippy::print_stdout)] // The issue of each comparison is read by people, passed or not.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weighbridge_cuda_emulator::EmulatedDevice;
use weighbridge_inference_server::backend::cpu::{CpuBackend, CpuOptions, KvKind, KvMemory};
use weighbridge_inference_server::backend::cuda::{CacheKind, CudaBackend, CudaOptions};
use weighbridge_inference_server::backend::{Backend, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::write::GgufWriter;
use weighbridge_inference_server::gguf::{GgufFile, TensorType};
use weighbridge_inference_server::kernels::reference::dequantize;
use weighbridge_inference_server::kv::BlockId;
use weighbridge_inference_server::tokenizer::{EncodeOptions, Tokenizer, TokenizerMetadata};

const BLOCKS: u32 = 128;

fn sample() -> GgufFile {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weighbridge"));
    let path = cache.join("models/smollm2-135m-instruct-q4_1.gguf");
    GgufFile::open(&path).unwrap_or_else(|error| panic!("run make sample: {error}"))
}

fn load(file: &GgufFile) -> CpuBackend {
    load_with(file, KvKind::F16)
}

fn load_with(file: &GgufFile, kv_kind: KvKind) -> CpuBackend {
    let options = CpuOptions { kv: KvMemory::Blocks(BLOCKS as usize), kv_kind, ..CpuOptions::default() };
    CpuBackend::load(file, &options, &mut |_| ()).unwrap()
}

/// The sample with every tensor dequantised to F32.
fn load_f32() -> CpuBackend {
    let file = sample();
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with("tokenizer.")) {
        writer.pair(key, value.clone());
    }
    for tensor in file.tensors() {
        let mut values = vec![0.0f32; tensor.shape().iter().product()];
        dequantize(tensor.kind().kept(), &file.read(tensor).unwrap(), &mut values);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.tensor(tensor.name(), tensor.shape(), TensorType::F32, bytes).unwrap();
    }
    let path = std::env::temp_dir().join(format!("weighbridge-{}-smollm2-f32.gguf", std::process::id()));
    writer.write(&mut std::io::BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
    drop(writer);
    let backend = load(&GgufFile::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    backend
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/smollm2").join(name)
}

fn golden(name: &str) -> Value {
    let path = golden_path(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn prompts(golden: &Value) -> &Vec<Value> {
    golden["prompts"].as_array().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Logits after the last of `tokens`, or after each.
fn forward(backend: &mut dyn Backend, tokens: &[u32], start: usize, wanted: LogitsWanted) -> Logits {
    let blocks: Vec<BlockId> = (0..BLOCKS).map(BlockId).collect();
    let mut logits = Logits::default();
    let chunk = SequenceChunk { tokens, start, blocks: &blocks, logits: wanted, adapter: None };
    backend.forward(&[chunk], &mut logits).unwrap();
    logits
}

/// The first index of the largest value, as llama.cpp's argmax has it.
fn argmax(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().fold(0, |best, (i, value)| if *value > row[best] { i } else { best });
    u32::try_from(best).unwrap()
}

/// Our best token at each step of `given`, fed `given` whatever we would have said.
fn forced(backend: &mut CpuBackend, prompt: &[u32], given: &[u32]) -> Vec<u32> {
    let tokens = [prompt, &given[..given.len() - 1]].concat();
    let logits = forward(backend, &tokens, 0, LogitsWanted::All);
    (prompt.len() - 1..tokens.len()).map(|row| argmax(logits.row(row).unwrap())).collect()
}

/// Runs of `found` against `record`'s ids: the prompts that differ where llama.cpp's lead is at least `limit`,
/// and those that differ where it is less. Prints each.
fn compare(
    golden: &Value,
    limit: f64,
    mut run: impl FnMut(&[u32], &[u32]) -> (usize, Vec<u32>),
    pick: impl Fn(&Value) -> &Value,
) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut ties) = (Vec::new(), Vec::new());
    for prompt in prompts(golden) {
        let (name, record) = (prompt["name"].as_str().unwrap(), pick(prompt));
        let expected = ids(&record["ids"]);
        let (steps, found) = run(&ids(&prompt["prompt_ids"]), &expected);
        if let Some(step) = (0..steps).find(|&step| found[step] != expected[step]) {
            let lead = record["gaps"][step].as_f64().unwrap();
            println!("{name}: step {step}, {} for {}, whose lead is {lead}", found[step], expected[step]);
            if lead < limit { ties.push(name.to_owned()) } else { wrong.push(name.to_owned()) }
        }
    }
    println!("differ where the lead is below {limit}: {ties:?}; beyond: {wrong:?}");
    (wrong, ties)
}

/// F32: 64 greedy tokens for 20 prompts that nobody chose are llama.cpp's; a near-tie may differ in 3 of them.
#[test]
fn f32_greedy_tokens_and_logits_are_llama_cpps() {
    let mut backend = load_f32();
    let golden_greedy = golden("greedy_ordinary.json");
    let near_tie = golden_greedy["near_tie"].as_f64().unwrap();
    let run = |prompt: &[u32], expected: &[u32]| {
        // Up to the first difference, being fed the expected tokens is decoding greedily.
        (expected.len(), forced(&mut backend, prompt, expected))
    };
    let (wrong, ties) = compare(&golden_greedy, near_tie, run, |prompt| &prompt["f32"]);
    assert!(wrong.is_empty() && ties.len() <= 3, "wrong {wrong:?}, near-ties {ties:?}");

    // What llama.cpp's variants say alike of the quantised file is what exact activations say, all 20 times.
    let run = |prompt: &[u32], expected: &[u32]| (expected.len(), forced(&mut backend, prompt, expected));
    let (wrong, ties) = compare(&golden("greedy.json"), near_tie, run, |prompt| prompt);
    assert!(wrong.is_empty() && ties.is_empty(), "wrong {wrong:?}, near-ties {ties:?}");

    for prompt in prompts(&golden("logits.json")) {
        let logits = forward(&mut backend, &ids(&prompt["prompt_ids"]), 0, LogitsWanted::Last);
        let worst = worst_of_best(logits.row(0).unwrap(), &prompt["f32"]);
        println!("{} in F32: worst of the 20 best logits differs by {worst:.5}", prompt["name"]);
        // Keys and values are f16 here and f32 there.
        assert!(worst < 0.02, "{worst}");
    }
}

/// The file as it is: 64 greedy tokens, decoded one by one, for 20 prompts on which llama.cpp's variants agree.
/// At most 3 may differ, and only in a near-tie, except for the known miss.
#[test]
fn greedy_tokens_are_llama_cpps() {
    /// Falls short of the bar: llama.cpp leads by 0.30 where ours differs, with AVX-512 and with AVX2. With
    /// exact activations it is equal; the noise comes from all matrices alike. Never to be joined by another.
    const KNOWN_MISS: &str = "happy-birthday";
    let golden = golden("greedy.json");
    let mut backend = load(&sample());
    let run = |prompt: &[u32], expected: &[u32]| {
        let mut logits = forward(&mut backend, prompt, 0, LogitsWanted::Last);
        let mut found = Vec::new();
        for (step, &token) in expected.iter().enumerate() {
            found.push(argmax(logits.row(0).unwrap()));
            if found[step] != token {
                break;
            }
            logits = forward(&mut backend, &[token], prompt.len() + step, LogitsWanted::Last);
        }
        (found.len(), found)
    };
    let near_tie = golden["near_tie"].as_f64().unwrap();
    let (wrong, ties) = compare(&golden, near_tie, run, |prompt| prompt);
    assert!(wrong.iter().all(|name| name == KNOWN_MISS), "wrong {wrong:?}");
    assert!(wrong.len() + ties.len() <= 3, "wrong {wrong:?}, near-ties {ties:?}");
}

/// The file as it is, on prompts that nobody chose: fed llama.cpp's tokens, our best token is the same as often
/// as llama.cpp's own variants agree with each other, and the logits are as near.
#[test]
fn agreement_is_llama_cpps_with_itself() {
    let golden_greedy = golden("greedy_ordinary.json");
    let mut backend = load(&sample());
    let (mut same, mut steps) = (0, 0);
    for prompt in prompts(&golden_greedy) {
        let given = ids(&prompt["quantised"]["ids"]);
        let found = forced(&mut backend, &ids(&prompt["prompt_ids"]), &given);
        same += found.iter().zip(&given).filter(|(a, b)| a == b).count();
        steps += given.len();
    }
    let agreement = golden_greedy["agreement"].as_array().unwrap();
    let least = agreement.iter().filter_map(|variant| variant["same_token"].as_u64()).min().unwrap();
    println!("same best token at {same} of {steps} steps; llama.cpp's variants at {least} or more");
    // Counts of this size have a deviation of about 6 from kernel to kernel.
    assert!(same as u64 + 12 >= least, "{same} of {steps}, llama.cpp {least}");

    for prompt in prompts(&golden("logits.json")) {
        let logits = forward(&mut backend, &ids(&prompt["prompt_ids"]), 0, LogitsWanted::Last);
        let worst = worst_of_best(logits.row(0).unwrap(), prompt);
        println!("{}: worst of the 20 best logits differs by {worst:.4}", prompt["name"]);
        assert!(worst < 1.0, "{worst}");
    }
}

/// The pinned text in windows, each of which is decoded alone.
fn windows(golden: &Value, file: &GgufFile) -> Vec<Vec<u32>> {
    let text = std::fs::read(golden_path(golden["file"].as_str().unwrap())).unwrap();
    let metadata = TokenizerMetadata::from_gguf(file.metadata()).unwrap();
    let as_text = EncodeOptions { add_special: false, parse_special: false };
    let ids = Tokenizer::new(metadata).unwrap().encode(std::str::from_utf8(&text).unwrap(), as_text).unwrap();
    assert_eq!(ids.len() as u64, golden["token_count"].as_u64().unwrap());
    let window = usize::try_from(golden["window"].as_u64().unwrap()).unwrap();
    ids.chunks_exact(window).map(<[u32]>::to_vec).collect()
}

/// What a window costs in all: the sum of `-ln` of the probabilities of its tokens but the first.
fn cost(backend: &mut CpuBackend, window: &[u32]) -> f64 {
    let logits = forward(backend, window, 0, LogitsWanted::All);
    let costs = window[1..].iter().enumerate().map(|(row, &next)| {
        let row = logits.row(row).unwrap();
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
        sum.ln() - f64::from(row[next as usize] - max)
    });
    costs.sum()
}

/// Perplexity over the pinned text within 0.5 % of llama.cpp's.
#[test]
fn perplexity_is_llama_cpps() {
    let golden = golden("perplexity.json");
    let file = sample();
    let mut backend = load(&file);
    let windows = windows(&golden, &file);
    let total: f64 = windows.iter().map(|window| cost(&mut backend, window)).sum();
    let scored: usize = windows.iter().map(|window| window.len() - 1).sum();
    assert!(scored >= 20_000, "{scored}");
    let (found, expected) = ((total / scored as f64).exp(), golden["perplexity"].as_f64().unwrap());
    let error = found / expected - 1.0;
    println!("perplexity {found:.4} over {scored} tokens, llama.cpp {expected:.4}, {:+.4} %", error * 100.0);
    assert!(error.abs() < 0.005, "{found} against {expected}");
}

/// The same over a few windows, with keys and values in each kind that is served, against llama.cpp's with F16.
#[test]
fn perplexity_is_llama_cpps_with_smaller_keys_and_values() {
    const WINDOWS: usize = 3;
    let golden = golden("perplexity.json");
    let file = sample();
    let windows = &windows(&golden, &file)[..WINDOWS];
    let scored: usize = windows.iter().map(|window| window.len() - 1).sum();
    let costs = golden["per_window"].as_array().unwrap()[..WINDOWS].iter();
    let expected: f64 = costs.map(|window| window["nll"].as_f64().unwrap()).sum();
    for kv_kind in [KvKind::F16, KvKind::Q8_0] {
        let mut backend = load_with(&file, kv_kind);
        let found: f64 = windows.iter().map(|window| cost(&mut backend, window)).sum();
        let error = ((found - expected) / scored as f64).exp() - 1.0;
        println!("{kv_kind:?}: perplexity over {scored} tokens {:+.4} % from llama.cpp's", error * 100.0);
        assert!(error.abs() < 0.005, "{kv_kind:?}: {error}");
    }
}

/// Largest distance of the golden's best logits from ours.
fn worst_of_best(row: &[f32], golden: &Value) -> f64 {
    let values = golden["top_logits"].as_array().unwrap();
    ids(&golden["top_ids"])
        .iter()
        .zip(values)
        .map(|(&id, value)| (f64::from(row[id as usize]) - value.as_f64().unwrap()).abs())
        .fold(0.0, f64::max)
}

/// Natural logarithms of a row's probabilities.
fn logarithms(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
    row.iter().map(|x| f64::from(x - most) - sum.ln()).collect()
}

/// The sample as it is served on a GPU, here the emulated one, beside its own weights in F32: a prompt and the steps after
/// it. An emulated step takes seconds, so that they are few.
#[test]
fn the_emulated_card_computes_the_sample() {
    let golden = golden("greedy.json");
    let prompt = ids(&prompts(&golden)[0]["prompt_ids"]);
    let prompt = &prompt[..prompt.len().min(8)];
    let options = CudaOptions {
        kv: Some(KvMemory::Blocks(BLOCKS as usize)),
        cache: CacheKind::F16,
        step_tokens: 16,
        sequences: 1,
        context_length: Some(64),
        sleeps: false,
    };
    let device = Box::new(EmulatedDevice::new(1 << 30));
    let mut card = CudaBackend::load(device, &sample(), &[], &options, &mut |_| ()).unwrap();
    let mut floats = load_f32();
    let (mut tokens, mut start) = (prompt.to_vec(), 0);
    let mut divergences = Vec::new();
    for _ in 0..2 {
        let found = forward(&mut card, &tokens, start, LogitsWanted::All);
        let expected = forward(&mut floats, &tokens, start, LogitsWanted::All);
        for row in 0..expected.rows() {
            let (p, q) = (logarithms(expected.row(row).unwrap()), logarithms(found.row(row).unwrap()));
            divergences.push(p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
        }
        let last = expected.rows() - 1;
        let (best, same) = (argmax(expected.row(last).unwrap()), argmax(found.row(last).unwrap()));
        let p = logarithms(expected.row(last).unwrap());
        assert!(p[best as usize] - p[same as usize] < 0.05, "{same} instead of {best}");
        start += tokens.len();
        tokens = vec![best];
    }
    let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
    println!("divergence from F32: mean {mean:.1e} of {} positions", divergences.len());
    assert!(mean < 1e-3, "{divergences:?}");
}
