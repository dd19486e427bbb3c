//! `streamGenerateContent`: pieces of an answer, as server-sent events or as one JSON array.

mod json_pieces;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use json_pieces::{JsonPieces, Piece};
pub use reader::StreamReader;
pub use writer::StreamWriter;
