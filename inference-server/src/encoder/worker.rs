//! The encoder's thread: takes jobs, steps, and outlives whatever goes wrong in a step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::queue::{Job, JobId, Queue};
use super::{EncodeError, EncoderConfig};
use crate::backend::Encoder;
use crate::backend::cpu::EncoderInput;
use crate::engine::{Figures, Load, panic_message};
use crate::metrics::EngineMetrics;
use crate::tokenizer::EncodedSequence;

pub(super) struct Worker {
    encoder: Box<dyn Encoder>,
    config: EncoderConfig,
    queue: Queue,
    load: Arc<Load>,
    metrics: Arc<EngineMetrics>,
}

impl Worker {
    pub(super) fn new(
        encoder: Box<dyn Encoder>,
        config: EncoderConfig,
        load: Arc<Load>,
        metrics: Arc<EngineMetrics>,
    ) -> Self {
        Self { encoder, config, queue: Queue::default(), load, metrics }
    }

    /// Until every handle is gone and every job is done.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        loop {
            if self.queue.is_empty() {
                let Some(job) = inbox.blocking_recv() else { return };
                self.queue.push(job);
            }
            while let Ok(job) = inbox.try_recv() {
                self.queue.push(job);
            }
            let abandoned = self.queue.drop_abandoned();
            self.metrics.cancelled.inc_by(abandoned as u64);
            let batch = self.queue.batch(self.config.tokens_per_step);
            self.publish(batch.len());
            if !batch.is_empty() {
                self.load.begin_step();
                self.step(&batch);
                self.load.end_step();
            }
            self.publish(0);
        }
    }

    fn step(&mut self, batch: &[(JobId, EncodedSequence)]) {
        let inputs: Vec<EncoderInput<'_>> = batch
            .iter()
            .map(|(_, sequence)| EncoderInput { tokens: &sequence.tokens, types: &sequence.types })
            .collect();
        let tokens = inputs.iter().map(|input| input.tokens.len()).sum();
        let started = Instant::now();
        let encoded = catch_unwind(AssertUnwindSafe(|| self.encoder.encode(&inputs)));
        self.metrics.observe_step(started.elapsed(), tokens);
        let failure = match encoded {
            Ok(Ok(vectors)) if vectors.len() == batch.len() => return self.tell(batch, vectors),
            Ok(Ok(_)) => EncodeError::Step("the backend returned too few vectors".to_owned()),
            Ok(Err(error)) => EncodeError::Step(error.to_string()),
            Err(panic) => EncodeError::Panicked(panic_message(&*panic)),
        };
        tracing::error!(error = %failure, sequences = batch.len(), "a step failed");
        self.metrics.failed_steps.inc();
        for (id, _) in batch {
            self.end(*id, &failure);
        }
    }

    /// A sequence without numbers is its own job's fault, and nobody else's.
    fn tell(&mut self, batch: &[(JobId, EncodedSequence)], vectors: Vec<Vec<f32>>) {
        for ((id, _), vector) in batch.iter().zip(&vectors) {
            if !vector.iter().all(|x| x.is_finite()) {
                self.end(*id, &EncodeError::NoNumbers);
            }
        }
        let ids = batch.iter().map(|(id, _)| *id);
        for job in self.queue.done(ids.zip(vectors)) {
            // A caller that left meanwhile needs no answer.
            job.reply.send(Ok(job.vectors)).ok();
        }
    }

    fn end(&mut self, id: JobId, error: &EncodeError) {
        if let Some(job) = self.queue.remove(id) {
            job.reply.send(Err(error.clone())).ok();
        }
    }

    fn publish(&self, running: usize) {
        let count = |number: usize| number as u64;
        self.load.publish(Figures {
            queued_tokens: count(self.queue.tokens()),
            waiting: count(self.queue.sequences()),
            running: count(running),
            ..Figures::default()
        });
    }
}
