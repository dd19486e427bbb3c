//! What the benchmarks of the CPU engine share: our engine, llama.cpp beside it, generated models, and their reports.

mod hog;
mod models;
mod ours;
mod peer;
mod report;

pub use hog::Hog;
pub use models::{Model, generated, llama, llama_e4m3, sample_model};
pub use ours::Ours;
pub use peer::Peer;
pub use report::{Bounds, Pair, header, profile_table};

use std::num::NonZeroUsize;

use clap::Args;

/// Flags that all of them have.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Threads of each engine.
    #[arg(long, default_value = "2")]
    pub threads: NonZeroUsize,
    /// Rounds; each measures both engines once, one after the other.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Shape of the generated models, as `weighbridge synth` names it.
    #[arg(long, default_value = "1.1b")]
    pub shape: String,
    /// Seed of the generated models.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}
