//! What the engine adds to a step: its steps, from one's beginning to the next one's, and the device's own time for the
//! very same steps, their inputs on the card already.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use weighbridge_inference_server::backend::{
    Backend, BackendDescription, BackendError, Drawing, Drawn, Logits, LogitsWanted, SequenceChunk,
};
use weighbridge_inference_server::engine::{EngineConfig, EngineHandle, Event, GenerateRequest};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::{BLOCK_SIZE, BlockId};
use weighbridge_inference_server::metrics::EngineMetrics;
use weighbridge_inference_server::sampling::{Draw, SamplingParams};
use weighbridge_inference_server::tokenizer::{Tokenizer, TokenizerMetadata};

use super::{Subject, WARM};

/// Seconds of a step in which all sequences decode: both are means of the same steps.
#[derive(Clone, Copy, Debug)]
pub struct Overhead {
    /// From its beginning to the next one's, as the engine makes it.
    pub engine: f64,
    /// Of the device alone: the recorded step and the draw of its tokens.
    pub device: f64,
}

impl Overhead {
    /// The share of a step in which the device waits for the engine.
    pub fn share(&self) -> f64 {
        1.0 - self.device / self.engine
    }
}

/// Positions that a subject is loaded for a sequence: the scheduler begins none without a spare block for each that runs.
pub fn context(sequences: usize, depth: usize, steps: usize) -> usize {
    depth + tokens(sequences, steps) + BLOCK_SIZE
}

/// Tokens of a sequence: those that begin first decode while others' prompts are read.
fn tokens(sequences: usize, steps: usize) -> usize {
    sequences + steps + WARM
}

/// Has the engine decode `steps` tokens of `sequences` from `depth` on, and then the device alone what the engine had it
/// do. Takes [`context`] positions a sequence, and the tokenizer of the GGUF file at `path`.
///
/// # Errors
/// The engine's or the card's, and where the sequences never decode together.
pub fn measure(
    subject: Subject,
    path: &Path,
    sequences: usize,
    depth: usize,
    steps: usize,
) -> Result<Overhead> {
    let stopwatch = subject.stopwatch.clone();
    let observed = Observed { subject: Arc::new(Mutex::new(subject)), steps: Arc::default(), sequences };
    decode(observed.clone(), path, depth, steps)?;
    let seen = std::mem::take(&mut *locked(&observed.steps));
    let timed: Vec<_> = seen
        .windows(2)
        .filter_map(|pair| match pair {
            [Seen { began, work: Some(work) }, Seen { began: next, work: Some(_) }] => {
                Some(((*next - *began).as_secs_f64(), work))
            }
            _ => None,
        })
        .skip(WARM)
        .collect();
    ensure!(!timed.is_empty(), "the sequences never decoded together");
    let mut subject = locked(&observed.subject);
    for (_, work) in &timed {
        // Twice, so that it is recorded wherever it can be.
        for runs in [false, false, true] {
            stopwatch.run(runs);
            work.repeat(&mut subject)?;
        }
    }
    stopwatch.run(false);
    let (device, replays) = stopwatch.read();
    ensure!(replays == timed.len(), "{replays} of {} steps were recorded", timed.len());
    let count = timed.len() as f64;
    let engine = timed.iter().map(|(seconds, _)| seconds).sum::<f64>() / count;
    Ok(Overhead { engine, device: device / count })
}

/// Greedy sequences through the engine, all at once.
fn decode(backend: Observed, path: &Path, depth: usize, steps: usize) -> Result<()> {
    let (sequences, rows) = (backend.sequences, backend.vocabulary_size());
    let (vocabulary, tokens_per_step) = {
        let subject = locked(&backend.subject);
        (subject.vocabulary, subject.step_tokens)
    };
    let tokenizer = Tokenizer::new(TokenizerMetadata::from_gguf(GgufFile::open(path)?.metadata())?)?;
    let tokenizer = tokenizer.for_rows(rows)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = EngineConfig { max_sequences: sequences, tokens_per_step, ..EngineConfig::default() };
        let metrics = Arc::new(EngineMetrics::default());
        let engine = EngineHandle::start(Box::new(backend), Arc::new(tokenizer), config, metrics)?;
        let prompt =
            |sequence: usize| (0..depth as u32).map(|at| (at * 37 + sequence as u32) % vocabulary).collect();
        let requests = (0..sequences).map(|sequence| GenerateRequest {
            prompt: prompt(sequence),
            max_tokens: tokens(sequences, steps),
            sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
            stop: Vec::new(),
            ignore_end: true,
            prompt_logprobs: None,
            adapter: None,
        });
        let mut readers = JoinSet::new();
        for mut stream in engine.submit(requests.collect()).await? {
            readers.spawn(async move {
                while let Some(event) = stream.next().await {
                    match event {
                        Event::Failed(error) => return Err(error),
                        Event::Token(_) | Event::Prompt(_) | Event::Finished(_) => {}
                    }
                }
                Ok(())
            });
        }
        readers.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    })
}

/// A step that the engine began; its work where all sequences decoded in it.
struct Seen {
    began: Instant,
    work: Option<Work>,
}

/// What a step of one token a sequence computes.
struct Work {
    sequences: Vec<(u32, usize, Vec<BlockId>)>,
    draws: Vec<Draw>,
}

impl Work {
    fn repeat(&self, subject: &mut Subject) -> Result<()> {
        let batch: Vec<SequenceChunk<'_>> = self
            .sequences
            .iter()
            .map(|(token, start, blocks)| SequenceChunk {
                tokens: std::slice::from_ref(token),
                start: *start,
                blocks,
                logits: LogitsWanted::Last,
                adapter: None,
            })
            .collect();
        subject.backend.begin(&batch, &self.draws)?;
        subject.backend.fetch()?;
        Ok(())
    }
}

/// The model as the engine has it, which notes what the engine has it do.
#[derive(Clone)]
struct Observed {
    subject: Arc<Mutex<Subject>>,
    steps: Arc<Mutex<Vec<Seen>>>,
    /// Of a step in which all decode.
    sequences: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for Observed {
    fn description(&self) -> BackendDescription {
        locked(&self.subject).backend.description()
    }

    fn vocabulary_size(&self) -> usize {
        locked(&self.subject).backend.vocabulary_size()
    }

    fn context_length(&self) -> usize {
        locked(&self.subject).backend.context_length()
    }

    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Logits) -> Result<(), BackendError> {
        locked(&self.subject).backend.forward(batch, logits)
    }

    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        Some(self)
    }
}

impl Drawing for Observed {
    fn begin(&mut self, batch: &[SequenceChunk<'_>], draws: &[Draw]) -> Result<(), BackendError> {
        let began = Instant::now();
        let chunks = batch.iter().map(|chunk| match chunk.tokens {
            [token] => Some((*token, chunk.start, chunk.blocks.to_vec())),
            _ => None,
        });
        let sequences: Option<Vec<_>> = chunks.collect();
        let sequences = sequences.filter(|sequences| sequences.len() == self.sequences);
        let work = sequences.map(|sequences| Work { sequences, draws: draws.to_vec() });
        locked(&self.steps).push(Seen { began, work });
        locked(&self.subject).backend.begin(batch, draws)
    }

    fn fetch(&mut self) -> Result<Vec<Drawn>, BackendError> {
        locked(&self.subject).backend.fetch()
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_cuda_emulator::EmulatedDevice;
    use weighbridge_inference_server::gguf::TensorType;

    use super::{Subject, context, measure};
    use crate::cpu::llama;

    #[test]
    fn the_device_does_again_what_the_engine_had_it_do() {
        let path = llama("tiny", 1, TensorType::Q4K).unwrap();
        let device = Box::new(EmulatedDevice::new(1 << 30));
        let subject = Subject::load(device, &path, 2, context(2, 20, 4), 16).unwrap();
        let overhead = measure(subject, &path, 2, 20, 4).unwrap();
        assert!(overhead.device > 0.0 && overhead.engine > 0.0, "{overhead:?}");
        assert!(overhead.share() < 1.0, "{overhead:?}");
    }

    #[test]
    fn sequences_that_never_decode_together_are_no_figure() {
        let path = llama("tiny", 1, TensorType::Q4K).unwrap();
        let device = Box::new(EmulatedDevice::new(1 << 30));
        let subject = Subject::load(device, &path, 2, context(2, 20, 0), 16).unwrap();
        let error = measure(subject, &path, 2, 20, 0).unwrap_err().to_string();
        assert_eq!(error, "the sequences never decoded together");
    }
}
