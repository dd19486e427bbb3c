//! The backend on tiny random models: against the reference forward pass, and against itself.

use super::*;
use crate::backend::{AdapterId, Backend, Logits, LogitsWanted, SequenceChunk};
use crate::gguf::{GgufFile, TensorType};
use crate::model::adapter::AdapterFile;
use crate::model::profile::Operation;
use crate::model::reference::{ReferenceLlama, Rounding};
use crate::synth::{Rope, Shape, SynthSpec, WriteOptions};

/// A model in a file of its own, removed at the end.
struct Model {
    path: std::path::PathBuf,
    file: GgufFile,
}

impl Model {
    fn new(name: &str, spec: &SynthSpec) -> Self {
        let path = std::env::temp_dir().join(format!("weighbridge-{}-{name}.gguf", std::process::id()));
        spec.write(&path, WriteOptions { force: true, ..WriteOptions::default() }).unwrap();
        Self { file: GgufFile::open(&path).unwrap(), path }
    }

    fn backend(&self, isa: Option<Isa>) -> CpuBackend {
        let options = CpuOptions {
            threads: NonZeroUsize::new(2),
            kv: KvMemory::Blocks(64),
            isa,
            ..CpuOptions::default()
        };
        CpuBackend::load(&self.file, &options, &mut |_| ()).unwrap()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn blocks(ids: impl IntoIterator<Item = u32>) -> Vec<BlockId> {
    ids.into_iter().map(BlockId).collect()
}

fn tokens(count: usize, vocabulary: u32) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 37 + i * i * 11 + 5) % vocabulary).collect()
}

/// Logits of every token, computed in chunks of `chunk`.
fn run(backend: &mut CpuBackend, tokens: &[u32], table: &[BlockId], chunk: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut logits = Logits::default();
    for (index, part) in tokens.chunks(chunk).enumerate() {
        let chunk = SequenceChunk {
            tokens: part,
            start: index * chunk,
            blocks: table,
            logits: LogitsWanted::All,
            adapter: None,
        };
        backend.forward(&[chunk], &mut logits).unwrap();
        rows.extend((0..logits.rows()).map(|i| logits.row(i).unwrap().to_vec()));
    }
    rows
}

/// Largest difference between two sets of rows, relative to the largest value of the second.
fn difference(found: &[Vec<f32>], reference: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), reference.len());
    let scale = reference.iter().flatten().fold(1e-6f32, |max, x| max.max(x.abs()));
    let pairs = found.iter().flatten().zip(reference.iter().flatten());
    pairs.fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / scale
}

#[test]
fn float_models_equal_the_reference_forward_pass() {
    for kind in [TensorType::F32, TensorType::F16, TensorType::BF16] {
        let spec = SynthSpec {
            matrices: kind,
            embeddings: kind,
            shape: Shape {
                tied: kind != TensorType::F16,
                rope: if kind == TensorType::BF16 { Rope::Llama3 } else { Rope::None },
                ..SynthSpec::default().shape
            },
            ..SynthSpec::default()
        };
        let model = Model::new(&format!("float-{kind}"), &spec);
        let tokens = tokens(45, 131);
        let reference = ReferenceLlama::new(&model.file, Rounding::AsServed).unwrap().logits(&tokens);
        for isa in Isa::available() {
            let found = run(&mut model.backend(Some(isa)), &tokens, &blocks(0..3), 45);
            let error = difference(&found, &reference);
            assert!(error < 1e-3, "{kind} on {}: {error}", isa.name());
        }
    }
}

#[test]
fn quantised_models_equal_the_reference_as_served_and_resemble_the_unrounded() {
    for kind in TensorType::ALL {
        let spec = SynthSpec {
            shape: Shape {
                embedding: 256,
                feed_forward: 512,
                heads: 8,
                kv_heads: 2,
                head: 32,
                ..SynthSpec::default().shape
            },
            matrices: kind,
            embeddings: if kind.block_elements() == 256 { TensorType::Q6K } else { TensorType::Q8_0 },
            ..SynthSpec::default()
        };
        let model = Model::new(&format!("quantised-{kind}"), &spec);
        let tokens = tokens(37, 131);
        let served = ReferenceLlama::new(&model.file, Rounding::AsServed).unwrap().logits(&tokens);
        let exact = ReferenceLlama::new(&model.file, Rounding::None).unwrap().logits(&tokens);
        for isa in Isa::available() {
            let found = run(&mut model.backend(Some(isa)), &tokens, &blocks(0..3), 37);
            let (near, far) = (difference(&found, &served), difference(&found, &exact));
            // A value on the edge between two int8 steps may fall on either side.
            assert!(near < 0.02, "{kind} on {}: {near} from the reference as served", isa.name());
            assert!(far < 0.1, "{kind} on {}: {far} from the unrounded reference", isa.name());
        }
    }
}

fn bits(rows: &[Vec<f32>]) -> Vec<u32> {
    rows.iter().flatten().map(|x| x.to_bits()).collect()
}

/// A folder with a PEFT adapter of pseudorandom numbers for the model of `spec`, on every matrix.
fn adapter(spec: &SynthSpec, rank: usize, seed: u32) -> (tempfile::TempDir, AdapterFile) {
    use safetensors::tensor::{Dtype, TensorView};
    let Shape { layers, embedding, feed_forward, heads, kv_heads, head, .. } = spec.shape;
    let matrices = [
        ("self_attn.q_proj", heads * head, embedding),
        ("self_attn.k_proj", kv_heads * head, embedding),
        ("self_attn.v_proj", kv_heads * head, embedding),
        ("self_attn.o_proj", embedding, heads * head),
        ("mlp.gate_proj", feed_forward, embedding),
        ("mlp.up_proj", feed_forward, embedding),
        ("mlp.down_proj", embedding, feed_forward),
    ];
    let mut state = seed;
    let mut bytes = |count: usize| -> Vec<u8> {
        let value = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.3
        };
        (0..count).map(value).flat_map(f32::to_le_bytes).collect()
    };
    let mut tensors = Vec::new();
    for layer in 0..layers {
        for (part, rows, columns) in matrices {
            let name = |half| format!("base_model.model.model.layers.{layer}.{part}.lora_{half}.weight");
            tensors.push((name("A"), [rank, columns], bytes(rank * columns)));
            tensors.push((name("B"), [rows, rank], bytes(rows * rank)));
        }
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    safetensors::serialize_to_file(views, None, &folder.path().join("adapter_model.safetensors")).unwrap();
    let names: Vec<&str> = matrices.iter().map(|(part, ..)| part.rsplit('.').next().unwrap()).collect();
    let config =
        serde_json::json!({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": names});
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    let file = AdapterFile::open(folder.path()).unwrap();
    (folder, file)
}

/// Batch invariance with adapters: rows of two adapters and of none in one step are each the bits of a step of their own,
/// and those of none the bits of a backend that has no adapter.
#[test]
fn adapters_in_a_batch_change_no_bit_of_each_other_or_of_the_model() {
    for kind in [TensorType::F32, TensorType::Q8_0, TensorType::Q4K] {
        let shape = Shape {
            embedding: 256,
            feed_forward: 512,
            heads: 8,
            kv_heads: 2,
            head: 32,
            ..SynthSpec::default().shape
        };
        let spec = SynthSpec { shape, matrices: kind, embeddings: TensorType::Q8_0, ..SynthSpec::default() };
        let model = Model::new(&format!("adapters-{kind}"), &spec);
        let (_one, one) = adapter(&spec, 5, 1);
        let (_two, two) = adapter(&spec, 16, 2);
        let adapters = [("one".to_owned(), one), ("two".to_owned(), two)];
        let tokens = tokens(45, 131);
        let tables = [blocks(0..3), blocks(10..13), blocks(20..23)];
        let asked = [None, Some(AdapterId(0)), Some(AdapterId(1))];
        for isa in Isa::available() {
            let options = CpuOptions {
                threads: NonZeroUsize::new(2),
                kv: KvMemory::Blocks(64),
                isa: Some(isa),
                ..CpuOptions::default()
            };
            let mut backend = CpuBackend::load_with(&model.file, &adapters, &options, &mut |_| ()).unwrap();
            let chunk = |index: usize, start: usize, end: usize, logits| SequenceChunk {
                tokens: &tokens[start..end],
                start,
                blocks: &tables[index],
                logits,
                adapter: asked[index],
            };
            let mut logits = Logits::default();
            let mut alone = Vec::new();
            for index in 0..3 {
                backend.forward(&[chunk(index, 0, 45, LogitsWanted::Last)], &mut logits).unwrap();
                alone.push(logits.row(0).unwrap().to_vec());
            }
            let bare = run(&mut model.backend(Some(isa)), &tokens, &tables[0], 45).pop().unwrap();
            assert!(bits(&[bare]) == bits(&alone[..1]), "{kind}: the model itself on {}", isa.name());
            assert!(alone[0] != alone[1] && alone[1] != alone[2], "{kind}: adapters change something");
            // Prompts in parts, beside one another, in another order.
            let first = [2, 0, 1].map(|index| chunk(index, 0, 30 + index, LogitsWanted::None));
            backend.forward(&first, &mut logits).unwrap();
            let rest = [1, 2, 0].map(|index| chunk(index, 30 + index, 45, LogitsWanted::Last));
            backend.forward(&rest, &mut logits).unwrap();
            for (row, index) in [1, 2, 0].into_iter().enumerate() {
                let found = logits.row(row).unwrap().to_vec();
                assert!(bits(&[found]) == bits(&alone[index..=index]), "{kind}: {index} on {}", isa.name());
            }
        }
    }
}

#[test]
fn adapters_count_for_memory_and_are_named_where_they_fail() {
    let spec = SynthSpec::default();
    let model = Model::new("adapter-memory", &spec);
    let (_folder, file) = adapter(&spec, 4, 1);
    let adapters = [("tone".to_owned(), file)];
    let load = |kv| {
        let options = CpuOptions { kv, ..CpuOptions::default() };
        CpuBackend::load_with(&model.file, &adapters, &options, &mut |_| ())
    };
    let error = load(KvMemory::Bytes(1 << 43)).unwrap_err().to_string();
    assert!(error.contains("+ adapters 0.") && error.contains("MiB + KV"), "{error}");
    assert!(!model.file.is_mapped(), "refused before a tensor is mapped");
    let mut backend = load(KvMemory::Blocks(4)).unwrap();
    let table = blocks(0..1);
    let chunk = SequenceChunk {
        tokens: &[1],
        start: 0,
        blocks: &table,
        logits: LogitsWanted::Last,
        adapter: Some(AdapterId(1)),
    };
    let error = backend.forward(&[chunk], &mut Logits::default()).unwrap_err().to_string();
    assert!(error.contains("adapter 1 is not among the 1 loaded"), "{error}");

    let other = SynthSpec { shape: Shape { feed_forward: 160, ..spec.shape }, ..SynthSpec::default() };
    let (_folder, file) = adapter(&other, 4, 1);
    let adapters = [("legal".to_owned(), file)];
    let error = CpuBackend::load_with(&model.file, &adapters, &CpuOptions::default(), &mut |_| ());
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("adapter legal: tensor ") && error.contains("trained on"), "{error}");
}

#[test]
fn scattered_blocks_change_nothing() {
    let model = Model::new("scattered", &SynthSpec::default());
    let tokens = tokens(60, 131);
    let mut backend = model.backend(None);
    let ordered = run(&mut backend, &tokens, &blocks(0..4), 60);
    let scattered = run(&mut backend, &tokens, &blocks([63, 7, 30, 12]), 60);
    assert_eq!(ordered, scattered);
}

#[test]
fn a_mixed_batch_equals_each_sequence_alone() {
    let spec = SynthSpec { matrices: TensorType::Q8_0, embeddings: TensorType::Q8_0, ..SynthSpec::default() };
    let model = Model::new("mixed", &spec);
    let mut backend = model.backend(None);
    let (long, short, other) = (tokens(41, 131), tokens(9, 127), tokens(23, 113));
    let tables = [blocks(0..3), blocks(20..22), blocks(40..42)];
    let alone = [
        run(&mut backend, &long, &tables[0], 41),
        run(&mut backend, &short, &tables[1], 9),
        run(&mut backend, &other, &tables[2], 23),
    ];

    // Fresh blocks; the first sequence prefills its end while the others decode and prefill.
    let tables = [blocks(3..6), blocks(22..24), blocks(42..44)];
    run(&mut backend, &long[..30], &tables[0], 30);
    run(&mut backend, &short[..8], &tables[1], 8);
    let batch = [
        SequenceChunk {
            tokens: &long[30..],
            start: 30,
            blocks: &tables[0],
            logits: LogitsWanted::Last,
            adapter: None,
        },
        SequenceChunk {
            tokens: &short[8..],
            start: 8,
            blocks: &tables[1],
            logits: LogitsWanted::Last,
            adapter: None,
        },
        SequenceChunk {
            tokens: &other[..20],
            start: 0,
            blocks: &tables[2],
            logits: LogitsWanted::None,
            adapter: None,
        },
        SequenceChunk {
            tokens: &other[20..],
            start: 20,
            blocks: &tables[2],
            logits: LogitsWanted::All,
            adapter: None,
        },
    ];
    let mut logits = Logits::default();
    backend.forward(&batch[..3], &mut logits).unwrap();
    assert_eq!(logits.rows(), 2);
    let found = vec![logits.row(0).unwrap().to_vec(), logits.row(1).unwrap().to_vec()];
    let expected = vec![alone[0][40].clone(), alone[1][8].clone()];
    assert!(difference(&found, &expected) < 1e-4);
    backend.forward(&batch[3..], &mut logits).unwrap();
    let found: Vec<Vec<f32>> = (0..3).map(|i| logits.row(i).unwrap().to_vec()).collect();
    assert!(difference(&found, &alone[2][20..]) < 1e-4);
}

#[test]
fn chunks_that_break_the_contract_are_named_and_nothing_runs() {
    let model = Model::new("contract", &SynthSpec::default());
    let mut backend = model.backend(None);
    let table = blocks(0..2);
    let good = SequenceChunk {
        tokens: &[1, 2],
        start: 0,
        blocks: &table,
        logits: LogitsWanted::Last,
        adapter: None,
    };
    let far = blocks([64]);
    let bad = [
        (SequenceChunk { tokens: &[], ..good.clone() }, "no token"),
        (SequenceChunk { tokens: &[131], ..good.clone() }, "outside the vocabulary"),
        (SequenceChunk { start: 31, ..good.clone() }, "covers 32 positions of 33"),
        (SequenceChunk { start: usize::MAX, ..good.clone() }, "past the context"),
        (SequenceChunk { start: 511, ..good.clone() }, "past the context"),
        (SequenceChunk { blocks: &far, ..good.clone() }, "outside the memory"),
    ];
    for (chunk, problem) in bad {
        let error = backend.forward(&[good.clone(), chunk], &mut Logits::default()).unwrap_err().to_string();
        assert!(error.starts_with("chunk 1") && error.contains(problem), "{error}");
    }
    let mut logits = Logits::default();
    backend.forward(&[], &mut logits).unwrap();
    assert_eq!(logits.rows(), 0);
}

#[test]
fn models_too_large_for_memory_are_refused_with_the_arithmetic() {
    let model = Model::new("memory", &SynthSpec::default());
    let load = |kv| CpuBackend::load(&model.file, &CpuOptions { kv, ..CpuOptions::default() }, &mut |_| ());
    let error = load(KvMemory::Bytes(1 << 43)).unwrap_err().to_string();
    assert!(error.contains("does not fit") && error.contains("+ KV 8388608.0 MiB"), "{error}");
    assert!(!model.file.is_mapped(), "refused before a tensor is mapped");
    let error = load(KvMemory::Bytes(10)).unwrap_err().to_string();
    assert!(error.contains("0 blocks"), "{error}");
}

/// The same from a folder, with all that the refusal must say.
#[test]
fn a_folder_too_large_for_memory_is_refused_before_it_is_mapped() {
    use crate::safetensors::SafetensorsFolder;
    use crate::synth::Format;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let spec = SynthSpec { format: Format::Safetensors, ..SynthSpec::default() };
    spec.write(&path, WriteOptions::default()).unwrap();
    let source = SafetensorsFolder::open(&path).unwrap();
    let options = CpuOptions { kv: KvMemory::Bytes(1 << 43), ..CpuOptions::default() };
    let error = CpuBackend::load(&source, &options, &mut |_| ()).unwrap_err().to_string();
    for part in ["weights 0.", "+ KV 8388608.0 MiB", "+ scratch", "are available; choose a smaller model"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!source.is_mapped(), "refused before a tensor is mapped");
    let options = CpuOptions { kv: KvMemory::Blocks(1), ..CpuOptions::default() };
    CpuBackend::load(&source, &options, &mut |_| ()).unwrap();
    assert!(source.is_mapped());
}

#[test]
fn progress_reaches_the_total() {
    let model = Model::new("progress", &SynthSpec::default());
    let mut seen = Vec::new();
    let backend =
        CpuBackend::load(&model.file, &CpuOptions::default(), &mut |progress| seen.push(progress)).unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));
    let last = seen.last().unwrap();
    assert_eq!((last.phase, last.bytes), (LoadPhase::Reserve, last.total_bytes));
    assert_eq!(backend.description().weight_bytes, last.total_bytes);
}

/// Adapters are read before the model is mapped, and have a phase where there are any.
#[test]
fn loading_tells_each_of_its_phases_once() {
    let spec = SynthSpec::default();
    let model = Model::new("phases", &spec);
    let (_folder, file) = adapter(&spec, 4, 1);
    let phases = |adapters: &[(String, AdapterFile)]| {
        let mut phases = Vec::new();
        let mut note = |progress: LoadProgress| phases.push(progress.phase);
        CpuBackend::load_with(&model.file, adapters, &CpuOptions::default(), &mut note).unwrap();
        phases.dedup();
        phases
    };
    let usual = [LoadPhase::Map, LoadPhase::Repack, LoadPhase::Reserve];
    assert_eq!(phases(&[]), usual);
    assert_eq!(phases(&[("tone".to_owned(), file)]), [&[LoadPhase::Adapters][..], &usual].concat());
}

#[test]
fn a_copied_block_serves_as_the_first() {
    let model = Model::new("copied", &SynthSpec::default());
    let mut backend = model.backend(None);
    let tokens = tokens(40, 131);
    let whole = run(&mut backend, &tokens, &blocks(0..3), 40);
    backend.copy_block(BlockId(0), BlockId(9));
    backend.copy_block(BlockId(1), BlockId(5));
    backend.copy_block(BlockId(0), BlockId(1 << 30));
    let table = blocks([9, 5, 20]);
    let rest = SequenceChunk {
        tokens: &tokens[32..],
        start: 32,
        blocks: &table,
        logits: LogitsWanted::Last,
        adapter: None,
    };
    let mut logits = Logits::default();
    backend.forward(&[rest], &mut logits).unwrap();
    assert!(difference(&[logits.row(0).unwrap().to_vec()], &whole[39..]) < 1e-4);
}

#[test]
fn a_profile_counts_each_matrix_once_a_step() {
    let model = Model::new("profile", &SynthSpec::default());
    let mut backend = model.backend(None);
    backend.profile().start();
    run(&mut backend, &tokens(4, 131), &blocks(0..1), 1);
    let spans = backend.profile().take();
    // Each of four steps reads every matrix; the tied table is the head's too.
    let read: u64 =
        spans.iter().filter(|(op, _)| *op != Operation::Attention).map(|(_, s)| s.work.bytes).sum();
    let row = model.file.tensor("token_embd.weight").unwrap().bytes() as u64 / 131;
    assert_eq!(read, 4 * (backend.description().weight_bytes + row));
    let heads = spans.iter().find(|(op, _)| *op == Operation::Head).unwrap().1;
    assert_eq!((heads.count, heads.work.multiplications), (4, 4 * 131 * 64));
    let attention = spans.iter().find(|(op, _)| *op == Operation::Attention).unwrap().1;
    // Two layers; 1 + 2 + 3 + 4 positions of two heads' keys and values, in F16.
    assert_eq!((attention.count, attention.work.bytes), (8, 2 * 10 * 2 * 2 * 16 * 2));
}
