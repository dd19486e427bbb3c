//! How a request wants its tokens drawn. Ranges are checked where requests come in.

/// Sampling parameters of one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the likeliest token, always; greater is more even.
    pub temperature: f32,
    /// Draw from this many of the likeliest; 0 is all.
    pub top_k: u32,
    /// Draw from the likeliest that together have this probability; 1 is all.
    pub top_p: f32,
    /// Draw from those with at least this share of the likeliest one's probability; 0 is all.
    pub min_p: f32,
    /// Makes the draws repeatable.
    pub seed: u64,
    /// Divides the positive and multiplies the negative logits of tokens in prompt and answer; 1 is none.
    pub repetition_penalty: f32,
    /// Taken from a logit once for each time its token was drawn.
    pub frequency_penalty: f32,
    /// Taken from a logit once if its token was drawn.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Report log probabilities, with this many alternatives.
    pub top_logprobs: Option<u32>,
}

impl Default for SamplingParams {
    /// OpenAI's defaults, with seed 0.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            top_logprobs: None,
        }
    }
}
