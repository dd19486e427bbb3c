//! What can be wrong with a folder, each naming the file and what to do.

use std::path::PathBuf;

use super::quantization::QuantizationError;

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// A file could not be opened, read or mapped.
    #[error("{path}: {source}; check the path and its permissions, or fetch the model again")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// A file that has to be there.
    #[error("{path} is missing: {fix}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        fix: &'static str,
    },
    /// A text file that is none.
    #[error("{path} is no text: {problem}; fetch the model again")]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A key whose value makes no sense.
    #[error("{path}: {key}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it must be.
        problem: String,
    },
    /// A JSON file that is none.
    #[error("{path} is no JSON object: {problem}; fetch the model again")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A JSON file larger than any of its kind.
    #[error("{path} has {bytes} bytes, more than the {limit} that are read; this is no model's")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// The header of a `.safetensors` file.
    #[error("{path}: {source}; the file is damaged or cut short: fetch it again")]
    Header {
        /// The file.
        path: PathBuf,
        /// The reader's words.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// The index names a file that may lie anywhere.
    #[error("{index}: weight_map.{tensor} names {file:?}, which is not a file of this folder")]
    Outside {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// What it names.
        file: String,
    },
    /// A tensor in two files, or not in the file that the index names.
    #[error("tensor {tensor}: {problem}; the folder's files do not belong together: fetch the model again")]
    Contradiction {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A quantisation that is not served.
    #[error("{path}: {source}")]
    Quantization {
        /// The config.
        path: PathBuf,
        /// Its field, and what to use instead.
        #[source]
        source: QuantizationError,
    },
    /// 8-bit floats, and nothing says how they are scaled.
    #[error(
        "tensor {tensor} is stored as F8_E4M3, and config.json has no quantization_config, which says how it is scaled: fetch the folder again, or convert it to BF16"
    )]
    NoScheme {
        /// The tensor.
        tensor: String,
    },
    /// 8-bit floats without scales that fit them, or scales that fit nothing.
    #[error("tensor {tensor}: {problem}")]
    Scales {
        /// The tensor.
        tensor: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A stored type that is not read.
    #[error(
        "tensor {tensor} is stored as {found}; F32, F16, BF16 and, with scales, F8_E4M3 are read: convert the model"
    )]
    Type {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
}
