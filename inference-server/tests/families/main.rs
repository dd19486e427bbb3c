//! Every family against Hugging Face transformers (goldens in `tests/goldens/families`): tiny random models, in
//! safetensors and, where the format can say it, in GGUF; prefill and step by step.
#![allow(clippy::unwrap_used, clippy::panic)] // A golden or model that cannot be read fails the test.
#![allow(clippy::print_stdout)] // How near each came is read by people, passed or not.

mod cuda;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use weighbridge_inference_server::backend::cpu::{
    CpuBackend, CpuEncoder, CpuOptions, EncoderInput, KvKind, KvMemory, Pooling,
};
use weighbridge_inference_server::backend::{AdapterId, Backend, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::BlockId;
use weighbridge_inference_server::model::adapter::AdapterFile;
use weighbridge_inference_server::model::{TensorSource, is_encoder, plan_decoder, plan_encoder};
use weighbridge_inference_server::safetensors::SafetensorsFolder;

/// Of the largest logit, with keys and values kept in F32, as transformers does.
const TOLERANCE: f32 = 1e-4;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/families").join(name)
}

/// The numbers of one case of one family.
struct Case {
    prompt: Vec<u32>,
    prefill: Vec<f32>,
    greedy: Vec<u32>,
    steps: Vec<f32>,
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let chunks = file.tensor(name).unwrap().data().chunks_exact(4);
    chunks.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn ids(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let chunks = file.tensor(name).unwrap().data().chunks_exact(8);
    chunks.map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap()).collect()
}

fn case(name: &str, case: &str) -> Case {
    let bytes = std::fs::read(folder(name).join("expected.safetensors")).unwrap();
    case_of(&SafeTensors::deserialize(&bytes).unwrap(), case)
}

fn case_of(file: &SafeTensors<'_>, case: &str) -> Case {
    let floats = |part: &str| floats(file, &format!("{case}.{part}"));
    let ids = |part: &str| ids(file, &format!("{case}.{part}"));
    Case {
        prompt: ids("prompt_ids"),
        prefill: floats("prefill_logits"),
        greedy: ids("greedy_ids"),
        steps: floats("step_logits"),
    }
}

fn options(context: Option<usize>) -> CpuOptions {
    CpuOptions {
        threads: NonZeroUsize::new(2),
        kv: KvMemory::Blocks(16),
        kv_kind: KvKind::F32,
        context_length: context,
        ..CpuOptions::default()
    }
}

fn load(source: &dyn TensorSource, context: Option<usize>) -> CpuBackend {
    CpuBackend::load(source, &options(context), &mut |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

/// Largest distance of the model's logits from the golden's, as a share of the largest: over the first `positions` of
/// the prompt, and, when these are all, over the steps, whose greedy tokens must be the same.
fn distance(backend: &mut CpuBackend, case: &Case, positions: usize, adapter: Option<AdapterId>) -> f32 {
    let blocks: Vec<BlockId> = (0..16).map(BlockId).collect();
    let mut logits = Logits::default();
    let largest = case.prefill.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let mut worst = 0.0f32;
    let mut near = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            worst = worst.max((found - expected).abs() / largest);
        }
    };
    let vocabulary = backend.vocabulary_size();
    let whole =
        SequenceChunk { tokens: &case.prompt, start: 0, blocks: &blocks, logits: LogitsWanted::All, adapter };
    backend.forward(&[whole], &mut logits).unwrap();
    for position in 0..positions.min(case.prompt.len()) {
        near(logits.row(position).unwrap(), &case.prefill[position * vocabulary..][..vocabulary]);
    }
    if positions < case.prompt.len() {
        return worst;
    }
    assert_eq!(argmax(logits.row(case.prompt.len() - 1).unwrap()), case.greedy[0]);
    for (step, expected) in case.steps.chunks_exact(vocabulary).enumerate() {
        let tokens = &case.greedy[step..step + 1];
        let start = case.prompt.len() + step;
        let chunk = SequenceChunk { tokens, start, blocks: &blocks, logits: LogitsWanted::Last, adapter };
        backend.forward(&[chunk], &mut logits).unwrap();
        near(logits.row(0).unwrap(), expected);
        assert_eq!(argmax(logits.row(0).unwrap()), case.greedy[step + 1], "step {step}");
    }
    worst
}

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    u32::try_from(best).unwrap()
}

/// Holds one case of a family to its golden, served with `context`: as safetensors, and as GGUF over the first
/// `gguf` positions (all for `usize::MAX`).
fn check(name: &str, part: &str, context: Option<usize>, gguf: Option<usize>) {
    let case = case(name, part);
    let source = SafetensorsFolder::open(&folder(name)).unwrap();
    let error = distance(&mut load(&source, context), &case, usize::MAX, None);
    println!("{name}, safetensors: {error:.1e}");
    assert!(error < TOLERANCE, "{name}, safetensors: {error}");
    if let Some(positions) = gguf {
        let source = GgufFile::open(&folder(name).join("model.gguf")).unwrap();
        let error = distance(&mut load(&source, context), &case, positions, None);
        println!("{name}, GGUF: {error:.1e}");
        assert!(error < TOLERANCE, "{name}, GGUF: {error}");
    }
}

macro_rules! families {
    ($($test:ident: $name:literal, $gguf:expr;)*) => {
        $(#[test] fn $test() { check($name, "main", None, $gguf); })*
    };
}

families! {
    llama_2: "llama2", Some(usize::MAX);
    llama_3: "llama3", Some(usize::MAX);
    llama_linear: "llama-linear", Some(usize::MAX);
    smollm2: "smollm2", Some(usize::MAX);
    // Converters write no window for Mistral.
    mistral: "mistral", Some(16);
    mixtral: "mixtral", Some(usize::MAX);
    qwen2: "qwen2", Some(usize::MAX);
    // Nor for Qwen2.
    qwen2_windows: "qwen2-windows", Some(16);
    qwen2_yarn: "qwen2-yarn", Some(usize::MAX);
    qwen3: "qwen3", Some(usize::MAX);
    qwen3_yarn: "qwen3-yarn", Some(usize::MAX);
    qwen3_moe: "qwen3-moe", Some(usize::MAX);
    qwen3_moe_mixed: "qwen3-moe-mixed", None;
    qwen3_moe_windows: "qwen3-moe-windows", None;
    // Betas and a temperature of its own.
    qwen3_moe_yarn: "qwen3-moe-yarn", Some(usize::MAX);
    gemma2: "gemma2", Some(usize::MAX);
    gemma3: "gemma3", Some(usize::MAX);
    phi3: "phi3", Some(usize::MAX);
    // Past the original context, where the long factors hold.
    phi4_mini_long: "phi4-mini-long", Some(usize::MAX);
}

#[test]
fn phi4_mini() {
    // Within the original context, where the short factors hold.
    check("phi4-mini", "main", Some(128), Some(usize::MAX));
}

/// Which of LongRoPE's factors hold is decided by the context that is served, so that a cache never mixes both.
#[test]
fn longrope_goes_by_the_context_that_is_served() {
    check("phi3-longrope", "long", None, Some(usize::MAX));
    check("phi3-longrope", "short", Some(40), Some(usize::MAX));
}

/// The two ways to spell a config make the same model.
#[test]
fn a_config_of_transformers_5_is_read_alike() {
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let from = entry.unwrap().path();
        let is_decoder = from.join("expected.safetensors").is_file()
            && !["bert", "xlm"].iter().any(|kind| from.to_string_lossy().contains(kind));
        if !is_decoder {
            continue;
        }
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(&from).unwrap() {
            let file = file.unwrap().path();
            if file.to_string_lossy().contains(".safetensors") {
                std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
            }
        }
        std::fs::copy(from.join("config.transformers5.json"), copy.path().join("config.json")).unwrap();
        let mut logits = [Logits::default(), Logits::default()];
        for (folder, logits) in [from.as_path(), copy.path()].into_iter().zip(&mut logits) {
            let mut backend = load(&SafetensorsFolder::open(folder).unwrap(), None);
            let blocks: Vec<BlockId> = (0..16).map(BlockId).collect();
            let tokens: Vec<u32> = (0..60).map(|i| (i * 7 + 3) % 128).collect();
            let chunk = SequenceChunk {
                tokens: &tokens,
                start: 0,
                blocks: &blocks,
                logits: LogitsWanted::Last,
                adapter: None,
            };
            backend.forward(&[chunk], logits).unwrap();
        }
        assert_eq!(logits[0].row(0), logits[1].row(0), "{}", from.display());
    }
}

/// What the encoder of `name` gives for all of its sequences, all together and one by one, against `part` of each.
fn check_encoder(name: &str, pooling: Pooling, part: &str) {
    let bytes = std::fs::read(folder(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let source = SafetensorsFolder::open(&folder(name)).unwrap();
    let options = CpuOptions { threads: NonZeroUsize::new(2), ..CpuOptions::default() };
    let mut encoder = CpuEncoder::load(&source, &options, pooling, &mut |_| ()).unwrap();
    let texts: Vec<(Vec<u32>, Vec<u32>, Vec<f32>)> = (0..4)
        .map(|index| {
            let name = |part: &str| format!("s{index}.{part}");
            let types = ids(&file, &name("token_type_ids"));
            (ids(&file, &name("input_ids")), types, floats(&file, &name(part)))
        })
        .collect();
    let inputs: Vec<EncoderInput<'_>> =
        texts.iter().map(|(tokens, types, _)| EncoderInput { tokens, types }).collect();
    let together = encoder.encode(&inputs).unwrap();
    for (index, (_, _, expected)) in texts.iter().enumerate() {
        let alone = encoder.encode(&inputs[index..=index]).unwrap().remove(0);
        for found in [&together[index], &alone] {
            assert_eq!(found.len(), expected.len());
            let worst = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
            assert!(worst < 2e-5, "{name}, sequence {index}: {worst}");
        }
    }
}

#[test]
fn encoders() {
    for name in ["bert", "xlm-roberta"] {
        check_encoder(name, Pooling::Mean, "mean");
        check_encoder(name, Pooling::First, "cls");
    }
}

#[test]
fn rerankers() {
    check_encoder("bert-reranker", Pooling::First, "logits");
    check_encoder("xlm-roberta-reranker", Pooling::First, "logits");
}

/// The adapter at `from`, on the model `base`, alone: prefill and steps against PEFT, and the model without it against its
/// own golden.
fn check_adapter(name: &str, base: &dyn TensorSource, file: &str) {
    let bytes = std::fs::read(adapter(name, "expected.safetensors")).unwrap();
    let case = case_of(&SafeTensors::deserialize(&bytes).unwrap(), "main");
    let file = AdapterFile::open(&adapter(name, file)).unwrap();
    let adapters = [("tone".to_owned(), file)];
    let mut backend = CpuBackend::load_with(base, &adapters, &options(None), &mut |_| ())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let error = distance(&mut backend, &case, usize::MAX, Some(AdapterId(0)));
    println!("{name}: {error:.1e}");
    assert!(error < TOLERANCE, "{name}: {error}");
}

fn adapter(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/adapters").join(name).join(file)
}

/// Each adapter of PEFT on its model, in every pair of formats.
#[test]
fn adapters_add_what_peft_adds() {
    let cases = [
        ("llama2-all", "llama2", true),
        ("llama2-patterns", "llama2", false),
        ("qwen3-stabilised", "qwen3", false),
        ("gemma3-all", "gemma3", true),
        ("phi3-fused", "phi3", true),
    ];
    for (name, base, gguf) in cases {
        let hub = SafetensorsFolder::open(&folder(base)).unwrap();
        let ggml = GgufFile::open(&folder(base).join("model.gguf")).unwrap();
        for base in [&hub as &dyn TensorSource, &ggml] {
            check_adapter(name, base, "");
            if gguf {
                check_adapter(name, base, "adapter.gguf");
            }
        }
    }
}

/// Where in a forward pass a tensor is used: embeddings, then the layers, then what makes logits or an embedding of them.
fn place(tensor: &str) -> usize {
    if tensor.contains("embed") || tensor.starts_with("token_embd") {
        0
    } else if let Some(layer) = tensor.split('.').find_map(|part| part.parse::<usize>().ok()) {
        1 + layer
    } else {
        usize::MAX
    }
}

#[test]
fn what_the_first_token_needs_first_is_packed_first() {
    let mut families = 0;
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let mut sources: Vec<Box<dyn TensorSource>> = vec![Box::new(SafetensorsFolder::open(&path).unwrap())];
        if path.join("model.gguf").exists() {
            sources.push(Box::new(GgufFile::open(&path.join("model.gguf")).unwrap()));
        }
        for source in sources {
            let source = source.as_ref();
            let matrices = if is_encoder(source).unwrap() {
                plan_encoder(source).unwrap().plan.matrices
            } else {
                plan_decoder(source, Some(64)).unwrap().plan.matrices
            };
            let name = path.file_name().unwrap().display();
            let places: Vec<usize> = matrices.iter().map(|matrix| place(matrix.tensor.name())).collect();
            assert!(places.is_sorted(), "{name}: {places:?}");
            assert!(places[0] == 0 && places.contains(&1) && places.contains(&2), "{name}: {places:?}");
            assert!(matrices.is_sorted_by_key(|matrix| matrix.offset), "{name}");
            families += 1;
        }
    }
    assert!(families > 20, "{families}");
}
