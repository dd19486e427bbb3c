//! The stream of an answer: named server-sent events, one open block at a time.
//!
//! ```text
//! message_start  (content_block_start content_block_delta* content_block_stop)*  message_delta  message_stop
//! ```
//!
//! `ping` comes anywhere. `error` may come at any time and is the last. A stream that ends without `message_stop`
//! was cut off.

mod block;
mod event;
mod reader;
mod writer;

#[cfg(test)]
mod bug_tests;
#[cfg(test)]
mod reader_tests;
#[cfg(test)]
mod writer_tests;

pub use reader::StreamReader;
pub use writer::StreamWriter;
