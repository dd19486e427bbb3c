//! The way to the engine thread: submit, follow, drain.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::load::Load;
use super::worker::{Command, Worker};
use super::{EngineConfig, Event, GenerateRequest, LoadSnapshot};
use crate::backend::{Backend, BackendDescription};
use crate::kv::BLOCK_SIZE;
use crate::metrics::EngineMetrics;
use crate::scheduler::Refused;
use crate::tokenizer::Tokenizer;

/// Why a request was not taken. Nothing of it was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many wait as may.
    #[error("the queue is full")]
    QueueFull,
    /// The engine finishes what it has and takes no more.
    #[error("the engine is draining")]
    Draining,
    /// Prompt and answer together are longer than the context.
    #[error("{prompt} prompt tokens and {max_tokens} to draw are more than the context of {context}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens to draw, at most.
        max_tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// No prompt, or nothing to draw.
    #[error("the request has no prompt token, or asks for no token")]
    Empty,
    /// The engine thread is gone.
    #[error("the engine has stopped")]
    Stopped,
}

/// A sequence's events. Dropping it cancels the sequence; its blocks are free at the next step.
#[derive(Debug)]
pub struct EventStream(mpsc::Receiver<Event>);

impl EventStream {
    /// A stream without an engine behind it.
    #[cfg(test)]
    pub(crate) fn of(events: mpsc::Receiver<Event>) -> Self {
        Self(events)
    }

    /// The next event; `None` after the last, or when the engine has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The same, for those who follow several.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_recv(context)
    }
}

/// A cheap handle on one engine. The engine thread ends when all of them are gone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    load: Arc<Load>,
    pub(super) metrics: Arc<EngineMetrics>,
    description: Arc<BackendDescription>,
    context_length: usize,
    vocabulary_size: usize,
}

impl EngineHandle {
    /// Starts the engine thread on `backend`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        config: EngineConfig,
        metrics: Arc<EngineMetrics>,
    ) -> std::io::Result<Self> {
        let description = Arc::new(backend.description());
        let held = description.kv_blocks * BLOCK_SIZE;
        let built = backend.context_length();
        let context_length = config.context_length.unwrap_or(built).min(built).min(held);
        let vocabulary_size = backend.vocabulary_size();
        // Requests on their way to the queue, taken up after the present step: as many as the queue
        // itself may hold, so that this is never the narrower of the two.
        let (commands, inbox) = mpsc::channel(config.max_waiting.max(1));
        let load = Arc::new(Load::new());
        let worker = Worker::new(backend, tokenizer, config, Arc::clone(&load), Arc::clone(&metrics));
        thread::Builder::new().name("engine".to_owned()).spawn(move || worker.run(inbox))?;
        Ok(Self { commands, load, metrics, description, context_length, vocabulary_size })
    }

    /// Queues a group of sequences, all or none, and returns their events in order.
    ///
    /// # Errors
    /// [`SubmitError`], with nothing queued.
    pub async fn submit(&self, group: Vec<GenerateRequest>) -> Result<Vec<EventStream>, SubmitError> {
        if self.load.is_draining() {
            return Err(SubmitError::Draining);
        }
        group.iter().try_for_each(|request| self.check(request))?;
        let mut streams = Vec::with_capacity(group.len());
        let mut sequences = Vec::with_capacity(group.len());
        for request in group {
            // A sequence has at most one event a token, the prompt's, and its end: so the engine never
            // waits for a slow reader, and a reader that stalls costs what it asked for and no more.
            let (events, stream) = mpsc::channel(request.max_tokens + 2);
            sequences.push((request, events));
            streams.push(EventStream(stream));
        }
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Generate { sequences, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.full(),
            mpsc::error::TrySendError::Closed(_) => SubmitError::Stopped,
        })?;
        match answer.await {
            Ok(Ok(())) => Ok(streams),
            Ok(Err(Refused::QueueFull { .. })) => Err(self.full()),
            // `check` leaves nothing to refuse but the queue: the context never exceeds the KV memory.
            Ok(Err(Refused::Empty | Refused::NeverFits { .. })) => Err(SubmitError::Empty),
            Err(_) => Err(SubmitError::Stopped),
        }
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), SubmitError> {
        let (prompt, max_tokens, context) = (request.prompt.len(), request.max_tokens, self.context_length);
        if prompt == 0 || max_tokens == 0 {
            return Err(SubmitError::Empty);
        }
        if prompt.saturating_add(max_tokens) > context {
            return Err(SubmitError::TooLong { prompt, max_tokens, context });
        }
        Ok(())
    }

    fn full(&self) -> SubmitError {
        self.metrics.queue_full.inc();
        SubmitError::QueueFull
    }

    /// Takes no more requests; those it has are finished.
    pub fn drain(&self) {
        self.load.drain();
    }

    /// Has the device's memory given back, where the backend can and nothing is to be done. The next request takes it
    /// again.
    pub fn sleep(&self) {
        // A full channel is work: there is nothing to sleep for.
        self.commands.try_send(Command::Sleep).ok();
    }

    /// How busy the engine is.
    pub fn load(&self) -> LoadSnapshot {
        self.load.snapshot()
    }

    /// Whether the engine thread is there to take requests.
    pub fn is_running(&self) -> bool {
        !self.commands.is_closed() && self.load.ended().is_none()
    }

    /// Why the engine thread has ended by itself.
    pub fn ended(&self) -> Option<&str> {
        self.load.ended()
    }

    /// What computes, for logs and readiness.
    pub fn description(&self) -> &BackendDescription {
        &self.description
    }

    /// Tokens of prompt and answer together, at most.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Tokens that a prompt may use: ids below this.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }
}
