//! What earlier tokens take from the logits of later ones.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{LogitEdit, SamplingParams};

/// The tokens of a sequence, as far as its penalties need them.
#[derive(Debug)]
pub(super) struct Penalties {
    /// Times each token was drawn; empty when nothing asks for it.
    drawn: HashMap<u32, u32>,
    prompt: HashSet<u32>,
    counts: bool,
}

impl Penalties {
    pub(super) fn new(params: &SamplingParams, prompt: &[u32]) -> Self {
        let repetition = params.repetition_penalty != 1.0;
        let counts = repetition || params.frequency_penalty != 0.0 || params.presence_penalty != 0.0;
        let prompt = if repetition { prompt.iter().copied().collect() } else { HashSet::new() };
        Self { drawn: HashMap::new(), prompt, counts }
    }

    pub(super) fn note(&mut self, token: u32) {
        if self.counts {
            *self.drawn.entry(token).or_default() += 1;
        }
    }

    /// What [`Self::apply`] does, as a value.
    pub(super) fn edits(&self, params: &SamplingParams) -> Vec<LogitEdit> {
        let mut edits: BTreeMap<u32, LogitEdit> = BTreeMap::new();
        let mut edit = |token: u32, repetition: f32, add: f32| {
            let edit = edits.entry(token).or_insert(LogitEdit { token, repetition: 1.0, add: 0.0 });
            edit.repetition *= repetition;
            edit.add += add;
        };
        if params.repetition_penalty != 1.0 {
            let drawn = self.drawn.keys().filter(|token| !self.prompt.contains(token));
            self.prompt.iter().chain(drawn).for_each(|token| edit(*token, params.repetition_penalty, 0.0));
        }
        for (token, times) in &self.drawn {
            edit(*token, 1.0, -(params.frequency_penalty * *times as f32 + params.presence_penalty));
        }
        for (token, bias) in &params.logit_bias {
            edit(*token, 1.0, *bias);
        }
        edits.into_values().collect()
    }

    pub(super) fn apply(&self, params: &SamplingParams, logits: &mut [f32]) {
        let seen = self.prompt.iter().chain(self.drawn.keys().filter(|token| !self.prompt.contains(token)));
        if params.repetition_penalty != 1.0 {
            for token in seen {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    let divide = *logit > 0.0;
                    *logit = if divide {
                        *logit / params.repetition_penalty
                    } else {
                        *logit * params.repetition_penalty
                    };
                }
            }
        }
        for (token, times) in &self.drawn {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit -= params.frequency_penalty * *times as f32 + params.presence_penalty;
            }
        }
        for (token, bias) in &params.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
    }
}
