//! A cursor over bytes whose every read is checked.

use super::GgufError;

/// Reads little-endian fields; never past the end, never wrapping.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// The next `length` bytes, or [`GgufError::Truncated`] naming `field`.
    pub(super) fn take(&mut self, length: u64, field: &dyn Fn() -> String) -> Result<&'a [u8], GgufError> {
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| self.position.checked_add(length))
            .and_then(|end| self.bytes.get(self.position..end));
        let Some(taken) = taken else {
            return Err(GgufError::Truncated {
                field: field(),
                offset: self.position as u64,
                needed: length,
                end: self.bytes.len() as u64,
            });
        };
        self.position += taken.len();
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &dyn Fn() -> String) -> Result<[u8; N], GgufError> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N as u64, field)?);
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

    /// A length-prefixed UTF-8 string of at most `limit` bytes.
    pub(super) fn string(&mut self, limit: u64, field: &dyn Fn() -> String) -> Result<String, GgufError> {
        let length = self.u64(field)?;
        if length > limit {
            return Err(GgufError::Count { field: format!("length of {}", field()), count: length, limit });
        }
        // Copied first, then checked: see `mapping` on files that change underneath.
        let bytes = self.take(length, field)?.to_vec();
        String::from_utf8(bytes).map_err(|_| GgufError::Utf8 { field: field() })
    }
}
