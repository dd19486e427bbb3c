//! The engine thread: takes requests, steps, and outlives whatever goes wrong in a step.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::load::{Figures, Load};
use super::sequence::{Outcome, PROMPT_LOGPROBS_CHUNK, Sequence};
use super::sleep::{Rest, Woken};
use super::step::{Computed, StepFailure};
use super::{EngineConfig, Event, GenerateError, GenerateRequest, step};
use crate::backend::{Backend, Logits};
use crate::kv::BlockManager;
use crate::metrics::EngineMetrics;
use crate::sampling::Scratch;
use crate::scheduler::{NewSequence, Refused, Scheduler, SchedulerConfig, SequenceId, StepPlan};
use crate::tokenizer::Tokenizer;

/// Steps that fail one after another before the backend is asked whether it computes at all.
const FAILURES_TO_PROBE: usize = 3;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// To queue a group of sequences.
    Generate {
        /// Each with its reader.
        sequences: Vec<(GenerateRequest, mpsc::Sender<Event>)>,
        /// Whether they were taken.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// To sleep, if there is nothing to do.
    Sleep,
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
    /// Sequences whose latest token is not told.
    untold: Vec<SequenceId>,
    rest: Rest,
    /// Steps that failed one after another.
    failed_in_a_row: usize,
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
            untold: Vec::new(),
            rest: Rest::new(config.wake_patience),
            failed_in_a_row: 0,
            lost: None,
        }
    }

    /// Until every handle is gone and every sequence is done.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            if self.sequences.is_empty() {
                let Some(command) = inbox.blocking_recv() else { return };
                self.obey(command);
            }
            while let Ok(command) = inbox.try_recv() {
                self.obey(command);
            }
            self.load.begin_step();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.step(&mut inbox))) {
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

    fn obey(&mut self, command: Command) {
        match command {
            Command::Generate { sequences, reply } => self.enqueue(sequences, reply),
            Command::Sleep if self.sequences.is_empty() => {
                self.lost = self.rest.begin(&mut *self.backend);
                self.load.rest(self.rest.is_asleep());
            }
            Command::Sleep => {}
        }
    }

    fn enqueue(
        &mut self,
        sequences: Vec<(GenerateRequest, mpsc::Sender<Event>)>,
        reply: oneshot::Sender<Result<(), Refused>>,
    ) {
        let first = self.next_id;
        let group: Vec<NewSequence> = (first..)
            .zip(&sequences)
            .map(|(id, (request, _))| NewSequence {
                id: SequenceId(id),
                length: request.prompt.len(),
                max_length: request.prompt.len() + request.max_tokens,
                chunk_limit: request.prompt_logprobs.map(|_| PROMPT_LOGPROBS_CHUNK),
            })
            .collect();
        let submitted = self.scheduler.submit(&group);
        if submitted.is_ok() {
            for (new, (request, events)) in group.iter().zip(sequences) {
                self.sequences.insert(new.id, Sequence::new(request, events));
            }
            self.next_id += group.len() as u64;
        }
        self.load.publish(Figures::from(&self.scheduler));
        // A caller that left meanwhile has dropped its streams too, and is found at the next step.
        reply.send(submitted).ok();
    }

    /// Cancel, plan, compute, tell. While a device computes, the step before is told and new requests are queued.
    fn step(&mut self, inbox: &mut mpsc::Receiver<Command>) {
        self.drop_abandoned();
        if self.sequences.is_empty() {
            return self.rest.give_up();
        }
        if !self.wake() {
            return;
        }
        let started = Instant::now();
        let plan = self.scheduler.plan();
        self.metrics.preemptions.inc_by(plan.preempted.len() as u64);
        if plan.chunks.is_empty() {
            return self.tell();
        }
        let (backend, sequences) = (&mut *self.backend, &mut self.sequences);
        let begun = step::begin(backend, &plan, &self.scheduler, sequences, &mut self.logits);
        self.tell();
        while let Ok(command) = inbox.try_recv() {
            match command {
                Command::Generate { sequences, reply } => self.enqueue(sequences, reply),
                // Not within a step, whoever is left.
                Command::Sleep => {}
            }
        }
        let computed = begun.and_then(|begun| step::fetch(&mut *self.backend, begun));
        match computed {
            Ok(computed) => {
                self.failed_in_a_row = 0;
                self.apply(&plan, computed);
            }
            Err(failure) => self.fail_step(&plan, failure),
        }
        if self.scheduler.is_idle() {
            self.tell();
        }
        self.metrics.observe_step(started.elapsed(), plan.tokens());
    }

    /// Whether the backend is awake. Where it can't be, whoever waits is told; where it can't be yet, the step comes to
    /// nothing.
    fn wake(&mut self) -> bool {
        let woken = self.rest.end(&mut *self.backend);
        self.load.rest(self.rest.is_asleep());
        match woken {
            Woken::Awake => true,
            Woken::NotYet => false,
            Woken::Failed { problem, room, is_final } => {
                tracing::error!(problem, sequences = self.sequences.len(), "the engine does not wake");
                // One that others keep from waking may wake later; one that fails again and again will not.
                self.failed_in_a_row = if room { 0 } else { self.failed_in_a_row + 1 };
                let is_final = is_final || self.failed_in_a_row >= FAILURES_TO_PROBE;
                if is_final {
                    self.load.end(problem.clone());
                }
                let ids: Vec<SequenceId> = self.sequences.keys().copied().collect();
                for id in ids {
                    if let Some(sequence) = self.sequences.get(&id) {
                        let problem = problem.clone();
                        sequence.fail(match room {
                            true => GenerateError::NoRoom(problem),
                            false => GenerateError::Step(problem),
                        });
                    }
                    self.remove(id);
                }
                self.lost = is_final.then_some(problem);
                false
            }
        }
    }

    /// Tells the tokens that were taken. A sequence that ends by its text has a row in the step that runs: it comes to
    /// nothing, and its blocks are written by nobody else before that step is done.
    fn tell(&mut self) {
        for id in std::mem::take(&mut self.untold) {
            let told = self.sequences.get_mut(&id).map(|sequence| sequence.tell(&self.tokenizer));
            if told == Some(Outcome::Ended) {
                self.remove(id);
            }
        }
    }

    fn apply(&mut self, plan: &StepPlan, computed: Vec<Computed>) {
        self.scheduler.commit(plan);
        for (chunk, computed) in plan.chunks.iter().zip(computed) {
            let Some(sequence) = self.sequences.get_mut(&chunk.id) else { continue };
            let tokenizer = &self.tokenizer;
            let outcome = match computed {
                Computed::Rows(rows) => {
                    sequence.advance(chunk, rows, &mut self.logits, tokenizer, &mut self.scratch)
                }
                Computed::Drawn(drawn) => {
                    let outcome = sequence.take(chunk, drawn, tokenizer);
                    if sequence.is_untold() {
                        self.untold.push(chunk.id);
                    }
                    outcome
                }
            };
            match outcome {
                // Its blocks are free at once; it goes when its last token is told.
                Outcome::Ended if sequence.is_untold() => {
                    self.scheduler.remove(chunk.id);
                }
                Outcome::Ended => self.remove(chunk.id),
                Outcome::Continues if chunk.samples => self.scheduler.append(chunk.id),
                Outcome::Continues => {}
            }
        }
    }

    /// The sequences of a failed step end; those that wait are untouched. After several failures it is asked whether
    /// anything computes at all: else every request would fail, and no probe would see it.
    fn fail_step(&mut self, plan: &StepPlan, failure: StepFailure) {
        let StepFailure { problem, is_final } = failure;
        tracing::error!(problem, sequences = plan.chunks.len(), "a step failed");
        self.metrics.failed_steps.inc();
        if is_final {
            // Before anybody is told: whoever looks then sees why.
            self.load.end(problem.clone());
        }
        for chunk in &plan.chunks {
            if let Some(sequence) = self.sequences.get(&chunk.id) {
                sequence.fail(GenerateError::Step(problem.clone()));
            }
            self.remove(chunk.id);
        }
        self.failed_in_a_row += 1;
        if is_final {
            self.lost = Some(problem);
        } else if self.failed_in_a_row >= FAILURES_TO_PROBE {
            self.probe();
        }
    }

    fn probe(&mut self) {
        let Some(block) = self.scheduler.blocks().any_free() else { return };
        match step::probe(&mut *self.backend, block, &mut self.logits) {
            Ok(()) => self.failed_in_a_row = 0,
            Err(StepFailure { problem, is_final: _ }) => {
                let count = self.failed_in_a_row;
                self.lost = Some(format!("{count} steps failed, and a step of one token too: {problem}"));
            }
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
        self.untold.clear();
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
    let EngineConfig { max_sequences, tokens_per_step, max_waiting, context_length: _, wake_patience: _ } =
        config;
    let blocks = u32::try_from(backend.description().kv_blocks).unwrap_or(u32::MAX);
    Scheduler::new(SchedulerConfig { max_sequences, tokens_per_step, max_waiting }, BlockManager::new(blocks))
}

/// What a panic said, for the log.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
