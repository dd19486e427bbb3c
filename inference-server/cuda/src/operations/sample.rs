//! From logits to tokens: `sample.cu`.

use bytemuck::{Pod, Zeroable};

use super::{blocks, size};
use crate::launch::{Address, Launch};

/// The token of a row without a finite logit.
pub const NOTHING: u32 = u32::MAX;

/// Threads of a block that reads a row of logits.
const THREADS: u32 = 1024;

/// One logit made less or more likely, as kernels read it. No two are of the same logit.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Edit {
    /// The row.
    pub row: u32,
    /// The token; outside the vocabulary nothing is done.
    pub token: u32,
    /// Divides a positive logit, multiplies a negative one; 1 does nothing.
    pub repetition: f32,
    /// Added afterwards.
    pub add: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EditParameters {
    logits: Address,
    edits: Address,
    count: u32,
    vocabulary: u32,
}
const _: () = assert!(size_of::<EditParameters>() == 24);

/// Applies `count` edits at `edits` to `logits`, float `[rows, vocabulary]`.
pub fn edit_logits(logits: Address, vocabulary: usize, edits: Address, count: usize) -> Launch {
    let parameters = EditParameters { logits, edits, count: size(count), vocabulary: size(vocabulary) };
    Launch::new("edit_logits", [blocks(count, 256), 1, 1], 256, &parameters)
}

/// How a row's token is drawn, as kernels read it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Settings {
    /// 0 takes the likeliest.
    pub temperature: f32,
    /// 1 is all.
    pub top_p: f32,
    /// 0 is all.
    pub min_p: f32,
    /// 0 is all.
    pub top_k: u32,
    /// The number drawn, from 0 to before 1.
    pub draw: f64,
}

/// Draws a token of each row.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// float `[rows, vocabulary]`.
    pub logits: Address,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub vocabulary: usize,
    /// `[rows]` of [`Settings`].
    pub settings: Address,
    /// u32 `[rows]`; [`NOTHING`] where there is nothing to draw from.
    pub tokens: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SampleParameters {
    logits: Address,
    settings: Address,
    tokens: Address,
    vocabulary: u32,
    unused: u32,
}
const _: () = assert!(size_of::<SampleParameters>() == 32);

impl Sample {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = SampleParameters {
            logits: self.logits,
            settings: self.settings,
            tokens: self.tokens,
            vocabulary: size(self.vocabulary),
            unused: 0,
        };
        Launch::new("sample", [size(self.rows), 1, 1], THREADS, &parameters)
    }
}

/// Log probabilities of given tokens, and the likeliest alternatives.
#[derive(Clone, Copy, Debug)]
pub struct LogProbabilities {
    /// float `[rows, vocabulary]`.
    pub logits: Address,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub vocabulary: usize,
    /// u32 `[rows]`.
    pub tokens: Address,
    /// float `[rows]`.
    pub logprobs: Address,
    /// Alternatives of a row, at most the vocabulary.
    pub top: usize,
    /// u32 `[rows, top]`, best first.
    pub top_ids: Address,
    /// float `[rows, top]`.
    pub top_logprobs: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LogprobParameters {
    logits: Address,
    tokens: Address,
    logprobs: Address,
    top_ids: Address,
    top_logprobs: Address,
    vocabulary: u32,
    top: u32,
}
const _: () = assert!(size_of::<LogprobParameters>() == 48);

impl LogProbabilities {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = LogprobParameters {
            logits: self.logits,
            tokens: self.tokens,
            logprobs: self.logprobs,
            top_ids: self.top_ids,
            top_logprobs: self.top_logprobs,
            vocabulary: size(self.vocabulary),
            top: size(self.top),
        };
        Launch::new("log_probabilities", [size(self.rows), 1, 1], THREADS, &parameters)
    }
}
