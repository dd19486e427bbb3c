//! A cursor over a file's beginning whose every read is checked.

use std::io::{ErrorKind, Read};

use super::GgufError;

/// Reads little-endian fields; never past the end, never wrapping. What is read is a copy: a file that changes
/// underneath cannot change what was checked.
pub(super) struct Reader<R> {
    input: R,
    position: u64,
    /// Length of the file.
    end: u64,
    /// Bytes of memory that everything read may take, and how many of them it does.
    limit: u64,
    charged: u64,
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning of `input`, a file of `end` bytes, of which at most `limit` bytes of memory are made.
    pub(super) fn new(input: R, end: u64, limit: u64) -> Self {
        Self { input, position: 0, end, limit, charged: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// Fills `bytes` with what comes next, or [`GgufError::Truncated`] naming `field`.
    fn fill(&mut self, bytes: &mut [u8], field: &dyn Fn() -> String) -> Result<(), GgufError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.position += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.truncated(bytes.len() as u64, field))
            }
            Err(source) => Err(GgufError::Read { field: field(), source }),
        }
    }

    fn truncated(&self, needed: u64, field: &dyn Fn() -> String) -> GgufError {
        GgufError::Truncated { field: field(), offset: self.position, needed, end: self.end }
    }

    /// The next `length` bytes, or [`GgufError::Truncated`] naming `field`.
    pub(super) fn take(&mut self, length: u64, field: &dyn Fn() -> String) -> Result<Vec<u8>, GgufError> {
        match usize::try_from(length) {
            Ok(fits) if length <= self.remaining() => {
                let mut taken = vec![0; fits];
                self.fill(&mut taken, field)?;
                Ok(taken)
            }
            _ => Err(self.truncated(length, field)),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, field: &dyn Fn() -> String) -> Result<[u8; N], GgufError> {
        if self.remaining() < N as u64 {
            return Err(self.truncated(N as u64, field));
        }
        let mut value = [0; N];
        self.fill(&mut value, field)?;
        Ok(value)
    }

    pub(super) fn u32(&mut self, field: &dyn Fn() -> String) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &dyn Fn() -> String) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A count of items that take at least `least` bytes each, bounded by the bytes that are left.
    pub(super) fn count(&mut self, least: u64, field: &dyn Fn() -> String) -> Result<usize, GgufError> {
        let count = self.u64(field)?;
        self.bounded(count, least, field)
    }

    /// Checks that `count` items of at least `least` bytes can follow.
    pub(super) fn bounded(
        &self,
        count: u64,
        least: u64,
        field: &dyn Fn() -> String,
    ) -> Result<usize, GgufError> {
        let limit = self.remaining() / least.max(1);
        match usize::try_from(count) {
            Ok(fits) if count <= limit => Ok(fits),
            _ => Err(GgufError::Count { field: field(), count, limit }),
        }
    }

    /// Counts `count` values of type `T` that `field` is about to make.
    pub(super) fn charge<T>(&mut self, count: usize, field: &dyn Fn() -> String) -> Result<(), GgufError> {
        let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
        self.charged = self.charged.saturating_add(bytes);
        if self.charged > self.limit {
            return Err(GgufError::HeaderMemory { field: field(), limit: self.limit });
        }
        Ok(())
    }

    /// A length-prefixed UTF-8 string of at most `limit` bytes.
    pub(super) fn string(&mut self, limit: u64, field: &dyn Fn() -> String) -> Result<String, GgufError> {
        let length = self.u64(field)?;
        if length > limit {
            return Err(GgufError::Count { field: format!("length of {}", field()), count: length, limit });
        }
        self.charge::<u8>(usize::try_from(length).unwrap_or(usize::MAX), field)?;
        String::from_utf8(self.take(length, field)?).map_err(|_| GgufError::Utf8 { field: field() })
    }
}
