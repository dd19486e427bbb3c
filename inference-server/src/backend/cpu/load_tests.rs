//! Loading: what is in memory while it goes on.

use super::load::{pack_all, scratch_bytes};
use super::*;
use crate::gguf::TensorInfo;
use crate::kernels::buffer::Buffer;
use crate::kernels::packed::PANEL_ROWS;
use crate::model::{PlannedModel, TensorSource as _, plan_decoder};
use crate::synth::{Family, Shape, SynthSpec};
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
