//! The engine thread: takes requests, steps, and outlives whatever goes wrong in a step.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::load::{Figures, Load};
use super::sequence::{Outcome, PROMPT_LOGPROBS_CHUNK, Sequence};
use super::step::{Computed, StepFailure};
use super::{EngineConfig, Event, GenerateError, GenerateRequest, step};
use crate::backend::{Backend, Logits};
use crate::kv::BlockManager;
use crate::metrics::EngineMetrics;
use crate::sampling::Scratch;
use crate::scheduler::{NewSequence, Refused, Scheduler, SchedulerConfig, SequenceId, StepPlan};
use crate::tokenizer::Tokenizer;

/// A group of sequences on its way to the queue.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) sequences: Vec<(GenerateRequest, mpsc::Sender<Event>)>,
    pub(super) reply: oneshot::Sender<Result<(), Refused>>,
}

pub(super) struct Worker {
    backend: Box<dyn Backend>,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
    scheduler: Scheduler,
    sequences: HashMap<SequenceId, Sequence>,
    next_id: u64,
    logits: Logits,
    scratch: Scratch,
    load: Arc<Load>,
    metrics: Arc<EngineMetrics>,
    /// Why no step will be computed any more.
    lost: Option<String>,
}

impl Worker {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        config: EngineConfig,
        load: Arc<Load>,
        metrics: Arc<EngineMetrics>,
    ) -> Self {
        let scheduler = scheduler(&*backend, config);
        load.publish(Figures::from(&scheduler));
        Self {
            backend,
            tokenizer,
            config,
            scheduler,
            sequences: HashMap::new(),
            next_id: 0,
            logits: Logits::default(),
            scratch: Scratch::default(),
            load,
            metrics,
            lost: None,
        }
    }

    /// Until every handle is gone and every sequence is done.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            if self.sequences.is_empty() {
                let Some(command) = inbox.blocking_recv() else { return };
                self.enqueue(command);
            }
            while let Ok(command) = inbox.try_recv() {
                self.enqueue(command);
            }
            self.load.begin_step();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.step())) {
                self.start_over(&panic_message(&*panic));
            }
            self.load.end_step();
            self.load.publish(Figures::from(&self.scheduler));
            if let Some(problem) = &self.lost {
                // Whoever waits is told, and nobody comes any more: a probe sees that the thread is gone.
                tracing::error!(problem, "the engine ends");
                for sequence in self.sequences.values() {
                    sequence.fail(GenerateError::Step(problem.clone()));
                }
                self.load.end(problem.clone());
                return;
            }
        }
    }

    fn enqueue(&mut self, command: Command) {
        let first = self.next_id;
        let group: Vec<NewSequence> = (first..)
            .zip(&command.sequences)
            .map(|(id, (request, _))| NewSequence {
                id: SequenceId(id),
                length: request.prompt.len(),
                max_length: request.prompt.len() + request.max_tokens,
                chunk_limit: request.prompt_logprobs.map(|_| PROMPT_LOGPROBS_CHUNK),
            })
            .collect();
        let submitted = self.scheduler.submit(&group);
        if submitted.is_ok() {
            for (new, (request, events)) in group.iter().zip(command.sequences) {
                self.sequences.insert(new.id, Sequence::new(request, events));
            }
            self.next_id += group.len() as u64;
        }
        self.load.publish(Figures::from(&self.scheduler));
        // A caller that left meanwhile has dropped its streams too, and is found at the next step.
        command.reply.send(submitted).ok();
    }

    /// Cancel, plan, compute, tell.
    fn step(&mut self) {
        self.drop_abandoned();
        let started = Instant::now();
        let plan = self.scheduler.plan();
        self.metrics.preemptions.inc_by(plan.preempted.len() as u64);
        if plan.chunks.is_empty() {
            return;
        }
        let (backend, sequences) = (&mut *self.backend, &mut self.sequences);
        let computed = step::compute(backend, &plan, &self.scheduler, sequences, &mut self.logits);
        match computed {
            Ok(computed) => self.apply(&plan, computed),
            Err(StepFailure { problem, is_final }) => {
                self.fail_step(&plan, &problem);
                self.lost = is_final.then_some(problem);
            }
        }
        self.metrics.observe_step(started.elapsed(), plan.tokens());
    }

    fn apply(&mut self, plan: &StepPlan, mut computed: Computed) {
        self.scheduler.commit(plan);
        for (index, chunk) in plan.chunks.iter().enumerate() {
            let Some(sequence) = self.sequences.get_mut(&chunk.id) else { continue };
            let tokenizer = &self.tokenizer;
            let outcome = match &mut computed {
                Computed::Rows(rows) => {
                    let rows = rows.get(index).cloned().unwrap_or_default();
                    sequence.advance(chunk, rows, &mut self.logits, tokenizer, &mut self.scratch)
                }
                Computed::Drawn(drawn) => {
                    sequence.take(chunk, drawn.get_mut(index).and_then(Option::take), tokenizer)
                }
            };
            match outcome {
                Outcome::Ended => self.remove(chunk.id),
                Outcome::Continues if chunk.samples => self.scheduler.append(chunk.id),
                Outcome::Continues => {}
            }
        }
    }

    /// The sequences of a failed step end; those that wait are untouched.
    fn fail_step(&mut self, plan: &StepPlan, problem: &str) {
        tracing::error!(problem, sequences = plan.chunks.len(), "a step failed");
        self.metrics.failed_steps.inc();
        for chunk in &plan.chunks {
            if let Some(sequence) = self.sequences.get(&chunk.id) {
                sequence.fail(GenerateError::Step(problem.to_owned()));
            }
            self.remove(chunk.id);
        }
    }

    /// A panic outside the backend leaves the books in doubt: everyone fails, and the books are new.
    fn start_over(&mut self, problem: &str) {
        tracing::error!(problem, "the engine panicked; all sequences fail");
        self.metrics.failed_steps.inc();
        for sequence in self.sequences.values() {
            sequence.fail(GenerateError::Panicked(problem.to_owned()));
        }
        self.sequences.clear();
        self.scheduler = scheduler(&*self.backend, self.config);
    }

    fn drop_abandoned(&mut self) {
        let abandoned = self.sequences.iter().filter(|(_, sequence)| sequence.is_abandoned());
        let abandoned: Vec<SequenceId> = abandoned.map(|(id, _)| *id).collect();
        for id in abandoned {
            self.metrics.cancelled.inc();
            self.remove(id);
        }
    }

    fn remove(&mut self, id: SequenceId) {
        self.sequences.remove(&id);
        self.scheduler.remove(id);
    }
}

fn scheduler(backend: &dyn Backend, config: EngineConfig) -> Scheduler {
    let EngineConfig { max_sequences, tokens_per_step, max_waiting, context_length: _ } = config;
    let blocks = u32::try_from(backend.description().kv_blocks).unwrap_or(u32::MAX);
    Scheduler::new(SchedulerConfig { max_sequences, tokens_per_step, max_waiting }, BlockManager::new(blocks))
}

/// What a panic said, for the log.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
