//! What a model needs of memory, and whether hardware has it.
//!
//! - `facts`: what an engine says of a model by its header alone, for the settings that it is to be served with.
//! - `rules`: the numbers that an engine reserves memory by; it has them from here.
//! - `plan`: the parts of a device's memory, and their sum in words.
//! - `verdict`: facts and hardware to a number of cards, or to why it can't be, with the arithmetic.
//!
//! Pure: knows no client, no runtime, no clock and no file. Engine, operator and `weighbridge plan` reckon by it alike.

mod facts;
mod plan;
pub mod rules;
mod verdict;

pub use facts::{DeviceFacts, ModelFacts};
pub use plan::{MemoryPlan, mebibytes};
pub use verdict::{Asked, Cards, Fits, Misfit, memory_of_slice, on_cards, on_cpu};
