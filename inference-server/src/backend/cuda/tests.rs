//! Tiny random models on the emulated card, against the CPU backend and against themselves.

mod e4m3;
mod facts;
mod parallel;

use std::num::NonZeroUsize;
use std::sync::Arc;

use weighbridge_crds::SleepingWeights;
use weighbridge_cuda_emulator::EmulatedDevice;

use super::*;
use crate::backend::cpu::{CpuBackend, CpuOptions, KvMemory, LoadError};
use crate::backend::{AdapterId, LogitsWanted};
use crate::gguf::TensorType;
use crate::kv::BlockId;
use crate::model::TensorSource;
use crate::sampling::{Sampled, Sampler, SamplingParams, Scratch};
use crate::synth::{Family, Format, Shape, SynthSpec};
use crate::testing::NotedFile;

const OPTIONS: CudaOptions = CudaOptions {
    kv: Some(KvMemory::Blocks(128)),
    cache: CacheKind::F16,
    step_tokens: 128,
    sequences: 8,
    context_length: None,
    sleeps: false,
};

fn spec(kind: TensorType) -> SynthSpec {
    let shape = Shape::named("tiny", Family::Llama).unwrap();
    SynthSpec { seed: 3, ..SynthSpec::new(Family::Llama, shape, Format::Gguf, kind) }
}

fn card(source: &dyn TensorSource, options: &CudaOptions) -> Result<CudaBackend, LoadError> {
    CudaBackend::load(Box::new(EmulatedDevice::new(1 << 30)), source, &[], options, &mut |_| ())
}

fn blocks(ids: std::ops::Range<u32>) -> Vec<BlockId> {
    ids.map(BlockId).collect()
}

fn tokens(count: usize, seed: u32) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 37 + i * i * 11 + seed) % 512).collect()
}

/// A chunk of a sequence.
fn chunk<'a>(
    tokens: &'a [u32],
    start: usize,
    blocks: &'a [BlockId],
    logits: LogitsWanted,
) -> SequenceChunk<'a> {
    SequenceChunk { tokens, start, blocks, logits, adapter: None }
}

fn rows(backend: &mut dyn Backend, batch: &[SequenceChunk<'_>]) -> Vec<Vec<f32>> {
    let mut logits = Logits::default();
    backend.forward(batch, &mut logits).unwrap();
    (0..logits.rows()).map(|row| logits.row(row).unwrap().to_vec()).collect()
}

/// A step with its draws.
fn draw(backend: &mut CudaBackend, batch: &[SequenceChunk<'_>], draws: &[Draw]) -> Vec<Drawn> {
    backend.begin(batch, draws).unwrap();
    backend.fetch().unwrap()
}

/// The largest difference, of the largest logit.
fn difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().flatten().fold(1e-6f32, |most, x| most.max(x.abs()));
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

#[test]
fn every_stored_type_computes_what_the_cpu_does() {
    for kind in TensorType::ALL {
        let source = NotedFile::new(&spec(kind));
        let options =
            CpuOptions { threads: NonZeroUsize::new(1), kv: KvMemory::Blocks(64), ..CpuOptions::default() };
        let mut cpu = CpuBackend::load(&source, &options, &mut |_| ()).unwrap();
        let mut card = card(&source, &OPTIONS).unwrap();
        let (prompt, table) = (tokens(70, 5), blocks(3..8));
        let mut worst = 0.0f32;
        for batch in [
            // The library multiplies 70 rows, our own kernels fewer.
            [chunk(&prompt[..69], 0, &table, LogitsWanted::Last)],
            [chunk(&prompt[69..], 69, &table, LogitsWanted::Last)],
            [chunk(&prompt[40..60], 40, &table, LogitsWanted::All)],
        ] {
            worst = worst.max(difference(&rows(&mut card, &batch), &rows(&mut cpu, &batch)));
        }
        // The CPU rounds activations to int8 beside quants, the card to bfloat16 always.
        assert!(worst < 0.04, "{kind}: {worst}");
    }
}

#[test]
fn a_sequence_is_the_same_bits_alone_and_in_a_batch() {
    let source = NotedFile::new(&spec(TensorType::Q4K));
    let mut backend = card(&source, &OPTIONS).unwrap();
    let prompts: Vec<Vec<u32>> = (0..5).map(|index| tokens(20 + 60 * index, 7 * index as u32)).collect();
    let tables: Vec<Vec<BlockId>> = (0..5u32).map(|index| blocks(17 * index..17 * index + 17)).collect();
    // Prompts in chunks that the step holds.
    for (prompt, table) in prompts.iter().zip(&tables) {
        for (index, part) in prompt.chunks(100).enumerate() {
            rows(&mut backend, &[chunk(part, index * 100, table, LogitsWanted::None)]);
        }
    }
    let next = [9u32, 8, 7, 6, 5];
    let step = |index: usize| {
        chunk(&next[index..index + 1], prompts[index].len(), &tables[index], LogitsWanted::Last)
    };
    let batch: Vec<_> = (0..5).map(step).collect();
    let together = rows(&mut backend, &batch);
    // The second time the step is recorded, and from then on replayed.
    for _ in 0..2 {
        assert_eq!(rows(&mut backend, &batch), together);
    }
    let recorded = backend.recordings.states().filter(|state| matches!(state, Recorded::As(_))).count();
    for (index, expected) in together.iter().enumerate() {
        assert_eq!(rows(&mut backend, &[step(index)]), std::slice::from_ref(expected), "sequence {index}");
    }
    assert!(recorded == 1 && backend.recordings.states().count() > 1, "{recorded}");
    // Beside a chunk of a prompt, nothing is recorded, and nothing changes: also where the library multiplies the prompt.
    for length in [30, 100] {
        let (other, spare) = (tokens(length, 1), blocks(110..117));
        let mixed = rows(&mut backend, &[step(2), chunk(&other, 0, &spare, LogitsWanted::None)]);
        assert_eq!(mixed, std::slice::from_ref(&together[2]));
        let mixed = rows(&mut backend, &[step(2), step(4), chunk(&other, 0, &spare, LogitsWanted::Last)]);
        assert_eq!(mixed[..2], [together[2].clone(), together[4].clone()]);
    }
}

#[test]
fn a_sequence_is_the_same_bits_in_a_step_of_more_rows_than_a_block_takes() {
    let source = NotedFile::new(&spec(TensorType::Q4_0));
    let mut backend = card(&source, &CudaOptions { sequences: 100, ..OPTIONS }).unwrap();
    let next: Vec<u32> = tokens(100, 9);
    let tables: Vec<Vec<BlockId>> = (0..100).map(|index| blocks(index..index + 1)).collect();
    let step = |index: usize| chunk(&next[index..=index], 0, &tables[index], LogitsWanted::Last);
    let batch: Vec<_> = (0..100).map(step).collect();
    let together = rows(&mut backend, &batch);
    for index in [0, 63, 64, 99] {
        assert_eq!(rows(&mut backend, &[step(index)])[0], together[index], "sequence {index}");
    }
}

/// After a sleep a model says what it said before, on a card that was another's meanwhile.
#[test]
fn a_model_that_slept_is_the_same() {
    let source = Arc::new(NotedFile::new(&spec(TensorType::Q4K)));
    for weights in [SleepingWeights::Dropped, SleepingWeights::Host] {
        // Keys and values get all that is left, but for what others keep of the card when they sleep.
        let options = CudaOptions { sleeps: true, kv: None, ..OPTIONS };
        let device = Box::new(EmulatedDevice::new(64 << 20));
        let backend = CudaBackend::load(device, &*source, &[], &options, &mut |_| ()).unwrap();
        let mut backend = backend.with_sleep(Arc::clone(&source) as Arc<_>, weights);
        let (prompt, table, next) = (tokens(20, 4), blocks(0..2), [7]);
        let say = |backend: &mut CudaBackend| {
            rows(backend, &[chunk(&prompt, 0, &table, LogitsWanted::None)]);
            let step = chunk(&next, prompt.len(), &table, LogitsWanted::Last);
            [0, 1, 2].map(|_| rows(backend, std::slice::from_ref(&step)))
        };
        let said = say(&mut backend);
        let awake = backend.device.free_memory().unwrap();
        let given = backend.sleeping().unwrap().sleep().unwrap();
        assert_eq!(backend.device.free_memory().unwrap(), 64 << 20, "{weights}: all of it is given back");
        assert!(given > 1 << 20 && backend.recordings.states().count() == 0, "{given}");
        // Another has the card, and then sleeps too.
        let (taken, kept) = (60 << 20, 4 << 20);
        let others = [taken - kept, kept].map(|bytes| backend.device.allocate(bytes).unwrap());
        let error = backend.sleeping().unwrap().wake().unwrap_err();
        assert!(matches!(&error, BackendError::NoRoom { .. }), "{error}");
        let error = error.to_string();
        assert!(
            error.starts_with("cuda has no room: weights ") && error.contains("4.0 MiB are free"),
            "{error}"
        );
        backend.device.free(others[0]).unwrap();
        backend.sleeping().unwrap().wake().unwrap();
        assert_eq!(backend.device.free_memory().unwrap(), awake - kept, "{weights}");
        assert_eq!(say(&mut backend), said, "{weights}");
    }
}

#[test]
fn a_model_that_was_not_loaded_to_sleep_does_not() {
    let source = NotedFile::new(&spec(TensorType::Q8_0));
    assert!(card(&source, &OPTIONS).unwrap().sleeping().is_none());
}

#[test]
fn more_rows_of_logits_than_there_is_room_for_come_in_parts() {
    let source = NotedFile::new(&spec(TensorType::Q8_0));
    let mut backend = card(&source, &OPTIONS).unwrap();
    let (prompt, table) = (tokens(128, 3), blocks(0..8));
    let all = rows(&mut backend, &[chunk(&prompt, 0, &table, LogitsWanted::All)]);
    assert_eq!(all.len(), 128);
    for position in [0, 63, 64, 127] {
        let chunk = chunk(&prompt[..=position], 0, &table, LogitsWanted::Last);
        assert!(difference(&rows(&mut backend, &[chunk]), &all[position..=position]) < 0.01, "{position}");
    }
}

#[test]
fn adapters_of_a_batch_keep_to_their_rows() {
    let source = NotedFile::new(&spec(TensorType::BF16));
    let mut backend = card(&source, &OPTIONS).unwrap();
    let prompt = tokens(4, 1);
    let table = blocks(0..1);
    let unknown =
        SequenceChunk { adapter: Some(AdapterId(0)), ..chunk(&prompt, 0, &table, LogitsWanted::Last) };
    let error = backend.forward(&[unknown], &mut Logits::default()).unwrap_err().to_string();
    assert_eq!(error, "chunk 0: adapter 0 is not among the 0 loaded");
}

#[test]
fn what_does_not_fit_is_refused_with_the_arithmetic() {
    let source = NotedFile::new(&spec(TensorType::F16));
    let load = |memory: u64, kv| {
        let options = CudaOptions { kv, ..OPTIONS };
        CudaBackend::load(Box::new(EmulatedDevice::new(memory)), &source, &[], &options, &mut |_| ())
    };
    let error = load(4 << 20, Some(KvMemory::Blocks(64))).unwrap_err().to_string();
    assert!(
        error.starts_with("the model does not fit: weights ") && error.contains(" free on the card"),
        "{error}"
    );
    let error = load(64 << 20, Some(KvMemory::Blocks(0))).unwrap_err().to_string();
    assert!(error.starts_with("kv: it makes 0 blocks"), "{error}");
    // Where nothing is asked for, keys and values get what is left, and no more.
    let backend = load(64 << 20, None).unwrap();
    assert!(backend.description().kv_blocks > 1000, "{:?}", backend.description());
    // What is left must hold one context, or the CPU serves, which has room for it.
    let context = 32 * backend.description().kv_blocks;
    let options = CudaOptions { kv: None, context_length: Some(context), ..OPTIONS };
    let device = Box::new(EmulatedDevice::new(64 << 20));
    let error = CudaBackend::load(device, &source, &[], &options, &mut |_| ()).unwrap_err();
    assert!(matches!(error, LoadError::Memory { .. }), "{error}");
    // Less what loading took, and what is the driver's.
    let free = backend.device.free_memory().unwrap();
    assert!(free < 12 << 20, "{free}");
}

#[test]
fn a_step_of_more_rows_than_planned_is_refused_before_anything_runs() {
    let source = NotedFile::new(&spec(TensorType::Q8_0));
    let mut backend = card(&source, &OPTIONS).unwrap();
    let (prompt, table) = (tokens(129, 1), blocks(0..9));
    let error = backend.forward(&[chunk(&prompt, 0, &table, LogitsWanted::Last)], &mut Logits::default());
    let said = error.unwrap_err().to_string();
    assert_eq!(said, "chunk 0: with it the step has 129 rows, more than the 128 planned for");
}

/// Greedy with penalties, biases and log probabilities: what the CPU makes of the same logits; drawn ones, the same token
/// for the same number alone and in a batch.
#[test]
fn tokens_are_drawn_where_the_logits_are() {
    let source = NotedFile::new(&spec(TensorType::Q8_0));
    let mut backend = card(&source, &OPTIONS).unwrap();
    let prompts: Vec<Vec<u32>> = (0..3).map(|index| tokens(10 + index, 3 * index as u32)).collect();
    let tables: Vec<Vec<BlockId>> = (0..3u32).map(|index| blocks(index..index + 1)).collect();
    let batch: Vec<_> = prompts
        .iter()
        .zip(&tables)
        .map(|(prompt, table)| chunk(prompt, 0, table, LogitsWanted::Last))
        .collect();
    let logits = rows(&mut backend, &batch);
    let best = |row: &[f32]| {
        (0..row.len() as u32).max_by(|a, b| row[*a as usize].total_cmp(&row[*b as usize])).unwrap()
    };
    let greedy = SamplingParams { temperature: 0.0, ..SamplingParams::default() };
    let params = [
        greedy.clone(),
        SamplingParams {
            repetition_penalty: 1.5,
            logit_bias: vec![(best(&logits[1]), -5.0), (7, 30.0), (600, 1.0)],
            top_logprobs: Some(3),
            ..greedy.clone()
        },
        SamplingParams { top_logprobs: Some(0), ..greedy },
    ];
    let sampler = |index: usize| Sampler::new(params[index].clone(), &prompts[index]);
    let draws: Vec<Draw> = (0..3).map(|index| sampler(index).prepare()).collect();
    let drawn = draw(&mut backend, &batch, &draws);
    for (index, (drawn, mut row)) in drawn.into_iter().zip(logits.clone()).enumerate() {
        let (drawn, expected) =
            (drawn.unwrap(), sampler(index).sample(&mut row, &mut Scratch::default()).unwrap());
        assert_eq!(drawn.token, expected.token, "row {index}");
        let probabilities = |sampled: &Sampled| sampled.logprobs.clone().map(|told| (told.logprob, told.top));
        let near = |a: f32, b: f32| (a - b).abs() < 1e-4;
        match (probabilities(&drawn), probabilities(&expected)) {
            (None, None) => assert_eq!(index, 0),
            (Some((own, top)), Some((expected, best))) => {
                assert!(near(own, expected) && top.len() == best.len());
                assert!(top.iter().zip(&best).all(|(a, b)| a.0 == b.0 && near(a.1, b.1)), "{top:?} {best:?}");
            }
            (found, expected) => panic!("{found:?} and {expected:?}"),
        }
    }
    let warm =
        SamplingParams { temperature: 1.3, top_k: 40, top_p: 0.9, seed: 5, ..SamplingParams::default() };
    let draws: Vec<Draw> =
        prompts.iter().map(|prompt| Sampler::new(warm.clone(), prompt).prepare()).collect();
    let together = draw(&mut backend, &batch, &draws);
    for (index, expected) in together.into_iter().enumerate() {
        let alone = draw(&mut backend, &batch[index..=index], &draws[index..=index]);
        assert_eq!(alone, [expected], "row {index}");
    }
    assert_eq!(draw(&mut backend, &[], &[]), []);
    let none = [chunk(&prompts[0], 0, &tables[0], LogitsWanted::None)];
    assert_eq!(draw(&mut backend, &none, &[]), []);
}
