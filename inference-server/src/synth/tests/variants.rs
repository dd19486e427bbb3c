//! What a family may have beside its usual shape: rotary scalings, classifiers, weights in shards; and every type of every
//! family.

use super::*;
use crate::model::{EncoderOutput, plan_decoder};

/// Writes `spec` into `folder` and opens it as the engine does.
fn written(spec: &SynthSpec, folder: &Path, name: &str) -> Box<dyn TensorSource> {
    let made = match spec.format {
        Format::Gguf => spec.write(&folder.join(format!("{name}.gguf")), WriteOptions::default()).unwrap(),
        Format::Safetensors => spec.write(&folder.join(name), WriteOptions::default()).unwrap(),
    };
    match spec.format {
        Format::Gguf => Box::new(GgufFile::open(&made.path).unwrap()),
        Format::Safetensors => Box::new(SafetensorsFolder::open(&made.path).unwrap()),
    }
}

/// Logits after the last of some tokens, of the model served with a context of `context`.
fn logits(source: &dyn TensorSource, context: Option<usize>, count: u32) -> Vec<f32> {
    let options = CpuOptions { context_length: context, ..options() };
    let mut backend = CpuBackend::load(source, &options, &mut |_| ()).unwrap();
    let tokens: Vec<u32> = (0..count).map(|i| (i * 37 + 5) % 97).collect();
    let blocks: Vec<BlockId> = (0..8).map(BlockId).collect();
    let logits = LogitsWanted::Last;
    let chunk = SequenceChunk { tokens: &tokens, start: 0, blocks: &blocks, logits, adapter: None };
    let mut found = Logits::default();
    backend.forward(&[chunk], &mut found).unwrap();
    found.row(0).unwrap().to_vec()
}

/// Types are what is decoded, and nothing falls back to another.
#[test]
fn every_type_of_every_decoder_family_decodes_a_token() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL.into_iter().filter(|family| !family.is_encoder()) {
        for kind in TensorType::ALL {
            let mixture = family.is_mixture();
            let shape = Shape {
                layers: 1,
                feed_forward: 256,
                vocabulary: 97,
                experts: if mixture { 2 } else { 0 },
                expert_feed_forward: if mixture { 256 } else { 0 },
                ..Shape::named("tiny", family).unwrap()
            };
            let spec = SynthSpec::new(family, shape, Format::Gguf, kind);
            let spec = SynthSpec { embeddings: kind, tokenizer: false, ..spec };
            let what = format!("{}-{kind}", family.name());
            let source = written(&spec, folder.path(), &what);
            let plan = plan_decoder(source.as_ref(), None).unwrap().plan;
            let is_router = |name: &str| name.contains("ffn_gate_inp");
            let of_layers = plan.matrices.iter().filter(|matrix| !is_router(matrix.tensor.name()));
            assert!(of_layers.clone().count() > 4, "{what}");
            assert!(of_layers.clone().all(|matrix| matrix.layout.kind() == kind), "{what}: {}", plan.types());
            assert_varied(&logits(source.as_ref(), None, 1), &what);
        }
    }
}

#[test]
fn every_scaling_of_every_family_turns_positions_its_own_way() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL.into_iter().filter(|family| !family.is_encoder()) {
        let kinds: Vec<Rope> =
            Rope::ALL.into_iter().filter(|rope| rope.families().contains(&family)).collect();
        for format in [Format::Gguf, Format::Safetensors].into_iter().filter(|_| kinds.len() > 1) {
            let found = kinds.iter().map(|&rope| {
                let spec = tiny(family, format, TensorType::F32);
                let spec = SynthSpec { shape: Shape { rope, ..spec.shape.clone() }, ..spec };
                let what = format!("{}-{}", family.name(), rope.name());
                let source = written(&spec, folder.path(), &what);
                let found = logits(source.as_ref(), None, 12);
                assert_varied(&found, &what);
                found
            });
            let found: Vec<Vec<f32>> = found.collect();
            for (index, one) in found.iter().enumerate() {
                let same = found[..index].iter().any(|other| other == one);
                assert!(!same, "{}: scaling {index} changes nothing", family.name());
            }
        }
    }
}

/// A long context has other divisors than a short one, which have those of the training.
#[test]
fn longrope_goes_by_the_context_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Gguf, Format::Safetensors] {
        let spec = tiny(Family::Phi3, format, TensorType::F32);
        let shape = Shape { rope: Rope::LongRope, ..spec.shape.clone() };
        let source = written(&SynthSpec { shape, ..spec }, folder.path(), "m");
        assert_ne!(logits(source.as_ref(), Some(16), 12), logits(source.as_ref(), Some(17), 12));
    }
}

/// The divisors are in tensors or in the config: the same numbers.
#[test]
fn longrope_has_the_same_divisors_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |format| {
        let spec = tiny(Family::Phi3, format, TensorType::F32);
        SynthSpec { shape: Shape { rope: Rope::LongRope, ..spec.shape.clone() }, ..spec }
    };
    let made = spec(Format::Gguf).write(&folder.path().join("m.gguf"), WriteOptions::default()).unwrap();
    let file = GgufFile::open(&made.path).unwrap();
    let made = spec(Format::Safetensors).write(&folder.path().join("m"), WriteOptions::default()).unwrap();
    let config = SafetensorsFolder::open(&made.path).unwrap().config().clone();
    for (tensor, key) in
        [("rope_factors_short.weight", "short_factor"), ("rope_factors_long.weight", "long_factor")]
    {
        let bytes = file.read(file.tensor(tensor).unwrap()).unwrap();
        let stored: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let listed = config["rope_scaling"][key].as_array().unwrap();
        let listed: Vec<f32> = listed.iter().map(|value| value.as_f64().unwrap() as f32).collect();
        assert_eq!(stored, listed, "{key}");
    }
}

#[test]
fn a_scaling_of_another_family_is_refused_with_both_names() {
    for family in Family::ALL {
        let format = if family.is_encoder() { Format::Safetensors } else { Format::Gguf };
        for rope in Rope::ALL {
            let spec = tiny(family, format, TensorType::F32);
            let spec = SynthSpec { shape: Shape { rope, ..spec.shape.clone() }, ..spec };
            if rope.families().contains(&family) {
                spec.check().unwrap();
                continue;
            }
            let error = spec.check().unwrap_err().to_string();
            let begin = format!("rope {}: {} has none", rope.name(), family.name());
            assert!(error.starts_with(&begin), "{error}");
            assert!(rope.families().iter().all(|family| error.contains(family.name())), "{error}");
        }
    }
}

#[test]
fn rerankers_score_each_pair() {
    let folder = tempfile::tempdir().unwrap();
    for (family, class) in [
        (Family::Bert, "BertForSequenceClassification"),
        (Family::XlmRoberta, "XLMRobertaForSequenceClassification"),
    ] {
        for kind in [TensorType::F32, TensorType::BF16] {
            let spec = SynthSpec { reranker: true, ..tiny(family, Format::Safetensors, kind) };
            let source = written(&spec, folder.path(), &format!("{}-{kind}", family.name()));
            let mut encoder =
                CpuEncoder::load(source.as_ref(), &options(), Pooling::First, &mut |_| ()).unwrap();
            assert_eq!(encoder.output(), EncoderOutput::Scores(1), "{}", family.name());
            let texts: Vec<Vec<u32>> =
                (0..3).map(|n| (0..20).map(|i| (i * 7 + n * 31) % 512).collect()).collect();
            let types = [0; 20];
            let inputs: Vec<_> = texts.iter().map(|tokens| EncoderInput { tokens, types: &types }).collect();
            let scores: Vec<f32> = encoder.encode(&inputs).unwrap().concat();
            assert_eq!(scores.len(), 3);
            assert!(scores.iter().all(|score| score.abs() < 10.0), "{scores:?}");
            assert!(scores[0] != scores[1] && scores[1] != scores[2], "{scores:?}");
        }
        let config =
            std::fs::read_to_string(folder.path().join(format!("{}-F32/config.json", family.name())));
        assert!(config.unwrap().contains(class));
    }
    let spec = SynthSpec { reranker: true, ..tiny(Family::Qwen3, Format::Gguf, TensorType::F32) };
    let error = spec.check().unwrap_err().to_string();
    assert!(
        error.starts_with("reranker true: qwen3 writes text") && error.contains("xlm-roberta"),
        "{error}"
    );
}

/// Names of a folder's entries.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn shards_hold_the_model_of_the_whole_file() {
    for family in [Family::Llama, Family::Mixtral, Family::Bert] {
        for format in [Format::Gguf, Format::Safetensors] {
            if family.is_encoder() && format == Format::Gguf {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let whole = tiny(family, format, TensorType::BF16);
            let expected = written(&whole, folder.path(), "whole");
            for shards in [2, 3, 7] {
                let name = format!("s{shards}");
                let found = written(&SynthSpec { shards, ..whole.clone() }, folder.path(), &name);
                let files = match format {
                    Format::Gguf => names(folder.path()),
                    Format::Safetensors => names(&folder.path().join(&name)),
                };
                let numbered = format!("-00001-of-{shards:05}.");
                assert_eq!(files.iter().filter(|file| file.contains(&numbered)).count(), 1, "{files:?}");
                let sorted = |source: &dyn TensorSource| {
                    let mut names: Vec<String> = source.names().map(str::to_owned).collect();
                    names.sort_unstable();
                    names
                };
                assert_eq!(sorted(found.as_ref()), sorted(expected.as_ref()));
                for name in found.names() {
                    let read = |source: &dyn TensorSource| source.read(source.tensor(name).unwrap()).unwrap();
                    assert!(read(found.as_ref()) == read(expected.as_ref()), "{name} in {shards} shards");
                }
                if !family.is_encoder() && shards == 3 {
                    check_decoder(found.as_ref(), &name);
                }
            }
        }
    }
}

#[test]
fn shards_are_of_some_length_each() {
    let folder = tempfile::tempdir().unwrap();
    let spec = SynthSpec { shards: 4, ..tiny(Family::Llama, Format::Gguf, TensorType::Q8_0) };
    let made = spec.write(&folder.path().join("m.gguf"), WriteOptions::default()).unwrap();
    assert_eq!(made.path, folder.path().join("m-00001-of-00004.gguf"));
    let length = |name: &String| folder.path().join(name).metadata().unwrap().len();
    let lengths: Vec<u64> = names(folder.path()).iter().map(length).collect();
    assert_eq!((lengths.len(), lengths.iter().sum()), (4, made.bytes));
    assert!(lengths.iter().all(|length| length * 8 > made.bytes), "{lengths:?}");

    let tensors = GgufFile::open(&made.path).unwrap().tensors().len();
    let each = SynthSpec { shards: tensors, ..spec.clone() };
    let made = each.write(&folder.path().join("each.gguf"), WriteOptions::default()).unwrap();
    check_decoder(&GgufFile::open(&made.path).unwrap(), "a tensor a shard");
    for (shards, said) in [(0, "shards 0"), (tensors + 1, "use 1 to ")] {
        let error = SynthSpec { shards, ..spec.clone() }.check().unwrap_err().to_string();
        assert!(error.starts_with("shards ") && error.contains(said), "{error}");
    }
}

/// A folder has weights whole or in shards: those that were there before must not be taken for the new ones.
#[test]
fn shards_and_whole_weights_replace_each_other_only_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let force = WriteOptions { force: true, ..WriteOptions::default() };
    let whole = tiny(Family::Llama, Format::Safetensors, TensorType::F32);
    let other = SynthSpec { shards: 2, seed: 2, ..whole.clone() };
    let bytes = |path: &Path| {
        let source = SafetensorsFolder::open(path).unwrap();
        source.read(source.tensor("model.norm.weight").unwrap()).unwrap()
    };
    let mut seen = Vec::new();
    for (spec, then) in [(&whole, &other), (&other, &whole)] {
        let path = folder.path().join(format!("{}", spec.shards));
        spec.write(&path, WriteOptions::default()).unwrap();
        seen.push(bytes(&path));
        let before = names(&path);
        let error = then.write(&path, WriteOptions::default()).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        assert_eq!(names(&path), before);
        then.write(&path, force).unwrap();
        seen.push(bytes(&path));
    }
    assert!(seen[0] != seen[1] && seen[1] == seen[2] && seen[0] == seen[3]);
}
