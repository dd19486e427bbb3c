//! Embeddings, and the counting of a request's tokens.

use super::{Dialect, ForeignField};

/// Texts to be embedded.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingRequest {
    /// The dialect it was read from.
    pub origin: Dialect,
    /// The model's name.
    pub model: String,
    /// The texts.
    pub input: EmbeddingInput,
    /// Elements of a vector.
    pub dimensions: Option<u32>,
    /// Cut what is too long, where it would be refused.
    pub truncate: Option<bool>,
    /// What the vectors are for, by Gemini's words (`RETRIEVAL_QUERY`).
    pub purpose: Option<String>,
    /// Title of the text, for retrieval (Gemini's `title`).
    pub title: Option<String>,
    /// Who the end user is.
    pub user: Option<String>,
    /// What nobody knows how to translate.
    pub foreign: Vec<ForeignField>,
}

/// What is embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddingInput {
    /// One text a vector.
    Texts(Vec<String>),
    /// Token ids of one text a vector; only the OpenAI dialect takes them.
    Tokens(Vec<Vec<u32>>),
}

/// The vectors, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingResponse {
    /// The dialect it was read from.
    pub origin: Dialect,
    /// The model that answered.
    pub model: String,
    /// One vector for each text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, where the provider says.
    pub input_tokens: Option<u64>,
}

/// The answer to `count_tokens` and `countTokens`; the question is a [`super::Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens of the whole request.
    pub input: u64,
    /// Those of them in a cache, where the provider says.
    pub cached: Option<u64>,
}
