//! Decides what each step computes: who decodes, who prefills and how much, who waits, who is preempted.
//!
//! Pure state machine: no tokio, no HTTP, no clock, no tokens (only their counts) and no backend. A plan is
//! data, and what the step produced comes back through [`Scheduler::commit`], so that a later engine can
//! plan step n+1 while step n runs: it appends a placeholder for every token a plan samples, and plans on.

mod plan;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use plan::{PlannedChunk, StepPlan};
pub use sequence::{NewSequence, SequenceId};

use crate::kv::{BlockId, BlockManager, blocks_for};
use sequence::Sequence;

/// The limits of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Sequences in one step, and so in the running set.
    pub max_sequences: usize,
    /// Tokens in one step over all its chunks; raised to `max_sequences` so that every decode fits.
    pub tokens_per_step: usize,
    /// Sequences that may wait; more are refused.
    pub max_waiting: usize,
}

/// Why a sequence was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A sequence without a token has nothing to continue.
    #[error("the prompt has no token")]
    Empty,
    /// The waiting queue is full.
    #[error("{waiting} requests wait already, of at most {limit}")]
    QueueFull {
        /// Sequences that wait.
        waiting: usize,
        /// The bound.
        limit: usize,
    },
    /// It would not fit even if it ran alone.
    #[error("{needed} KV blocks needed, the pool has {total}")]
    NeverFits {
        /// Blocks for its greatest length.
        needed: usize,
        /// Blocks in the pool.
        total: usize,
    },
}

/// Continuous batching over a paged cache.
///
/// Both queues are in order of arrival, and everyone running arrived before everyone waiting. The oldest
/// running sequence is never preempted and every sequence fits alone, so each one finishes.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    blocks: BlockManager,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    preemptions: u64,
}

impl Scheduler {
    /// An idle scheduler over a pool of blocks.
    pub fn new(config: SchedulerConfig, blocks: BlockManager) -> Self {
        let max_sequences = config.max_sequences.max(1);
        let tokens_per_step = config.tokens_per_step.max(max_sequences);
        let config = SchedulerConfig { max_sequences, tokens_per_step, ..config };
        Self { config, blocks, waiting: VecDeque::new(), running: Vec::new(), preemptions: 0 }
    }

    /// Queues several sequences, all of them or none: the choices of one request stand or fall together.
    ///
    /// # Errors
    /// [`Refused`], with nothing queued.
    pub fn submit(&mut self, group: &[NewSequence]) -> Result<(), Refused> {
        for new in group {
            let needed = blocks_for(new.max_length);
            if new.length == 0 {
                return Err(Refused::Empty);
            }
            if needed > self.blocks.total() {
                return Err(Refused::NeverFits { needed, total: self.blocks.total() });
            }
        }
        if self.waiting.len() + group.len() > self.config.max_waiting {
            return Err(Refused::QueueFull { waiting: self.waiting.len(), limit: self.config.max_waiting });
        }
        self.waiting.extend(group.iter().map(Sequence::new));
        Ok(())
    }

    /// Plans the next step: decodes first, then prompts already begun, then newcomers, within the budget.
    pub fn plan(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        let mut budget = self.config.tokens_per_step;
        self.plan_decodes(&mut plan, &mut budget);
        for sequence in self.running.iter().filter(|sequence| sequence.remaining() > 1) {
            plan.push(sequence, &mut budget);
        }
        self.admit(&mut plan, &mut budget);
        plan
    }

    /// Every sequence with one token to run gets its block for it; when the pool is short, the youngest go.
    fn plan_decodes(&mut self, plan: &mut StepPlan, budget: &mut usize) {
        let mut index = 0;
        while let Some(sequence) = self.running.get_mut(index) {
            if sequence.remaining() == 1 {
                let length = sequence.length;
                if self.blocks.reserve(&mut sequence.table, length).is_err() {
                    self.preempt_youngest(plan);
                    continue;
                }
                plan.push(sequence, budget);
            }
            index += 1;
        }
    }

    /// Takes the blocks of the youngest running sequence; it will recompute them when its turn comes.
    fn preempt_youngest(&mut self, plan: &mut StepPlan) {
        if let Some(mut victim) = self.running.pop() {
            self.blocks.free(std::mem::take(&mut victim.table));
            victim.computed = 0;
            plan.preempted.push(victim.id);
            self.preemptions += 1;
            self.waiting.push_front(victim);
        }
    }

    /// Newcomers in order of arrival while budget, places and blocks last. Each takes blocks for all of its
    /// known tokens at once, and leaves one a head for those that run, or it would be preempted at once.
    fn admit(&mut self, plan: &mut StepPlan, budget: &mut usize) {
        // A step that had to preempt has no room to give away.
        while *budget > 0 && self.running.len() < self.config.max_sequences && plan.preempted.is_empty() {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let needed = self.blocks.missing(&sequence.table, sequence.length);
            let reserved = needed + self.running.len() <= self.blocks.available()
                && self.blocks.reserve(&mut sequence.table, sequence.length).is_ok();
            if !reserved {
                return self.waiting.push_front(sequence);
            }
            plan.admitted.push(sequence.id);
            plan.push(&sequence, budget);
            self.running.push(sequence);
        }
    }

    /// Notes that every chunk of `plan` was computed.
    pub fn commit(&mut self, plan: &StepPlan) {
        for chunk in &plan.chunks {
            if let Some(sequence) = self.running.iter_mut().find(|sequence| sequence.id == chunk.id) {
                sequence.computed = chunk.start + chunk.tokens;
            }
        }
    }

    /// Notes that a token was sampled for `id`: it is run in the next step.
    pub fn append(&mut self, id: SequenceId) {
        if let Some(sequence) = self.running.iter_mut().find(|sequence| sequence.id == id) {
            sequence.length += 1;
        }
    }

    /// Removes a sequence, finished, cancelled or failed, wherever it stands, and frees its blocks.
    /// Returns whether it was there.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        let found = match self.running.iter().position(|sequence| sequence.id == id) {
            Some(index) => Some(self.running.remove(index)),
            None => {
                let index = self.waiting.iter().position(|sequence| sequence.id == id);
                index.and_then(|index| self.waiting.remove(index))
            }
        };
        let Some(sequence) = found else { return false };
        self.blocks.free(sequence.table);
        true
    }

    /// The block table of a running sequence.
    pub fn table(&self, id: SequenceId) -> Option<&[BlockId]> {
        self.running.iter().find(|sequence| sequence.id == id).map(|sequence| sequence.table.blocks())
    }

    /// Whether nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Tokens known but not computed, over both queues: the work that stands before a newcomer.
    pub fn queued_tokens(&self) -> usize {
        self.waiting.iter().chain(&self.running).map(Sequence::remaining).sum()
    }

    /// Preemptions so far.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// The pool of blocks.
    pub fn blocks(&self) -> &BlockManager {
        &self.blocks
    }

    /// The limits in force.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }
}
