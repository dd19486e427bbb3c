//! Models as the Hugging Face hub keeps them: a folder with `config.json` and one or more `.safetensors` files.
//!
//! The `safetensors` crate checks headers; here lie the mapping of names to files and the guards of a folder that may
//! be hostile, and where the scales of 8-bit floats lie. Nothing here knows a model family.

mod error;
mod folder;
mod header;
mod json;
mod quantization;
#[cfg(test)]
mod scale_tests;
mod scales;
mod sentence;
#[cfg(test)]
mod tests;
mod text;

pub use error::SafetensorsError;
pub use folder::SafetensorsFolder;
pub use quantization::QuantizationError;
pub use sentence::{PoolingMode, SentenceFiles};
pub use text::TextFiles;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {
    header::Header, header::read_header, quantization::scheme as quantization, text::ids as token_ids,
};
