//! From a batch of chunks to a step: checked, then laid out, the same for every device.

use super::{BackendError, LogitsWanted, SequenceChunk};
use crate::kernels::attention::SequenceQueries;
use crate::kv::BLOCK_SIZE;
use crate::model::pass::{AdaptedRows, Step};

/// What chunks must keep within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepLimits {
    /// Tokens that the model knows.
    pub(super) vocabulary: usize,
    /// Positions that are served.
    pub(super) context: usize,
    /// Blocks of KV memory.
    pub(super) blocks: usize,
    /// Adapters that are loaded.
    pub(super) adapters: usize,
}

impl StepLimits {
    /// Rows of all chunks, one after another.
    ///
    /// # Errors
    /// [`BackendError::InvalidChunk`] for one that breaks the backend's contract.
    pub(super) fn lay_out<'a>(&self, batch: &[SequenceChunk<'a>]) -> Result<Step<'a>, BackendError> {
        for (index, chunk) in batch.iter().enumerate() {
            self.check(chunk).map_err(|problem| BackendError::InvalidChunk { chunk: index, problem })?;
        }
        let mut step = Step::default();
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); self.adapters];
        for chunk in batch {
            let first_row = step.tokens.len();
            let tokens = chunk.tokens.len();
            step.tokens.extend_from_slice(chunk.tokens);
            for position in chunk.start..chunk.start + tokens {
                step.positions.push(position);
                // `check` saw that the table covers every position.
                step.places.push((chunk.blocks[position / BLOCK_SIZE], position % BLOCK_SIZE));
            }
            match chunk.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => step.wanted.push(first_row + tokens - 1),
                LogitsWanted::All => step.wanted.extend(first_row..first_row + tokens),
            }
            if let Some(rows) = chunk.adapter.and_then(|adapter| rows.get_mut(adapter.0)) {
                rows.extend(first_row..first_row + tokens);
            }
            step.sequences.push(SequenceQueries {
                first_row,
                tokens,
                start: chunk.start,
                blocks: chunk.blocks,
            });
        }
        let adapted = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        step.adapted = adapted.map(|(adapter, rows)| AdaptedRows { adapter, rows }).collect();
        Ok(step)
    }

    /// What is wrong with `chunk`, in words.
    fn check(&self, chunk: &SequenceChunk<'_>) -> Result<(), String> {
        let Self { vocabulary, context, blocks, adapters } = *self;
        if chunk.tokens.is_empty() {
            return Err("it holds no token".to_owned());
        }
        if let Some(token) = chunk.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(format!("token {token} is outside the vocabulary of {vocabulary}"));
        }
        let end = chunk.start.checked_add(chunk.tokens.len()).filter(|&end| end <= context);
        let Some(end) = end else {
            return Err(format!("its end lies past the context of {context} positions"));
        };
        if let Some(adapter) = chunk.adapter.filter(|adapter| adapter.0 >= adapters) {
            return Err(format!("adapter {} is not among the {adapters} loaded", adapter.0));
        }
        let covered = chunk.blocks.len().saturating_mul(BLOCK_SIZE);
        if covered < end {
            return Err(format!("its table covers {covered} positions of {end}"));
        }
        match chunk.blocks.iter().find(|block| block.0 as usize >= blocks) {
            Some(block) => Err(format!("block {} is outside the memory of {blocks}", block.0)),
            None => Ok(()),
        }
    }
}
