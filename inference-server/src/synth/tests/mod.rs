//! Every family in several types: made, loaded, and its logits finite and varied; the same seed, the same bytes; and
//! what makes no model is refused by name.

mod variants;

use std::num::NonZeroUsize;
use std::path::Path;

use super::*;
use crate::backend::cpu::{CpuBackend, CpuEncoder, CpuOptions, EncoderInput, KvMemory, Pooling};
use crate::backend::{Backend as _, Logits, LogitsWanted, SequenceChunk};
use crate::chat_template::ChatTemplate;
use crate::gguf::{GgufFile, TensorType};
use crate::kv::BlockId;
use crate::model::TensorSource;
use crate::safetensors::SafetensorsFolder;
use crate::tokenizer::{EncodeOptions, Tokenizer, TokenizerMetadata};

fn tiny(family: Family, format: Format, matrices: TensorType) -> SynthSpec {
    let mut shape = Shape::named("tiny", family).unwrap();
    if family == Family::Gemma3 {
        // Every sixth layer sees everything.
        shape.layers = 6;
    }
    SynthSpec::new(family, shape, format, matrices)
}

fn options() -> CpuOptions {
    CpuOptions { threads: NonZeroUsize::new(2), kv: KvMemory::Blocks(8), ..CpuOptions::default() }
}

/// Loads the decoder of `source` and looks at its logits after each of some tokens.
fn check_decoder(source: &dyn TensorSource, what: &str) {
    let mut backend = CpuBackend::load(source, &options(), &mut |_| ()).unwrap();
    let tokens: Vec<u32> = (0..48).map(|i| (i * 37 + 5) % 512).collect();
    let blocks: Vec<BlockId> = (0..8).map(BlockId).collect();
    let chunk = SequenceChunk {
        tokens: &tokens,
        start: 0,
        blocks: &blocks,
        logits: LogitsWanted::All,
        adapter: None,
    };
    let mut logits = Logits::default();
    backend.forward(&[chunk], &mut logits).unwrap();
    let mut best = std::collections::HashSet::new();
    for row in (0..logits.rows()).map(|row| logits.row(row).unwrap()) {
        assert_varied(row, what);
        best.insert((0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])));
    }
    assert!(best.len() > 8, "{what}: {} different best tokens of 48", best.len());
}

/// Neither infinite nor all alike, nor so large that sampling knows one token only.
fn assert_varied(row: &[f32], what: &str) {
    assert!(row.iter().all(|x| x.is_finite()), "{what}");
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    let deviation = (row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / row.len() as f32).sqrt();
    assert!((0.2..5.0).contains(&deviation), "{what}: logits deviate by {deviation}");
}

#[test]
fn every_decoder_family_is_served_from_gguf() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL.into_iter().filter(|family| !family.is_encoder()) {
        for kind in [TensorType::F32, TensorType::Q8_0, TensorType::Q4K, TensorType::MXFP4] {
            let what = format!("{}-{kind}.gguf", family.name());
            let path = folder.path().join(&what);
            let made = tiny(family, Format::Gguf, kind).write(&path, WriteOptions::default()).unwrap();
            assert_eq!(made.bytes, path.metadata().unwrap().len(), "{what}");
            check_decoder(&GgufFile::open(&path).unwrap(), &what);
        }
    }
}

#[test]
fn every_type_makes_varied_logits() {
    let folder = tempfile::tempdir().unwrap();
    for kind in TensorType::ALL {
        let path = folder.path().join(kind.name());
        let spec = SynthSpec { embeddings: kind, ..tiny(Family::Llama, Format::Gguf, kind) };
        spec.write(&path, WriteOptions::default()).unwrap();
        check_decoder(&GgufFile::open(&path).unwrap(), kind.name());
    }
}

#[test]
fn every_decoder_family_is_served_from_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL.into_iter().filter(|family| !family.is_encoder()) {
        for kind in [TensorType::F32, TensorType::BF16, TensorType::F16] {
            let what = format!("{}-{kind}", family.name());
            let path = folder.path().join(&what);
            tiny(family, Format::Safetensors, kind).write(&path, WriteOptions::default()).unwrap();
            check_decoder(&SafetensorsFolder::open(&path).unwrap(), &what);
            check_tokenizer_json(&path, 512);
        }
    }
}

#[test]
fn encoders_are_served() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Bert, Family::XlmRoberta] {
        for kind in [TensorType::F32, TensorType::BF16] {
            let path = folder.path().join(format!("{}-{kind}", family.name()));
            tiny(family, Format::Safetensors, kind).write(&path, WriteOptions::default()).unwrap();
            let source = SafetensorsFolder::open(&path).unwrap();
            let mut encoder = CpuEncoder::load(&source, &options(), Pooling::Mean, &mut |_| ()).unwrap();
            assert_eq!(encoder.context_length(), 512);
            let inputs: Vec<Vec<u32>> =
                (0..2).map(|n| (0..20).map(|i| (i * 7 + n) % 512).collect()).collect();
            let types = [0; 20];
            let inputs: Vec<_> = inputs.iter().map(|tokens| EncoderInput { tokens, types: &types }).collect();
            let vectors = encoder.encode(&inputs).unwrap();
            assert!(vectors.iter().flatten().all(|x| x.is_finite()));
            let cosine: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
            assert!(cosine < 0.999, "two texts are alike: {cosine}");
            check_tokenizer_json(&path, 512);
        }
    }
}

fn check_tokenizer_json(path: &Path, vocabulary: usize) {
    let tokenizer = tokenizers::Tokenizer::from_file(path.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer.get_vocab_size(true), vocabulary);
    let text = "Hello there, wörld";
    let ids = tokenizer.encode(text, true).unwrap();
    assert_eq!(tokenizer.decode(ids.get_ids(), true).unwrap(), text);
}

#[test]
fn texts_go_through_the_tokenizer_of_a_file_and_its_template_renders() {
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("model.gguf");
    let spec = tiny(Family::Llama, Format::Gguf, TensorType::Q4_0);
    spec.write(&path, WriteOptions::default()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let metadata = TokenizerMetadata::from_gguf(file.metadata()).unwrap();
    let template = metadata.chat_template.clone().unwrap();
    let tokenizer = Tokenizer::new(metadata).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 512);
    ChatTemplate::new(template, tokenizer.bos_text(), tokenizer.eos_text()).unwrap();
    let text = "a word, <|im_end|> and ünï";
    let options = EncodeOptions { add_special: true, parse_special: true };
    let ids = tokenizer.encode(text, options).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.piece(id).to_vec()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
    assert!(ids.iter().any(|&id| tokenizer.is_end(id)));
}

#[test]
fn a_seed_makes_the_same_bytes_whatever_the_threads_and_another_makes_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut shape = Shape::named("tiny", Family::Llama).unwrap();
    // Several pieces a tensor.
    shape.vocabulary = 20_000;
    let spec = SynthSpec::new(Family::Llama, shape, Format::Gguf, TensorType::F16);
    let bytes = |name: &str, threads, seed| {
        let path = folder.path().join(name);
        let options = WriteOptions { threads: NonZeroUsize::new(threads), force: true };
        SynthSpec { seed, ..spec.clone() }.write(&path, options).unwrap();
        std::fs::read(path).unwrap()
    };
    let one = bytes("one", 1, 7);
    assert!(one == bytes("three", 3, 7));
    assert!(one == SynthSpec { seed: 7, ..spec.clone() }.bytes().unwrap());
    assert!(one != bytes("other", 1, 8));
    // Nothing unfinished is left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn bytes_change_with_the_version_only() {
    let digest = |spec: SynthSpec| {
        let hash = <sha2::Sha256 as sha2::Digest>::digest(spec.bytes().unwrap());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let found = [
        digest(SynthSpec::default()),
        digest(tiny(Family::Mixtral, Format::Gguf, TensorType::Q4K)),
        digest(tiny(Family::Bert, Format::Safetensors, TensorType::BF16)),
    ];
    assert_eq!(
        (VERSION, found),
        (1, ["bdaed12b7f26c807", "d64a6b416730895b", "e24203ca8cf46dd8"].map(str::to_owned)),
        "raise VERSION where bytes change"
    );
}

#[test]
fn what_lies_there_is_kept_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, "mine").unwrap();
    let spec = tiny(Family::Llama, Format::Gguf, TensorType::Q8_0);
    let error = spec.write(&file, WriteOptions::default()).unwrap_err().to_string();
    assert!(error.contains("model.gguf is there already") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let force = WriteOptions { force: true, ..WriteOptions::default() };
    spec.write(&file, force).unwrap();
    GgufFile::open(&file).unwrap();

    let model = folder.path().join("folder");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("tokenizer.json"), "mine").unwrap();
    let spec = tiny(Family::Llama, Format::Safetensors, TensorType::F32);
    let error = spec.write(&model, WriteOptions::default()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json is there already"), "{error}");
    assert_eq!(std::fs::read_dir(&model).unwrap().count(), 1);
    spec.write(&model, force).unwrap();
    SafetensorsFolder::open(&model).unwrap();
}

#[test]
fn a_file_that_another_writes_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let unfinished = std::fs::File::create(folder.path().join(".model.gguf.partial")).unwrap();
    unfinished.lock().unwrap();
    let spec = tiny(Family::Llama, Format::Gguf, TensorType::Q8_0);
    let write = || spec.write(&folder.path().join("model.gguf"), WriteOptions::default());
    let error = write().unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    // What a dead one left is taken over.
    drop(unfinished);
    write().unwrap();
}

#[test]
fn what_makes_no_model_is_refused_by_field_and_fix() {
    type Change = fn(&mut SynthSpec);
    let cases: [(Change, &str, &str); 23] = [
        (|s| s.shape.layers = 0, "layers 0", "from 1 to 4096"),
        (|s| s.shape.layers = 5000, "layers 5000", "from 1 to 4096"),
        (|s| s.shape.heads = 0, "heads 0", "from 1"),
        (|s| s.shape.kv_heads = 3, "kv-heads 3", "divide the 8 query heads"),
        (|s| s.shape.head = 33, "head 33", "even"),
        (|s| s.shape.head = 1024, "head 1024", "to 512"),
        (|s| s.shape.heads = 1 << 22, "heads 4194304", "use fewer"),
        (|s| s.shape.embedding = usize::MAX, "embedding", "from 1 to"),
        (|s| s.shape.embedding = 300, "embedding 300", "such as 512"),
        (|s| s.shape.feed_forward = 5633, "feed-forward 5633", "such as 5888"),
        (|s| s.shape.head = 30, "heads 240", "such as 256"),
        (|s| s.shape.vocabulary = 200, "vocabulary 200", "needs 259 tokens"),
        (|s| s.shape.context = 0, "context 0", "from 1"),
        (|s| (s.shape.feed_forward, s.shape.layers) = (1 << 24, 4096), "layers 4096", "parameters: use less"),
        (|s| s.shape.window = Some(4), "window 4", "llama has no window"),
        (|s| s.shape.experts = 4, "experts 4", "leave it out"),
        (|s| s.shape.rope_base = -1.0, "rope-base -1", "positive"),
        (|s| s.family = Family::Mixtral, "experts 0", "from 1"),
        (|s| s.format = Format::Safetensors, "matrices Q4_K", "f32, f16 or bf16"),
        (|s| s.family = Family::Bert, "kv-heads 2", "use 8 of 32"),
        (|s| (s.family, s.shape.kv_heads) = (Family::Bert, 8), "family bert", "give a folder"),
        (
            |s| {
                *s = tiny(Family::Mixtral, Format::Gguf, TensorType::Q4K);
                s.shape.experts_used = 9;
            },
            "experts-used 9",
            "from 1 to 8",
        ),
        (
            |s| {
                *s = tiny(Family::Mixtral, Format::Gguf, TensorType::Q4K);
                s.shape.expert_feed_forward = 256;
            },
            "expert-feed-forward 256",
            "leave it out",
        ),
    ];
    for (change, field, fix) in cases {
        let mut spec = tiny(Family::Llama, Format::Gguf, TensorType::Q4K);
        change(&mut spec);
        let error = spec.bytes().unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains(fix), "{error}");
    }
}

#[test]
fn no_room_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut shape = Shape::named("8b", Family::Llama).unwrap();
    // Some 16 TB.
    (shape.layers, shape.feed_forward) = (4096, 65536);
    let spec = SynthSpec::new(Family::Llama, shape, Format::Gguf, TensorType::F32);
    let error = spec.write(&folder.path().join("model.gguf"), WriteOptions::default()).unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn named_shapes_can_be_made_of_every_family() {
    for (name, _) in SHAPES {
        for family in Family::ALL {
            let format = if family.is_encoder() { Format::Safetensors } else { Format::Gguf };
            let spec = SynthSpec::new(family, Shape::named(name, family).unwrap(), format, TensorType::BF16);
            spec.check().unwrap_or_else(|error| panic!("{name} {}: {error}", family.name()));
        }
    }
}

/// Logits of a model that is quantised while loading are near those of its floats, in a fraction of the memory.
#[test]
fn a_model_is_quantised_while_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    tiny(Family::Llama, Format::Safetensors, TensorType::F32).write(&path, WriteOptions::default()).unwrap();
    let logits = |kind: Option<TensorType>| {
        let source = SafetensorsFolder::open(&path).unwrap().quantized(kind);
        let mut backend = CpuBackend::load(&source, &options(), &mut |_| ()).unwrap();
        let tokens: Vec<u32> = (0..16).map(|i| (i * 37 + 5) % 512).collect();
        let chunk = SequenceChunk {
            tokens: &tokens,
            start: 0,
            blocks: &[BlockId(0)],
            logits: LogitsWanted::Last,
            adapter: None,
        };
        let mut logits = Logits::default();
        backend.forward(&[chunk], &mut logits).unwrap();
        (logits.row(0).unwrap().to_vec(), backend.description().weight_bytes)
    };
    let (exact, whole) = logits(None);
    for (kind, least, share) in [(TensorType::Q8_0, 0.999, 0.3), (TensorType::Q4K, 0.9, 0.16)] {
        let (found, bytes) = logits(Some(kind));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let cosine = dot(&exact, &found) / (dot(&exact, &exact) * dot(&found, &found)).sqrt();
        assert!((least..0.999_999_9).contains(&cosine), "{kind}: {cosine}");
        assert!((bytes as f64) < whole as f64 * share, "{kind}: {bytes} of {whole} bytes");
    }
}
