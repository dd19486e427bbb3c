//! Log probabilities.

/// Log probabilities of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logprobs {
    /// One entry for each token of the text.
    pub content: Vec<TokenLogprob>,
    /// One entry for each token of a refusal.
    pub refusal: Vec<TokenLogprob>,
}

impl Logprobs {
    /// Adds those of a later piece of the answer.
    pub fn extend(&mut self, later: Self) {
        self.content.extend(later.content);
        self.refusal.extend(later.refusal);
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes, where they are known.
    pub bytes: Option<Vec<u8>>,
    /// Its id in the vocabulary, where it is known (Gemini says it).
    pub id: Option<u32>,
    /// The likeliest tokens at its place, best first.
    pub alternatives: Vec<Alternative>,
}

/// A token that could have stood there.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes, where they are known.
    pub bytes: Option<Vec<u8>>,
    /// Its id in the vocabulary, where it is known.
    pub id: Option<u32>,
}
