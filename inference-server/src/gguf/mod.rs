//! GGUF files: the header read and bounded, then the tensors' bytes by `mmap`, and a writer.
//!
//! A file is hostile until shown otherwise: every count and size in it is checked against the bytes
//! that are there before anything is allocated or sliced. Nothing here knows a model family, decodes a
//! quantised block (see `kernels::reference`) or interprets a tokenizer.
//!
//! Source of the layout: `docs/gguf.md` of ggml, and `gguf.cpp` for what llama.cpp accepts.

mod error;
mod file;
mod mapping;
mod metadata;
mod parse;
mod reader;
mod shards;
mod split;
mod tensor;
mod value;
pub mod write;

pub use error::{GgufError, MetadataError};
pub use file::GgufFile;
pub(crate) use mapping::FileBytes;
pub use metadata::Metadata;
pub(crate) use parse::header_ends_within;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use parse::read_header;
pub(crate) use shards::Shards;
pub(crate) use split::PartName;
pub use tensor::TensorInfo;
pub use value::{Array, Value, ValueType};
pub use weighbridge_kernels::{StoredType, TensorType};

#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;
