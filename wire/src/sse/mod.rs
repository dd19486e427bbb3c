//! Server-sent events: encoding, and decoding of a stream cut anywhere.
//!
//! The decoder hands out whole frames together with their bytes, so that a proxy can pass on untouched
//! what it does not change. No I/O here: the caller pushes bytes in.

mod decode;
mod encode;

pub use decode::{DecodeError, Decoder, Frame};
pub use encode::{DONE, comment, event, is_done, named_event};

/// The media type of such a stream.
pub const MEDIA_TYPE: &str = "text/event-stream";
