//! A draw as a value: what a device needs to make it.

/// One logit, made less or more likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitEdit {
    /// The token.
    pub token: u32,
    /// Divides a positive logit and multiplies a negative one; 1 does nothing.
    pub repetition: f32,
    /// Added afterwards.
    pub add: f32,
}

/// How a token is to be drawn from a row of logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// 0 takes the likeliest.
    pub temperature: f32,
    /// 0 is all.
    pub min_p: f32,
    /// 0 is all.
    pub top_k: u32,
    /// 1 is all.
    pub top_p: f32,
    /// The number drawn, from 0 to before 1.
    pub at: f64,
    /// Penalties and biases; no token twice.
    pub edits: Vec<LogitEdit>,
    /// Report log probabilities of the untouched logits, with this many alternatives.
    pub top_logprobs: Option<u32>,
}
