//! Tokenizers as the Hugging Face hub keeps them: a `tokenizer.json`, run by the `tokenizers` crate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::utils::truncation::{
    TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};
use tokenizers::{Encoding, PostProcessor as _};

use super::spelling::Spelling;
use super::vocabulary::Vocabulary;
use super::{EncodeOptions, TokenizerError};

/// The file, for errors.
const FILE: &str = "tokenizer.json";

/// No vocabulary has more; a file that numbers a token higher would only make us reserve memory.
const MAX_TOKENS: u32 = 1 << 22;

/// A sequence for an encoder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedSequence {
    /// Token ids, special ones included.
    pub tokens: Vec<u32>,
    /// Token types, as many.
    pub types: Vec<u32>,
}

/// A text's tokens without special ones.
#[derive(Clone, Debug)]
pub struct PlainText(Encoding);

impl PlainText {
    /// Its tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The tokenizer of a `tokenizer.json`. Shared between threads; nothing in it changes.
#[derive(Clone, Debug)]
pub struct HuggingFaceTokenizer {
    inner: tokenizers::Tokenizer,
    /// Ids that the model has embeddings for.
    rows: usize,
}

impl HuggingFaceTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// Padding and truncation that the file asks for are left out: sequences are not padded here, and what is too
    /// long is the caller's to hear of.
    ///
    /// # Errors
    /// [`TokenizerError::File`] when it is none.
    pub fn new(json: &[u8]) -> Result<Self, TokenizerError> {
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(json)).map_err(|problem| {
            // The crate panics over some files that are no JSON, and the words are lost.
            let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(json);
            let problem = parsed.err().map_or(problem, |error| error.to_string());
            wrong(format!("{problem}: write it anew with save_pretrained, or fetch it again"))
        })?;
        inner.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        inner.with_padding(None);
        Ok(Self { inner, rows: usize::MAX })
    }

    /// The same, for a model with embeddings for `rows` tokens.
    ///
    /// # Errors
    /// [`TokenizerError::File`] when it has more words than the model knows.
    pub fn for_rows(self, rows: usize) -> Result<Self, TokenizerError> {
        let words = self.inner.get_vocab_size(false);
        if words > rows {
            let problem = format!("{words} tokens, but the model has embeddings for {rows}");
            return Err(wrong(format!("{problem}: the two do not belong together, fetch the model again")));
        }
        Ok(Self { rows, ..self })
    }

    /// The id of the token written `text`.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// How the token `id` is written.
    pub fn text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Token ids of `text`, as `transformers` gives them.
    pub(super) fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let encode = || {
            if options.parse_special {
                return self.inner.encode_fast(text, options.add_special);
            }
            // The crate keeps this as a setting. No endpoint asks for it, so the copy is nobody's price.
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain.encode_fast(text, options.add_special)
        };
        let ids = guarded(encode).map_err(TokenizerError::Text)?.get_ids().to_vec();
        self.known(&ids)?;
        Ok(ids)
    }

    /// `text` on its own, without special tokens: a part of a sequence.
    ///
    /// # Errors
    /// [`TokenizerError::Text`].
    pub fn plain(&self, text: &str) -> Result<PlainText, TokenizerError> {
        guarded(|| self.inner.encode_fast(text, false)).map(PlainText).map_err(TokenizerError::Text)
    }

    /// `first`, or the pair of `first` and `second`, with the special tokens and token types of the file's
    /// post-processor. With `most`, the longer of the two is cut until all has that many tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Text`].
    pub fn sequence(
        &self,
        first: PlainText,
        second: Option<PlainText>,
        most: Option<usize>,
    ) -> Result<EncodedSequence, TokenizerError> {
        let process = || {
            let mut parts = (first.0, second.map(|second| second.0));
            if let Some(most) = most {
                parts = self.cut(parts, most)?;
            }
            self.inner.post_process(parts.0, parts.1, true)
        };
        let whole = guarded(process).map_err(TokenizerError::Text)?;
        self.known(whole.get_ids())?;
        Ok(EncodedSequence { tokens: whole.get_ids().to_vec(), types: whole.get_type_ids().to_vec() })
    }

    fn cut(
        &self,
        (first, second): (Encoding, Option<Encoding>),
        most: usize,
    ) -> tokenizers::Result<(Encoding, Option<Encoding>)> {
        let special = self.inner.get_post_processor().map_or(0, |post| post.added_tokens(second.is_some()));
        let params = TruncationParams {
            max_length: most.saturating_sub(special),
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        truncate_encodings(first, second, &params)
    }

    /// Files of multimodal models add tokens, such as one for images, that the text model has no row for.
    fn known(&self, ids: &[u32]) -> Result<(), TokenizerError> {
        let Some(id) = ids.iter().find(|&&id| id as usize >= self.rows) else { return Ok(()) };
        let text = self.text(*id).unwrap_or_default();
        let rows = self.rows;
        Err(TokenizerError::Text(format!("it holds the token {text:?} ({id}), and the model knows {rows}")))
    }

    /// The bytes of every token.
    ///
    /// # Errors
    /// [`TokenizerError::File`] for a decoder that is not served: its tokens could not be written as they come.
    pub(super) fn vocabulary(&self) -> Result<Vocabulary, TokenizerError> {
        let decoder = self.inner.get_decoder().map(serde_json::to_value).transpose();
        let spelling = Spelling::of(&decoder.map_err(|error| wrong(error.to_string()))?)
            .map_err(|found| wrong(format!("decoder: {found}; convert the model to GGUF")))?;
        let added = self.inner.get_added_tokens_decoder();
        let words = self.inner.get_vocab(true);
        let most = words.values().max().copied().unwrap_or(0);
        if most >= MAX_TOKENS {
            return Err(wrong(format!("a token has the id {most}; ids below {MAX_TOKENS} are served")));
        }
        // An id that nothing has is one that no reader sees.
        let mut pieces = vec![(Vec::new(), true); most as usize + 1];
        for (word, id) in &words {
            let Some(piece) = pieces.get_mut(*id as usize) else { continue };
            *piece = match added.get(id) {
                Some(token) => (token.content.as_bytes().to_vec(), token.special),
                None => (spelling.bytes(word), false),
            };
        }
        Vocabulary::of_pieces(pieces).ok_or_else(|| wrong("more than 4 GiB of token text".to_owned()))
    }
}

/// What `call` of the crate gives, or why not in words. Some files make it panic: it indexes what they name without a
/// look. Nothing that it shares between calls is left half-changed: a [`tokenizers::Tokenizer`] is read only.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizers library cannot run this tokenizer.json".to_owned()),
    }
}

fn wrong(problem: String) -> TokenizerError {
    TokenizerError::File { file: FILE, problem }
}
