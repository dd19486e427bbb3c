//! SentencePiece with byte fallback: neighbours are merged by score, best first.
//!
//! Source: `llm_tokenizer_spm_session` of llama.cpp's `src/llama-vocab.cpp`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::{TokenType, TokenizerError, TokenizerMetadata};

/// How SentencePiece writes a space.
pub(super) const SPACE: &str = "\u{2581}";

#[derive(Debug)]
pub(super) struct Spm {
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    bytes: [u32; 256],
    add_space_prefix: bool,
}

/// A run of bytes of the text, linked to its neighbours; empty once merged away.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A pair of neighbours that together are a token.
struct Pair {
    left: usize,
    right: usize,
    score: f32,
    len: usize,
}

impl Ord for Pair {
    /// The best score first, then the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Spm {
    pub(super) fn new(metadata: &TokenizerMetadata) -> Result<Self, TokenizerError> {
        if metadata.scores.is_empty() {
            let problem = "missing, and a SentencePiece vocabulary merges by score".to_owned();
            return Err(TokenizerError::Metadata { key: "tokenizer.ggml.scores", problem });
        }
        // A byte without a token of its own becomes the unknown token.
        let unknown = metadata.unknown.unwrap_or(0);
        let mut bytes = [unknown; 256];
        for ((id, token), kind) in (0..).zip(&metadata.tokens).zip(&metadata.token_types) {
            if let (TokenType::Byte, Some(byte)) = (kind, parse_byte_token(token)) {
                bytes[usize::from(byte)] = id;
            }
        }
        Ok(Self {
            ids: metadata.tokens.iter().cloned().zip(0..).collect(),
            scores: metadata.scores.clone(),
            bytes,
            add_space_prefix: metadata.add_space_prefix.unwrap_or(true),
        })
    }

    /// Appends the ids of `text`, which holds no special token. At the start, and after a special token,
    /// words are read as if a space came before them.
    pub(super) fn encode(&self, text: &str, after_special: bool, ids: &mut Vec<u32>) {
        let prefix = if self.add_space_prefix && after_special { SPACE } else { "" };
        let text = [prefix, &text.replace(' ', SPACE)].concat();
        let mut symbols = symbols(&text);
        let mut pairs = BinaryHeap::new();
        for right in 1..symbols.len() {
            pairs.extend(self.pair(&text, &symbols, right - 1, right));
        }
        while let Some(Pair { left, right, len, .. }) = pairs.pop() {
            let [a, b] = [symbols[left], symbols[right]];
            if a.len == 0 || b.len == 0 || a.len + b.len != len {
                continue;
            }
            symbols[left].len = len;
            symbols[left].next = b.next;
            symbols[right].len = 0;
            if let Some(next) = b.next {
                symbols[next].previous = Some(left);
                pairs.extend(self.pair(&text, &symbols, left, next));
            }
            if let Some(previous) = a.previous {
                pairs.extend(self.pair(&text, &symbols, previous, left));
            }
        }
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            let piece = &text[symbol.start..symbol.start + symbol.len];
            match self.ids.get(piece) {
                Some(id) => ids.push(*id),
                // Only a single character can be outside the vocabulary: merges make tokens.
                None => ids.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }

    fn pair(&self, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        let len = symbols[left].len + symbols[right].len;
        let start = symbols[left].start;
        let id = *self.ids.get(&text[start..start + len])?;
        Some(Pair { left, right, score: self.scores[id as usize], len })
    }
}

fn symbols(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(index, (start, character))| Symbol {
            start,
            len: character.len_utf8(),
            previous: index.checked_sub(1),
            next: Some(index + 1),
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = None;
    }
    symbols
}

/// The byte that `<0xAB>` names.
pub(super) fn parse_byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}
