//! What can be wrong with a file, each naming the field and what to do.

use std::path::PathBuf;

/// A file that cannot be used. Nothing of it was mapped into a model.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file could not be opened or mapped.
    #[error("{path}: {source}; check the path and its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The file could not be read on.
    #[error("{field} could not be read: {source}; check the disk, and fetch the file again")]
    Read {
        /// The field being read.
        field: String,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// A download that never began, or a file made to be written to.
    #[error("the file is empty: fetch it again")]
    Empty,
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it begins with {found:02x?}; convert the model to GGUF")]
    Magic {
        /// The first bytes, as many as there are.
        found: Vec<u8>,
    },
    /// A version that is not read here.
    #[error(
        "GGUF version {version} is not supported (2 and 3 are); convert the model again with a current tool"
    )]
    Version {
        /// The version field.
        version: u32,
    },
    /// Byte order of another machine.
    #[error("GGUF file in big-endian byte order; convert it to little-endian")]
    BigEndian,
    /// The file ends inside a field.
    #[error(
        "{field} needs {needed} bytes at offset {offset}, but the file ends at {end}; it is truncated: fetch it again"
    )]
    Truncated {
        /// The field being read.
        field: String,
        /// Where it begins.
        offset: u64,
        /// Bytes it needs.
        needed: u64,
        /// Length of the file.
        end: u64,
    },
    /// A count that cannot fit in the bytes that are left.
    #[error("{field} says {count}, but only {limit} can fit; the file is damaged or hostile: fetch it again")]
    Count {
        /// The count field.
        field: String,
        /// Its value.
        count: u64,
        /// The most that could be.
        limit: u64,
    },
    /// A header that would take more memory than any real one.
    #[error(
        "{field} makes the header take more than {limit} bytes of memory, which no model's does; the file is damaged or hostile: fetch it again"
    )]
    HeaderMemory {
        /// The field that is too much.
        field: String,
        /// The most that a header may take.
        limit: u64,
    },
    /// A type number that the format does not define.
    #[error("{field} has unknown type {value}; the file is damaged, or newer than this server")]
    UnknownType {
        /// The field.
        field: String,
        /// The number found.
        value: u32,
    },
    /// A tensor type that is defined but not served.
    #[error("tensor {tensor} is {name}, which is not supported; requantise the model to one of {supported}")]
    UnsupportedTensorType {
        /// The tensor.
        tensor: String,
        /// Name of its type.
        name: &'static str,
        /// What is supported.
        supported: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8; the file is damaged: fetch it again")]
    Utf8 {
        /// The field.
        field: String,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("{field} is a boolean with value {value}; the file is damaged: fetch it again")]
    Boolean {
        /// The field.
        field: String,
        /// The byte found.
        value: u8,
    },
    /// Arrays nested deeper than any real file's.
    #[error("{field} nests arrays deeper than {limit}; the file is hostile")]
    Nesting {
        /// The field.
        field: String,
        /// The limit.
        limit: usize,
    },
    /// The same key or tensor twice.
    #[error("{kind} {name:?} appears twice; the file is damaged or hostile: fetch it again")]
    Duplicate {
        /// `metadata key` or `tensor`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// `general.alignment` that is not a power of two.
    #[error("general.alignment is {value}; it must be a power of two from 1 to {limit}")]
    Alignment {
        /// The value.
        value: u64,
        /// The largest accepted.
        limit: u64,
    },
    /// Dimensions that make no tensor.
    #[error("tensor {tensor} has shape {shape:?}: {problem}; the file is damaged or hostile: fetch it again")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its dimensions, fastest first.
        shape: Vec<u64>,
        /// What is wrong.
        problem: &'static str,
    },
    /// A tensor whose bytes are not all in the file.
    #[error(
        "tensor {tensor}: bytes {offset} to {offset} + {size} lie outside the {available} bytes of tensor data; \
         the file is truncated or hostile: fetch it again"
    )]
    TensorBounds {
        /// The tensor.
        tensor: String,
        /// Offset from the start of tensor data.
        offset: u64,
        /// Bytes of the tensor.
        size: u64,
        /// Bytes of tensor data in the file.
        available: u64,
    },
    /// A tensor offset that is not aligned.
    #[error(
        "tensor {tensor}: offset {offset} is not a multiple of the alignment {alignment}; convert the file again"
    )]
    TensorAlignment {
        /// The tensor.
        tensor: String,
        /// The offset.
        offset: u64,
        /// `general.alignment`.
        alignment: u64,
    },
    /// A part of a split model that is not the one it should be.
    #[error("{}: {problem}", path.display())]
    Part {
        /// The part.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first} and {second} overlap; the file is damaged or hostile: fetch it again")]
    TensorOverlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
}

/// A metadata key that is missing or holds something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The key is not in the file.
    #[error("metadata key {key} is missing; convert the model again with a current tool")]
    Missing {
        /// The key.
        key: String,
    },
    /// The key holds another type or a value out of range.
    #[error(
        "metadata key {key} holds {found}, expected {expected}; convert the model again with a current tool"
    )]
    Type {
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// What is there, in words.
        found: String,
    },
}
