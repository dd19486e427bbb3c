//! Loading: what is refused for lack of memory, and what is in memory while it goes on.

use super::load::{pack_all, scratch_bytes};
use super::*;
use crate::gguf::write::GgufWriter;
use crate::gguf::{GgufFile, TensorInfo, TensorType, Value};
use crate::kernels::buffer::Buffer;
use crate::kernels::packed::PANEL_ROWS;
use crate::model::{PlannedModel, TensorSource as _, plan_decoder, plan_encoder};
use crate::safetensors::SafetensorsFolder;
use crate::synth::{Family, Format, Shape, SynthSpec, WriteOptions};
use crate::testing::NotedFile;

/// A model with experts, which lie stacked in one tensor.
fn mixture() -> SynthSpec {
    let shape = Shape {
        experts: 4,
        experts_used: 2,
        expert_feed_forward: 96,
        feed_forward: 96,
        ..SynthSpec::default().shape
    };
    SynthSpec { family: Family::Mixtral, shape, ..SynthSpec::default() }
}

/// Guard: `pack_all` gives back what a step read before the next begins, of stacked experts too.
#[test]
fn no_more_than_a_step_lies_read_and_not_given_back() {
    for step in [1, 10_000, 1 << 20] {
        let source = NotedFile::new(&mixture());
        source.map().unwrap();
        let plan = plan_decoder(&source, None).unwrap().plan;
        let memory = Buffer::zeroed(plan.bytes).unwrap();
        let mut pool = Pool::new(NonZeroUsize::MIN).unwrap();
        // The first call says that packing begins; each of the others, that a step is over.
        let mut over = 0;
        pack_all(&source, plan, memory, &mut pool, step, &mut |_| {
            assert_eq!(source.released().len(), over, "steps given back");
            over += 1;
        })
        .unwrap();
        let released = source.released();
        for tensor in source.file.tensors().iter().filter(|tensor| tensor.shape().len() > 1) {
            let ranges: Vec<_> = released.iter().filter(|(name, _)| name == tensor.name()).collect();
            let end = ranges.iter().fold(0, |end, (_, range)| {
                assert_eq!(range.start, end, "{}: what lies between two steps", tensor.name());
                range.end
            });
            assert_eq!(end, tensor.bytes(), "{}", tensor.name());
            let panel = PANEL_ROWS * tensor.shape()[0] * size_of::<f32>();
            let matrix = tensor.bytes() / tensor.shape().get(2).unwrap_or(&1);
            let most = ranges.iter().map(|(_, range)| range.len()).max().unwrap();
            assert!(most <= step.max(panel).min(matrix), "{}: {most} of {matrix}", tensor.name());
        }
    }
}

/// Guard: `PackPlan::held_bytes` in the plan that is checked.
#[test]
fn a_model_needs_room_for_its_norms_and_biases_too() {
    let source = NotedFile::new(&SynthSpec { family: Family::Qwen2, ..SynthSpec::default() });
    let PlannedModel { plan, model } = plan_decoder(&source, None).unwrap();
    let vectors = source.file.tensors().iter().filter(|tensor| tensor.shape().len() == 1);
    assert_eq!(plan.vector_bytes, vectors.map(TensorInfo::bytes).sum::<usize>());

    let options = CpuOptions { kv: KvMemory::Blocks(1), ..CpuOptions::default() };
    let load = |room| CpuBackend::load_within(room, &source, &[], &options, &mut |_| ());
    let kv = load(None).unwrap().description().kv_bytes;
    let scratch = scratch_bytes(model.dimensions(), model.vocabulary(), options.step_tokens);
    let needed = (plan.bytes + plan.vector_bytes) as u64 + kv + scratch;
    assert!(matches!(load(Some(needed - 1)), Err(LoadError::Memory { .. })));
    load(Some(needed)).unwrap();
}

/// Guard: `MemoryPlan::check` on weights: what KV memory and scratch take would fit.
#[test]
fn weights_alone_can_be_too_much() {
    let shape = Shape { vocabulary: 1 << 14, ..SynthSpec::default().shape };
    let source = NotedFile::new(&SynthSpec { shape, ..SynthSpec::default() });
    let options = CpuOptions { kv: KvMemory::Blocks(1), step_tokens: 1, ..CpuOptions::default() };
    let load = |room| CpuBackend::load_within(room, &source, &[], &options, &mut |_| ());
    let error = load(Some(1 << 20)).unwrap_err().to_string();
    for part in ["weights 4.", "+ KV 0.0 MiB", "+ scratch 0.1 MiB", "but 1.0 MiB are available"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!source.file.is_mapped(), "refused before a tensor is mapped");
    load(Some(5 << 20)).unwrap();
    assert!(source.file.is_mapped());
}

/// The same of an encoder, whose step can be too much too.
#[test]
fn an_encoder_too_large_for_memory_is_refused_before_it_is_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let shape = Shape::named("tiny", Family::Bert).unwrap();
    let spec = SynthSpec::new(Family::Bert, shape, Format::Safetensors, TensorType::F32);
    spec.write(&path, WriteOptions::default()).unwrap();
    let source = SafetensorsFolder::open(&path).unwrap();
    let far = CpuOptions { step_tokens: 1 << 40, ..CpuOptions::default() };
    let error = CpuEncoder::load(&source, &far, Pooling::Mean, &mut |_| ()).unwrap_err().to_string();
    for part in ["does not fit: weights ", "+ KV ", "+ scratch ", "are available; choose a smaller model"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!source.is_mapped(), "refused before a tensor is mapped");

    let near = CpuOptions { step_tokens: 1, ..CpuOptions::default() };
    let load = |room| CpuEncoder::load_within(room, &source, &near, Pooling::Mean, &mut |_| ());
    let weights = plan_encoder(&source).unwrap().plan.held_bytes();
    assert!(matches!(load(Some(weights)), Err(LoadError::Memory { .. })));
    assert!(!source.is_mapped(), "refused before a tensor is mapped");
    load(Some(weights + (1 << 20))).unwrap();
    assert!(source.is_mapped());
}

/// The same of a model in parts, none of which is too much.
#[test]
fn a_split_model_too_large_for_memory_is_refused_before_a_part_is_mapped() {
    let whole = NotedFile::new(&SynthSpec::default());
    let folder = tempfile::tempdir().unwrap();
    let tensors = whole.file.tensors();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut paths = Vec::new();
    for (number, part) in [first, second].into_iter().enumerate() {
        let mut out = GgufWriter::new();
        whole.file.metadata().iter().for_each(|(key, value)| {
            out.pair(key, value.clone());
        });
        out.pair("split.no", Value::U16(number as u16)).pair("split.count", Value::U16(2));
        for tensor in part {
            out.tensor(tensor.name(), tensor.shape(), tensor.kind().kept(), whole.file.read(tensor).unwrap())
                .unwrap();
        }
        paths.push(folder.path().join(format!("m-{:05}-of-00002.gguf", number + 1)));
        out.write(&mut std::fs::File::create(&paths[number]).unwrap()).unwrap();
    }
    let source = GgufFile::open(&paths[0]).unwrap();
    let load = |kv| CpuBackend::load(&source, &CpuOptions { kv, ..CpuOptions::default() }, &mut |_| ());
    assert!(matches!(load(KvMemory::Bytes(1 << 43)), Err(LoadError::Memory { .. })));
    assert!(!source.is_mapped(), "refused before a part is mapped");
    let options = CpuOptions { kv: KvMemory::Blocks(1), step_tokens: 1, ..CpuOptions::default() };
    let load = |room| CpuBackend::load_within(room, &source, &[], &options, &mut |_| ());
    let weights = plan_decoder(&source, None).unwrap().plan.held_bytes();
    let parts = paths.iter().map(|path| std::fs::metadata(path).unwrap().len());
    assert!(parts.max().unwrap() < weights);
    assert!(matches!(load(Some(weights)), Err(LoadError::Memory { .. })));
    assert!(!source.is_mapped(), "refused before a part is mapped");
    load(Some(weights + (1 << 20))).unwrap();
    assert!(source.is_mapped());
}
