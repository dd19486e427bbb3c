//! The header of a `.safetensors` file, checked by the crate that defines it.

use std::io::{self, Read};

use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;

/// Longest header that is read: the `safetensors` crate's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Bytes that say how long the header is.
const LENGTH: u64 = 8;

/// What a header says, every tensor of which lies inside the file.
#[derive(Debug)]
pub(crate) struct Header {
    /// Where the tensors begin.
    pub(crate) data: usize,
    /// The tensors, which follow one another without a gap or an overlap, to the end of the file.
    pub(crate) metadata: Metadata,
}

/// Reads and checks the header of a file of `length` bytes that begins with `file`. No tensor is read.
pub(crate) fn read_header(file: &mut impl Read, length: u64) -> Result<Header, SafeTensorError> {
    let mut size = [0; LENGTH as usize];
    file.read_exact(&mut size).map_err(|error| ended(error, SafeTensorError::HeaderTooSmall))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER {
        return Err(SafeTensorError::HeaderTooLarge);
    }
    // At most `MAX_HEADER`, so that neither the sum nor the cast wraps.
    let data = LENGTH + size;
    if data > length {
        return Err(SafeTensorError::InvalidHeaderLength);
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(|error| ended(error, SafeTensorError::InvalidHeaderLength))?;
    // Reading it checks that shapes, types and offsets agree, and that each tensor begins where the last one ends.
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    if metadata.data_len() as u64 != length - data {
        return Err(SafeTensorError::MetadataIncompleteBuffer);
    }
    Ok(Header { data: data as usize, metadata })
}

fn ended(error: io::Error, early: SafeTensorError) -> SafeTensorError {
    if error.kind() == io::ErrorKind::UnexpectedEof { early } else { SafeTensorError::IoError(error) }
}
