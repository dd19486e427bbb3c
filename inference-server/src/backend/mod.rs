//! Backends compute: tokens and block tables in, logits out. CPU and CUDA sit behind one small trait.
//!
//! Nothing here schedules, samples, tokenises or speaks HTTP; nothing outside `kernels` is `unsafe`.

pub mod cpu;
pub mod cuda;
mod encoder;
mod step;

pub use encoder::Encoder;

use crate::kv::BlockId;
use crate::sampling::{Draw, NoFiniteLogit, Sampled};

/// Which rows of logits a chunk asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsWanted {
    /// A prefill chunk that is not the prompt's last.
    None,
    /// The row after the chunk's last token: what decoding needs.
    Last,
    /// A row after every token: prompt log probabilities and perplexity.
    All,
}

/// One sequence's share of a step: a prefill chunk, or the one token of a decode.
#[derive(Clone, Debug)]
pub struct SequenceChunk<'a> {
    /// Token ids to run now, at positions `start .. start + tokens.len()`.
    pub tokens: &'a [u32],
    /// Position of `tokens[0]`; keys and values of all earlier positions are in `blocks` already.
    pub start: usize,
    /// Block table: block `i` holds positions `i * BLOCK_SIZE ..`, and covers `start + tokens.len()`.
    pub blocks: &'a [BlockId],
    /// Rows of logits wanted.
    pub logits: LogitsWanted,
    /// The adapter that its tokens are run with. Keys and values in `blocks` must all have been made with the same.
    pub adapter: Option<AdapterId>,
}

/// Index of an adapter among those that a backend was loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdapterId(pub usize);

/// Rows of logits, `[rows, vocabulary]`, in the order of the chunks that asked.
#[derive(Clone, Debug, Default)]
pub struct Logits {
    values: Vec<f32>,
    vocabulary: usize,
}

impl Logits {
    /// Makes room for `rows` rows of `vocabulary` values each, reusing memory, and returns the room.
    pub fn reset(&mut self, rows: usize, vocabulary: usize) -> &mut [f32] {
        self.vocabulary = vocabulary;
        self.values.resize(rows * vocabulary, 0.0);
        &mut self.values
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.vocabulary).unwrap_or(0)
    }

    /// Row `index`, `[vocabulary]`; `None` past the end.
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.vocabulary.max(1)).nth(index)
    }

    /// Row `index`, `[vocabulary]`, for samplers that work in place.
    pub fn row_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        self.values.chunks_exact_mut(self.vocabulary.max(1)).nth(index)
    }
}

/// What a backend is and holds, for logs, `/readyz` and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendDescription {
    /// `cpu` or `cuda`.
    pub device: String,
    /// The kernels chosen at run time, such as `avx512-vnni`.
    pub kernels: String,
    /// Bytes of weights held or mapped.
    pub weight_bytes: u64,
    /// Bytes of KV memory reserved.
    pub kv_bytes: u64,
    /// Blocks of KV memory reserved.
    pub kv_blocks: usize,
}

/// A step that could not be computed. The batch's sequences fail; the server goes on.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A chunk breaks the trait's contract.
    #[error("chunk {chunk}: {problem}")]
    InvalidChunk {
        /// Index of the chunk in the batch.
        chunk: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The device failed.
    #[error("{device} failed: {problem}")]
    Device {
        /// The device.
        device: String,
        /// The device's own words.
        problem: String,
    },
    /// Others hold the device's memory: later there may be room.
    #[error("{device} has no room: {problem}")]
    NoRoom {
        /// The device.
        device: String,
        /// The device's own words.
        problem: String,
    },
    /// The device is gone, and with it everything that it held: no later step will do better.
    #[error("{device} is lost: {problem}")]
    Lost {
        /// The device.
        device: String,
        /// The device's own words.
        problem: String,
    },
}

/// Computes one model on one device. Owned by the one engine thread.
pub trait Backend: Send {
    /// What this backend is and holds.
    fn description(&self) -> BackendDescription;

    /// Length of a row of logits.
    fn vocabulary_size(&self) -> usize;

    /// Largest position + 1 that the model was built for.
    fn context_length(&self) -> usize;

    /// Runs one step: writes keys and values of every chunk into its blocks, and the wanted rows of
    /// logits, in the chunks' order, into `logits`.
    ///
    /// # Errors
    /// [`BackendError::InvalidChunk`] before anything was computed, when a token is outside the
    /// vocabulary, a block is outside the memory, or the table is too short; else
    /// [`BackendError::Device`].
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Logits) -> Result<(), BackendError>;

    /// Whoever draws where the logits are, if the backend does.
    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        None
    }

    /// Whoever lets others have the device's memory, if the backend can.
    fn sleeping(&mut self) -> Option<&mut dyn Sleeping> {
        None
    }
}

/// A backend that can give back what it holds of a device, and take it again: so several models serve on one card by turns.
pub trait Sleeping {
    /// Gives all memory back. Keys and values are lost; no step is asked for before [`Self::wake`]. Returns the bytes.
    ///
    /// # Errors
    /// [`BackendError`]; then it is asleep all the same.
    fn sleep(&mut self) -> Result<u64, BackendError>;

    /// Takes the memory again, weights as they were.
    ///
    /// # Errors
    /// [`BackendError::NoRoom`] while others hold the memory; it sleeps on then, as after any other error.
    fn wake(&mut self) -> Result<(), BackendError>;
}

/// A token that was drawn, or that its row had no finite logit.
pub type Drawn = Result<Sampled, NoFiniteLogit>;

/// A backend whose logits are far away: it draws there, and gives tokens. A step is begun and then fetched, so that its
/// owner has other work done while it runs.
pub trait Drawing {
    /// Begins what [`Backend::forward`] does, and a draw for each chunk that wants its last row, in their order; `draws`
    /// has one for each of them. No chunk wants more than its last row. One step runs at a time.
    ///
    /// # Errors
    /// As [`Backend::forward`], of what is known before the step has run.
    fn begin(&mut self, batch: &[SequenceChunk<'_>], draws: &[Draw]) -> Result<(), BackendError>;

    /// Waits for the step that was begun: a token for each of its draws. None where there is no such step.
    ///
    /// # Errors
    /// [`BackendError::Device`] or [`BackendError::Lost`] of what went wrong meanwhile.
    fn fetch(&mut self) -> Result<Vec<Drawn>, BackendError>;
}
