//! A step as data.

use super::sequence::{Sequence, SequenceId};

/// One sequence's share of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedChunk {
    /// Whose tokens.
    pub id: SequenceId,
    /// Position of the first token.
    pub start: usize,
    /// Tokens to run.
    pub tokens: usize,
    /// Whether these are the last known tokens, so that the next one is sampled after them.
    pub samples: bool,
}

/// What one step computes, and what changed to make room for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// Chunks, decodes first.
    pub chunks: Vec<PlannedChunk>,
    /// Sequences that began in this step, also those that begin again after a preemption.
    pub admitted: Vec<SequenceId>,
    /// Sequences that lost their blocks and wait again.
    pub preempted: Vec<SequenceId>,
}

impl StepPlan {
    /// Tokens over all chunks.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.tokens).sum()
    }

    /// Adds as much of `sequence` as budget and its chunk limit allow.
    pub(super) fn push(&mut self, sequence: &Sequence, budget: &mut usize) {
        let remaining = sequence.remaining();
        let tokens = remaining.min(sequence.chunk_limit).min(*budget);
        if tokens == 0 {
            return;
        }
        *budget -= tokens;
        let samples = tokens == remaining;
        self.chunks.push(PlannedChunk { id: sequence.id, start: sequence.computed, tokens, samples });
    }
}
