//! The boundary to whatever computes embeddings and scores.

use super::BackendError;
use super::cpu::{CpuEncoder, EncoderInput};

/// Encodes whole sequences. Owned by one thread.
pub trait Encoder: Send {
    /// Elements of a sequence's vector; 1 for a score.
    fn width(&self) -> usize;

    /// Longest sequence, in tokens.
    fn context_length(&self) -> usize;

    /// Tokens that it knows: ids below this.
    fn vocabulary_size(&self) -> usize;

    /// Token types that it knows: numbers below this.
    fn token_types(&self) -> usize;

    /// One vector for each of `inputs`.
    ///
    /// # Errors
    /// [`BackendError`]; then none of the batch has a vector.
    fn encode(&mut self, inputs: &[EncoderInput<'_>]) -> Result<Vec<Vec<f32>>, BackendError>;
}

impl Encoder for CpuEncoder {
    fn width(&self) -> usize {
        self.width()
    }

    fn context_length(&self) -> usize {
        self.context_length()
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary_size()
    }

    fn token_types(&self) -> usize {
        self.token_types()
    }

    fn encode(&mut self, inputs: &[EncoderInput<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.encode(inputs)
    }
}
