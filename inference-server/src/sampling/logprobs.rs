//! Log probabilities of the model itself, before penalties, temperature and filters.

/// A token's log probability and the likeliest alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The likeliest tokens with their log probabilities, best first.
    pub top: Vec<(u32, f32)>,
}

/// The log probabilities of `token` under `logits`, with `top` alternatives.
pub(super) fn of(logits: &[f32], token: u32, top: u32) -> TokenLogprobs {
    let log_sum = log_sum_exp(logits);
    let top = likeliest(logits, top as usize).into_iter().map(|(id, logit)| (id, logit - log_sum)).collect();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    TokenLogprobs { logprob: logit - log_sum, top }
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    most + sum.ln() as f32
}

/// The `count` greatest, best first; of equals the lowest id.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}
