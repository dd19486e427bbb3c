//! WordPiece: words are cut into the longest tokens, from the left.
//!
//! Source: `llm_tokenizer_wpm_session` of llama.cpp's `src/llama-vocab.cpp`. What BERT does to a text before that is
//! the `tokenizers` crate's.

use std::collections::HashMap;

use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use super::spm::SPACE;
use super::{TokenizerError, TokenizerMetadata};

#[derive(Debug)]
pub(super) struct Wpm {
    ids: HashMap<String, u32>,
    /// Bytes of the longest token.
    longest: usize,
    unknown: u32,
    normalizer: BertNormalizer,
}

impl Wpm {
    pub(super) fn new(metadata: &TokenizerMetadata) -> Result<Self, TokenizerError> {
        let Some(unknown) = metadata.unknown else {
            let problem = "missing, and a WordPiece vocabulary writes it for words that it cannot spell";
            let key = "tokenizer.ggml.unknown_token_id";
            return Err(TokenizerError::Metadata { key, problem: problem.to_owned() });
        };
        let lowercase = metadata.lowercase.unwrap_or(true);
        Ok(Self {
            ids: metadata.tokens.iter().cloned().zip(0..).collect(),
            longest: metadata.tokens.iter().map(String::len).max().unwrap_or(0),
            unknown,
            normalizer: BertNormalizer::new(true, true, metadata.strip_accents, lowercase),
        })
    }

    /// Appends the ids of `text`, which holds no special token.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Text(error.to_string());
        let mut text = PreTokenizedString::from(text);
        text.normalize(|part| self.normalizer.normalize(part)).map_err(failed)?;
        BertPreTokenizer.pre_tokenize(&mut text).map_err(failed)?;
        for (word, _, _) in text.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            self.encode_word(word, ids);
        }
        Ok(())
    }

    /// All of a word or nothing: one part that no token spells makes the whole unknown.
    fn encode_word(&self, word: &str, ids: &mut Vec<u32>) {
        let word = [SPACE, word].concat();
        let begin = ids.len();
        let mut rest = word.as_str();
        while !rest.is_empty() {
            let token = |len: usize| Some((len, *self.ids.get(rest.get(..len)?)?));
            let Some((len, id)) = (1..=rest.len().min(self.longest)).rev().find_map(token) else {
                ids.truncate(begin);
                ids.push(self.unknown);
                return;
            };
            ids.push(id);
            rest = &rest[len..];
        }
    }
}
