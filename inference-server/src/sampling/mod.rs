//! From one row of logits to one token: penalties, temperature, filters, a seeded draw, log probabilities.
//!
//! Order: log probabilities of the untouched logits, then repetition, frequency and presence penalties,
//! `logit_bias`, temperature, `min_p`, `top_k`, `top_p`, and the draw. Pure: no clock and no shared state,
//! so a seed gives the same tokens whatever else runs. Nothing here knows text.

mod candidates;
mod draw;
mod logprobs;
mod params;
mod penalties;
#[cfg(test)]
mod tests;

pub use draw::{Draw, LogitEdit};
pub use logprobs::TokenLogprobs;
pub use params::SamplingParams;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use candidates::Candidates;
use penalties::Penalties;

/// No token can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model produced no finite logit")]
pub struct NoFiniteLogit;

/// A drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log probability and the likeliest alternatives, where asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// Memory that samplers share; one a thread.
#[derive(Debug, Default)]
pub struct Scratch(Candidates);

/// Draws the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    penalties: Penalties,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`.
    pub fn new(params: SamplingParams, prompt: &[u32]) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(params.seed);
        let penalties = Penalties::new(&params, prompt);
        Self { params, penalties, rng }
    }

    /// Draws a token from `logits`, `[vocabulary]`, which are changed on the way.
    ///
    /// # Errors
    /// [`NoFiniteLogit`] when there is nothing to draw from.
    pub fn sample(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> Result<Sampled, NoFiniteLogit> {
        // The row as the model gave it, for the log probabilities: the draw changes it in place.
        let raw = self.params.top_logprobs.map(|top| (logits.to_vec(), top));
        self.penalties.apply(&self.params, logits);
        let token = if self.params.temperature == 0.0 {
            argmax(logits).ok_or(NoFiniteLogit)?
        } else {
            let SamplingParams { temperature, min_p, top_k, top_p, .. } = self.params;
            scratch.0.fill(logits, temperature, min_p).ok_or(NoFiniteLogit)?;
            scratch.0.keep_top_k(top_k as usize);
            scratch.0.weigh();
            scratch.0.keep_top_p(top_p);
            scratch.0.draw(uniform(&mut self.rng)).ok_or(NoFiniteLogit)?
        };
        self.penalties.note(token);
        Ok(Sampled { token, logprobs: raw.map(|(row, top)| logprobs::of(&row, token, top)) })
    }
}

impl Sampler {
    /// The next draw, for whoever makes it where the logits are. Takes a number from the sequence's own, as
    /// [`Self::sample`] does; the token that comes of it is to be [noted](Self::note).
    pub fn prepare(&mut self) -> Draw {
        let SamplingParams { temperature, min_p, top_k, top_p, top_logprobs, .. } = self.params;
        let at = if temperature == 0.0 { 0.0 } else { uniform(&mut self.rng) };
        let edits = self.penalties.edits(&self.params);
        Draw { temperature, min_p, top_k, top_p, at, edits, top_logprobs }
    }

    /// Notes a token that was drawn elsewhere.
    pub fn note(&mut self, token: u32) {
        self.penalties.note(token);
    }
}

/// The log probabilities of `token` under `logits`, for tokens that are given instead of drawn.
pub fn logprobs_of(logits: &[f32], token: u32, top: u32) -> TokenLogprobs {
    logprobs::of(logits, token, top)
}

/// The first of the greatest finite logits.
fn argmax(logits: &[f32]) -> Option<u32> {
    let most = candidates::greatest(logits)?;
    (0..).zip(logits).find(|(_, logit)| **logit == most).map(|(id, _)| id)
}

/// A number in `0 .. 1`, of 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
