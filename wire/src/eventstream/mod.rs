//! `application/vnd.amazon.eventstream`: binary messages with headers and checksums, in which AWS frames its streams.
//!
//! ```text
//! message := length:u32 headers-length:u32 crc32(the 8 bytes before):u32 header* payload crc32(all before):u32
//! header  := name-length:u8 name type:u8 value
//! ```
//!
//! Numbers are big-endian. What a message says is the affair of the dialect that it is of; here are its bytes alone.

mod decode;
mod encode;

pub use decode::{DecodeError, Decoder, Message};
pub use encode::{event, exception, message};

/// The media type of such a stream.
pub const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";

/// Length, length of the headers, and their checksum.
const PRELUDE: usize = 12;
/// The checksum at the end.
const TRAILER: usize = 4;
