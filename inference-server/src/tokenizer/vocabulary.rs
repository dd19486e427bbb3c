//! Ids to bytes: what each token reads as.

use super::{TokenType, TokenizerError, TokenizerMetadata, byte_level, spm};

/// The bytes of every token, end to end in one allocation, and whether a reader sees them.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Piece `id` is `bytes[ends[id - 1] .. ends[id]]`.
    ends: Vec<u32>,
    hidden: Vec<bool>,
    longest: usize,
}

impl Vocabulary {
    pub(super) fn new(metadata: &TokenizerMetadata) -> Result<Self, TokenizerError> {
        let pieces = metadata.tokens.iter().zip(&metadata.token_types).map(|(token, token_type)| {
            let mut bytes = Vec::new();
            match (token_type, metadata.model.as_str()) {
                (TokenType::Byte, _) => bytes.extend(spm::parse_byte_token(token)),
                (TokenType::Normal, "gpt2") => byte_level::decode(token, &mut bytes),
                (TokenType::Normal, _) => bytes.extend(token.replace(spm::SPACE, " ").as_bytes()),
                (TokenType::Unused | TokenType::Undefined, _) => {}
                _ => bytes.extend(token.as_bytes()),
            }
            (bytes, matches!(token_type, TokenType::Control | TokenType::Unknown))
        });
        Self::of_pieces(pieces).ok_or_else(|| TokenizerError::Metadata {
            key: "tokenizer.ggml.tokens",
            problem: "more than 4 GiB of token text".to_owned(),
        })
    }

    /// From the bytes of every token, by id, and whether it is hidden; `None` for more than 4 GiB of them.
    pub(super) fn of_pieces(pieces: impl IntoIterator<Item = (Vec<u8>, bool)>) -> Option<Self> {
        Self::of_pieces_within(u32::MAX, pieces)
    }

    /// The same; `None` for more than `most` bytes of them.
    fn of_pieces_within(most: u32, pieces: impl IntoIterator<Item = (Vec<u8>, bool)>) -> Option<Self> {
        let mut all = Self { bytes: Vec::new(), ends: Vec::new(), hidden: Vec::new(), longest: 1 };
        for (piece, hidden) in pieces {
            let end = u32::try_from(all.bytes.len().checked_add(piece.len())?).ok()?;
            if end > most {
                return None;
            }
            all.bytes.extend_from_slice(&piece);
            all.ends.push(end);
            all.hidden.push(hidden);
            all.longest = all.longest.max(piece.len());
        }
        Some(all)
    }

    pub(super) fn piece(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let end = self.ends.get(id).copied().unwrap_or(0) as usize;
        let start = id.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0) as usize;
        self.bytes.get(start..end).unwrap_or(&[])
    }

    pub(super) fn is_hidden(&self, id: u32) -> bool {
        self.hidden.get(id as usize).copied().unwrap_or(true)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn longest_piece(&self) -> usize {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends are 32 bits, so that a text that is longer would be read from its middle.
    #[test]
    fn more_text_than_ends_can_say_is_refused() {
        let pieces = || [&b"ab"[..], b"", b"cde"].map(|piece| (piece.to_vec(), false));
        let vocabulary = Vocabulary::of_pieces_within(5, pieces()).unwrap();
        assert_eq!((vocabulary.piece(0), vocabulary.piece(2)), (&b"ab"[..], &b"cde"[..]));
        assert!(Vocabulary::of_pieces_within(4, pieces()).is_none());
    }
}
