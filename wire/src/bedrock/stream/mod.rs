//! The stream of an answer: messages of [`crate::eventstream`], several blocks at a time if the model likes.
//!
//! ```text
//! messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata
//! ```
//!
//! Only calls are started in so many words: what another block is, its first delta says. An exception may come at any time and
//! is the last. A stream that ends without `messageStop` was cut off.

mod block;
mod event;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub(super) use event::named;
pub use event::{Ended, see};
pub use reader::StreamReader;
pub use writer::StreamWriter;
pub(crate) use writer::keep_alive;
