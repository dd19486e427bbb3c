//! What is asked of one model.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use weighbridge_crds::SleepingWeights;
use weighbridge_cuda::device::Device;
use weighbridge_inference_server::backend::cpu::{CpuBackend, CpuOptions, KvMemory};
use weighbridge_inference_server::backend::cuda::{CudaBackend, CudaOptions};
use weighbridge_inference_server::backend::{Backend, Drawing as _, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::{BlockId, blocks_for};
use weighbridge_inference_server::model::TensorSource;
use weighbridge_inference_server::safetensors::SafetensorsFolder;
use weighbridge_inference_server::synth::{Format, SynthSpec, WriteOptions};

use super::divergence::{Divergence, divergence, likeliest};
use super::{Bar, Candidate};
use crate::gpu::subject::GREEDY;

/// Runs of a step: the first one as it is written, the second recorded, the third replayed.
const RUNS: usize = 3;
/// Tokens of a step, at most.
const STEP_TOKENS: usize = 128;
/// Blocks of keys and values.
const BLOCKS: usize = 64;

/// How much of each model is run.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Tokens of each of a prompt's chunks: the library multiplies more than 64 at once, our own kernels fewer.
    pub chunks: [usize; 2],
    /// Tokens that are then decoded, greedily.
    pub steps: usize,
    /// Tokens of the prompts whose sequences then decode together.
    pub batch: [usize; 5],
}

impl Extent {
    /// On a card.
    pub const CARD: Self = Self { chunks: [70, 30], steps: 16, batch: [7, 20, 33, 64, 90] };
    /// Small enough for the emulator.
    pub const EMULATOR: Self = Self { chunks: [66, 3], steps: 1, batch: [1, 3, 2, 5, 18] };
}

/// What was found of a model.
#[derive(Clone, Debug)]
pub struct Found {
    /// Positions that were compared with the CPU's.
    pub rows: usize,
    /// Divergence from the CPU's next token, in nats: the mean of all but strays.
    pub mean: f64,
    /// The most of any, in nats.
    pub most: f64,
    /// Positions that are further off than others may be, of a mixture, which has some.
    pub strays: usize,
    /// Positions whose likeliest token is another one, nearly as likely.
    pub near_ties: usize,
    /// What is not as it should be.
    pub problems: Vec<String>,
}

/// Runs `candidate` on `device`.
///
/// # Errors
/// Where it can't be made, loaded or run.
pub(super) fn check(device: Box<dyn Device>, candidate: &Candidate, extent: &Extent) -> Result<Found> {
    let folder = tempfile::tempdir().context("can't make a folder for the model")?;
    let source = made(&candidate.spec, folder.path())?;
    let options = CpuOptions {
        threads: NonZeroUsize::new(1),
        kv: KvMemory::Blocks(BLOCKS),
        step_tokens: STEP_TOKENS,
        ..CpuOptions::default()
    };
    let mut cpu = CpuBackend::load(&*source, &options, &mut |_| ())?;
    let options = CudaOptions {
        kv: Some(KvMemory::Blocks(BLOCKS)),
        cache: candidate.cache,
        step_tokens: STEP_TOKENS,
        sequences: extent.batch.len(),
        context_length: None,
        sleeps: true,
    };
    let mut card = CudaBackend::load(device, &*source, &[], &options, &mut |_| ())?;
    let mut nearness = Nearness::default();
    let mut problems = Vec::new();
    decode(&mut card, &mut cpu, extent, &mut nearness, &mut problems)?;
    batch(&mut card, extent, &mut problems)?;
    sleep(card, &source, extent, &mut problems)?;
    Ok(nearness.judge(candidate.bar, problems))
}

/// The model of `spec`, in `folder`.
fn made(spec: &SynthSpec, folder: &Path) -> Result<Arc<dyn TensorSource + Send>> {
    let name = if spec.format == Format::Gguf { "model.gguf" } else { "model" };
    let path = spec.write(&folder.join(name), WriteOptions::default())?.path;
    Ok(match spec.format {
        Format::Gguf => Arc::new(GgufFile::open(&path)?),
        Format::Safetensors => Arc::new(SafetensorsFolder::open(&path)?),
    })
}

/// A prompt in two chunks, and what the CPU then says greedily, on both.
fn decode(
    card: &mut CudaBackend,
    cpu: &mut CpuBackend,
    extent: &Extent,
    nearness: &mut Nearness,
    problems: &mut Vec<String>,
) -> Result<()> {
    let (prompt, table) = prompt(extent, cpu.vocabulary_size());
    let mut next = 0;
    for (start, tokens) in chunks(extent, &prompt) {
        let chunk = chunk(tokens, start, &table, LogitsWanted::All);
        let (found, expected) = (rows(card, std::slice::from_ref(&chunk))?, rows(cpu, &[chunk])?);
        nearness.add(&found, &expected);
        next = expected.last().map_or(0, |row| likeliest(row));
    }
    for step in 0..extent.steps {
        let (token, start) = ([next], prompt.len() + step);
        let chunk = [chunk(&token, start, &table, LogitsWanted::Last)];
        let (found, expected) = (rows(card, &chunk)?, rows(cpu, &chunk)?);
        nearness.add(&found, &expected);
        for run in 1..RUNS {
            if !same(&rows(card, &chunk)?, &found) {
                problems.push(format!("step {step} is other bits when it runs again, the {}. time", run + 1));
            }
        }
        card.begin(&chunk, &[GREEDY])?;
        let drawn: Vec<_> = card.fetch()?.into_iter().map(|drawn| drawn.map(|drawn| drawn.token)).collect();
        if drawn != found.iter().map(|row| Ok(likeliest(row))).collect::<Vec<_>>() {
            problems.push(format!("step {step} draws another token than its logits' likeliest"));
        }
        next = expected.last().map_or(0, |row| likeliest(row));
    }
    Ok(())
}

/// Sequences that decode alone and together.
fn batch(card: &mut CudaBackend, extent: &Extent, problems: &mut Vec<String>) -> Result<()> {
    let vocabulary = card.vocabulary_size();
    let mut first = 0;
    let mut sequences = Vec::new();
    for (index, length) in extent.batch.into_iter().enumerate() {
        let tokens = tokens(length + 1, 7 * index as u32 + 1, vocabulary);
        let count = blocks_for(length + 1) as u32;
        sequences.push((tokens, (first..first + count).map(BlockId).collect::<Vec<_>>()));
        first += count;
    }
    let mut steps = Vec::new();
    for (tokens, table) in &sequences {
        let (prompt, last) = tokens.split_at(tokens.len() - 1);
        rows(card, &[chunk(prompt, 0, table, LogitsWanted::None)])?;
        steps.push(chunk(last, prompt.len(), table, LogitsWanted::Last));
    }
    let together = rows(card, &steps)?;
    for run in 1..RUNS {
        if !same(&rows(card, &steps)?, &together) {
            problems.push(format!("a batch is other bits when it runs again, the {}. time", run + 1));
        }
    }
    // All are of one size, so that the first ones of them are recorded, and the others replayed.
    for (index, (step, expected)) in steps.iter().zip(together.chunks(1)).enumerate() {
        if !same(&rows(card, std::slice::from_ref(step))?, expected) {
            problems.push(format!("sequence {index} is other bits alone than in a batch"));
        }
    }
    Ok(())
}

/// The model asleep and awake again, with its weights read anew and with those that the host kept.
fn sleep(
    mut card: CudaBackend,
    source: &Arc<dyn TensorSource + Send>,
    extent: &Extent,
    problems: &mut Vec<String>,
) -> Result<()> {
    let said = say(&mut card, extent)?;
    for weights in [SleepingWeights::Dropped, SleepingWeights::Host] {
        card = card.with_sleep(Arc::clone(source), weights);
        let sleeping = card.sleeping().context("it was loaded to sleep")?;
        sleeping.sleep()?;
        sleeping.wake()?;
        if !same(&say(&mut card, extent)?, &said) {
            problems.push(format!("it says something else after a sleep with weights {}", weights.as_str()));
        }
    }
    Ok(())
}

/// The prompt's last row, and those of a step in each of its runs.
fn say(card: &mut CudaBackend, extent: &Extent) -> Result<Vec<Vec<f32>>> {
    let (prompt, table) = prompt(extent, card.vocabulary_size());
    let mut said = Vec::new();
    for (start, tokens) in chunks(extent, &prompt) {
        said.extend(rows(card, &[chunk(tokens, start, &table, LogitsWanted::Last)])?);
    }
    let token = [said.last().map_or(0, |row| likeliest(row))];
    for _ in 0..RUNS {
        said.extend(rows(card, &[chunk(&token, prompt.len(), &table, LogitsWanted::Last)])?);
    }
    Ok(said)
}

/// Divergences so far.
#[derive(Default)]
struct Nearness(Vec<Divergence>);

impl Nearness {
    fn add(&mut self, found: &[Vec<f32>], expected: &[Vec<f32>]) {
        if found.len() != expected.len() {
            self.0.push(Divergence::ENDLESS);
        }
        self.0.extend(found.iter().zip(expected).map(|(found, expected)| divergence(found, expected)));
    }

    fn judge(self, bar: Bar, mut problems: Vec<String>) -> Found {
        let rows = self.0.len();
        let most = self.0.iter().map(|row| row.nats).fold(0.0, f64::max);
        // What is no number is no stray.
        let is_stray = |row: &&Divergence| row.nats.is_finite() && row.nats >= bar.most;
        let mut strays = self.0.iter().filter(is_stray).count();
        let judged: Vec<Divergence> = if strays as f64 <= bar.strays * rows as f64 {
            self.0.iter().filter(|row| !is_stray(row)).copied().collect()
        } else {
            strays = 0;
            self.0
        };
        let mean = judged.iter().map(|row| row.nats).sum::<f64>() / judged.len() as f64;
        let furthest = |of: fn(&Divergence) -> f64| judged.iter().map(of).fold(0.0, f64::max);
        for (what, found, bound) in [
            ("the mean divergence", mean, bar.mean),
            ("the most divergence", furthest(|row| row.nats), bar.most),
            ("what the CPU's token is likelier by", furthest(|row| row.lead), bar.near_tie),
        ] {
            // Also where it is no number.
            if found.is_nan() || found >= bound {
                problems.push(format!("{what} is {found:.1e} nats, and may be {bound:.1e}"));
            }
        }
        let near_ties = judged.iter().filter(|row| row.lead > 0.0 && row.lead < bar.near_tie).count();
        Found { rows, mean, most, strays, near_ties, problems }
    }
}

fn prompt(extent: &Extent, vocabulary: usize) -> (Vec<u32>, Vec<BlockId>) {
    let length = extent.chunks.iter().sum::<usize>();
    let blocks = blocks_for(length + extent.steps.max(1)) as u32;
    (tokens(length, 5, vocabulary), (0..blocks).map(BlockId).collect())
}

/// The prompt's chunks, and where they start.
fn chunks<'a>(extent: &Extent, prompt: &'a [u32]) -> [(usize, &'a [u32]); 2] {
    let (first, second) = prompt.split_at(extent.chunks[0]);
    [(0, first), (first.len(), second)]
}

fn tokens(count: usize, seed: u32, vocabulary: usize) -> Vec<u32> {
    (0..count as u32).map(|at| (at * 37 + at * at * 11 + seed) % vocabulary as u32).collect()
}

fn chunk<'a>(
    tokens: &'a [u32],
    start: usize,
    blocks: &'a [BlockId],
    logits: LogitsWanted,
) -> SequenceChunk<'a> {
    SequenceChunk { tokens, start, blocks, logits, adapter: None }
}

fn rows(backend: &mut dyn Backend, batch: &[SequenceChunk<'_>]) -> Result<Vec<Vec<f32>>> {
    let mut logits = Logits::default();
    backend.forward(batch, &mut logits)?;
    Ok((0..logits.rows()).filter_map(|row| logits.row(row)).map(<[f32]>::to_vec).collect())
}

/// Whether both are the same bits, all of them numbers.
fn same(found: &[Vec<f32>], expected: &[Vec<f32>]) -> bool {
    let bits = |rows: &[Vec<f32>]| -> Vec<Vec<u32>> {
        rows.iter().map(|row| row.iter().map(|logit| logit.to_bits()).collect()).collect()
    };
    let finite = found.iter().flatten().all(|logit| logit.is_finite());
    finite && bits(found) == bits(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(nats: &[f64], bar: Bar) -> Found {
        let rows = nats.iter().map(|nats| Divergence { nats: *nats, lead: 0.0 });
        Nearness(rows.collect()).judge(bar, Vec::new())
    }

    #[test]
    fn a_mixture_may_stray_now_and_then_and_nothing_may_be_no_number() {
        let mut nats = vec![1e-5; 39];
        nats.push(7e-2);
        let found = judged(&nats, Bar::MIXTURE);
        assert!(found.problems.is_empty() && found.strays == 1, "{found:?}");
        assert!((found.mean - 1e-5).abs() < 1e-12 && found.most == 7e-2, "{found:?}");
        assert_eq!(judged(&nats, Bar::PLAIN).problems.len(), 2);
        nats.extend([7e-2; 2]);
        assert_eq!(judged(&nats, Bar::MIXTURE).problems.len(), 2);
        for broken in [f64::INFINITY, f64::NAN] {
            nats.truncate(39);
            nats.push(broken);
            assert!(!judged(&nats, Bar::MIXTURE).problems.is_empty(), "{broken}");
        }
    }

    #[test]
    fn another_token_is_a_near_tie_or_wrong() {
        let judged = |lead| {
            Nearness(vec![Divergence { nats: 1e-6, lead }, Divergence { nats: 1e-6, lead: 0.0 }])
                .judge(Bar::PLAIN, Vec::new())
        };
        let near = judged(0.01);
        assert!(near.problems.is_empty() && near.near_ties == 1, "{near:?}");
        assert_eq!(
            judged(0.3).problems,
            ["what the CPU's token is likelier by is 3.0e-1 nats, and may be 5.0e-2"]
        );
    }

    #[test]
    fn the_same_is_the_same_bits_that_are_numbers() {
        let rows = |logit: f32| vec![vec![1.0, logit]];
        assert!(same(&rows(2.0), &rows(2.0)));
        assert!(!same(&rows(0.0), &rows(-0.0)));
        assert!(!same(&rows(f32::NAN), &rows(f32::NAN)));
        assert!(!same(&[], &rows(2.0)));
    }
}
