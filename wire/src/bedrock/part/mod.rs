//! Between content blocks and canonical parts: what a request and an answer have in common.

mod media;
mod read;
mod write;

pub(super) use read::{PartReader, Sender, mark};
pub(super) use write::{NO_CUSTOM_TOOLS, PartWriter, Receiver, cache_point};
