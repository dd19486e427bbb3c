//! The way to the encoder's thread: submit, wait, drain.

use std::sync::Arc;
use std::thread;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::EncoderConfig;
use super::queue::Job;
use super::worker::Worker;
use crate::backend::Encoder;
use crate::engine::{Load, LoadSnapshot};
use crate::metrics::EngineMetrics;
use crate::tokenizer::EncodedSequence;

/// Tokens that may wait or be computed, in all: 32 MB of ids and types, and minutes of work.
const ROOM: usize = 4 << 20;

/// Why there are no vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// As many wait as may. Nothing was computed.
    #[error("the queue is full")]
    QueueFull,
    /// The encoder finishes what it has and takes no more.
    #[error("the encoder is draining")]
    Draining,
    /// A sequence is longer than the context.
    #[error("sequence {index} has {tokens} tokens, more than the context of {context}")]
    TooLong {
        /// Which, from 0.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A sequence is empty, or holds what the model does not know.
    #[error("sequence {index}: {problem}")]
    Sequence {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// The step that it was part of could not be computed.
    #[error("the step failed: {0}")]
    Step(String),
    /// The model's output is not finite.
    #[error("the model gave no finite numbers")]
    NoNumbers,
    /// A bug of ours, contained.
    #[error("internal error: {0}")]
    Panicked(String),
    /// The encoder's thread is gone.
    #[error("the encoder has stopped")]
    Stopped,
}

/// The vectors of a job, to come. Dropping it cancels what is not yet computed.
#[derive(Debug)]
pub struct Vectors(oneshot::Receiver<Result<Vec<Vec<f32>>, EncodeError>>);

impl Vectors {
    /// One vector for each sequence, in order.
    ///
    /// # Errors
    /// [`EncodeError`] when the job failed.
    pub async fn all(self) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.0.await.unwrap_or(Err(EncodeError::Stopped))
    }
}

/// A cheap handle on one encoder. Its thread ends when all of them are gone.
#[derive(Clone, Debug)]
pub struct EncoderHandle {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    load: Arc<Load>,
    metrics: Arc<EngineMetrics>,
    context_length: usize,
    vocabulary_size: usize,
    token_types: usize,
    width: usize,
}

impl EncoderHandle {
    /// Starts the thread of `encoder`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        encoder: Box<dyn Encoder>,
        config: EncoderConfig,
        metrics: Arc<EngineMetrics>,
    ) -> std::io::Result<Self> {
        let (context_length, vocabulary_size) =
            (config.context_length.min(encoder.context_length()), encoder.vocabulary_size());
        let (token_types, width) = (encoder.token_types(), encoder.width());
        let (jobs, inbox) = mpsc::channel(config.max_waiting.max(1));
        let load = Arc::new(Load::new());
        let worker = Worker::new(encoder, config, Arc::clone(&load), Arc::clone(&metrics));
        thread::Builder::new().name("encoder".to_owned()).spawn(move || worker.run(inbox))?;
        let room = Arc::new(Semaphore::new(ROOM));
        Ok(Self { jobs, room, load, metrics, context_length, vocabulary_size, token_types, width })
    }

    /// Queues `sequences`, all or none.
    ///
    /// # Errors
    /// [`EncodeError`], with nothing queued.
    pub fn submit(&self, sequences: Vec<EncodedSequence>) -> Result<Vectors, EncodeError> {
        if self.load.is_draining() {
            return Err(EncodeError::Draining);
        }
        sequences.iter().enumerate().try_for_each(|(index, sequence)| self.check(index, sequence))?;
        let tokens: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(tokens);
        let room = room.map_err(|_| self.full())?;
        let (reply, vectors) = oneshot::channel();
        let job = Job {
            vectors: Vec::with_capacity(sequences.len()),
            sequences: sequences.into(),
            reply,
            _room: room,
        };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.full(),
            mpsc::error::TrySendError::Closed(_) => EncodeError::Stopped,
        })?;
        Ok(Vectors(vectors))
    }

    fn check(&self, index: usize, sequence: &EncodedSequence) -> Result<(), EncodeError> {
        let EncodedSequence { tokens, types } = sequence;
        let refused = |problem: String| Err(EncodeError::Sequence { index, problem });
        if tokens.is_empty() || tokens.len() != types.len() {
            return refused("it holds no token, or not a type for each".to_owned());
        }
        if tokens.len() > self.context_length {
            return Err(EncodeError::TooLong { index, tokens: tokens.len(), context: self.context_length });
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= self.vocabulary_size) {
            return refused(format!(
                "it has the token {token}; ids are from 0 to {}",
                self.vocabulary_size - 1
            ));
        }
        match types.iter().find(|&&kind| kind as usize >= self.token_types) {
            Some(kind) => {
                refused(format!("it has the token type {kind}, and the model knows {}", self.token_types))
            }
            None => Ok(()),
        }
    }

    fn full(&self) -> EncodeError {
        self.metrics.queue_full.inc();
        EncodeError::QueueFull
    }

    /// Takes no more jobs; those it has are finished.
    pub fn drain(&self) {
        self.load.drain();
    }

    /// How busy the encoder is.
    pub fn load(&self) -> LoadSnapshot {
        self.load.snapshot()
    }

    /// Whether the thread is there to take jobs.
    pub fn is_running(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// Longest sequence, in tokens.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Elements of a vector.
    pub fn width(&self) -> usize {
        self.width
    }
}
