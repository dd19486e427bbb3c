//! What can be wrong with a model in a well-formed file.

use crate::gguf::MetadataError;

/// A model that is not served, with the field that says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A key is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Another family.
    #[error("{key} is {found:?}, which is not served; served: {served}")]
    Architecture {
        /// The key that says it.
        key: &'static str,
        /// What the file says.
        found: String,
        /// What is served.
        served: &'static str,
    },
    /// A value that makes no model, or one that is not served.
    #[error("{key} is {value}: {problem}")]
    Config {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A tensor is not in the file.
    #[error("tensor {tensor} is missing; the file is incomplete: fetch or convert it again")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// The system did not give a tensor's bytes.
    #[error("tensor {tensor} could not be read: {problem}; check the disk, and fetch the file again")]
    Read {
        /// Its name.
        tensor: String,
        /// The system's words.
        problem: String,
    },
    /// A tensor's shape is not what the metadata says.
    #[error(
        "tensor {tensor} has shape {found:?}, but the metadata makes it {expected:?}; convert the model again"
    )]
    TensorShape {
        /// Its name.
        tensor: String,
        /// Its dimensions, columns first.
        found: Vec<usize>,
        /// What they must be.
        expected: Vec<usize>,
    },
    /// A tensor that this forward pass would ignore, so that its numbers would be wrong.
    #[error(
        "tensor {tensor} has no place in a {architecture} model as it is served; this variant is not supported"
    )]
    UnknownTensor {
        /// Its name.
        tensor: String,
        /// The family.
        architecture: String,
    },
    /// A vector of a type that has no meaning without scales.
    #[error(
        "tensor {tensor} is stored as {found}, which only matrices with scales are; convert the model again"
    )]
    StoredType {
        /// Its name.
        tensor: String,
        /// The type.
        found: &'static str,
    },
    /// A scale that no quantiser writes.
    #[error(
        "tensor {tensor}: scale {index} is {value}, and scales are positive numbers; the file is damaged: fetch or convert it again"
    )]
    Scale {
        /// The tensor that holds it.
        tensor: String,
        /// Its place.
        index: usize,
        /// Its value.
        value: String,
    },
    /// Norms and biases larger than any model's, which are read before it is known whether the model fits.
    #[error(
        "norms and biases up to tensor {tensor} take {bytes} bytes, and no model has more than {limit}; the file is damaged or hostile: fetch it again"
    )]
    VectorBytes {
        /// The tensor that is too much.
        tensor: String,
        /// Bytes up to its end, as they would be held.
        bytes: usize,
        /// The most that is read.
        limit: usize,
    },
    /// Sizes that overflow.
    #[error("the weights' size overflows; the file's dimensions are not a model's")]
    TooLarge,
}
