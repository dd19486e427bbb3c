//! Text to token ids and back, as the model file says: vocabulary, merges, special tokens, detokenising.
//!
//! The reference is llama.cpp's `llama-vocab.cpp`: same file, same ids. No file is read here (the metadata
//! comes in a plain struct), and nothing here knows prompts, templates or requests.

mod bpe;
mod byte_level;
mod detokenizer;
mod end_tokens;
mod gguf;
mod metadata;
mod pre_tokenizer;
mod special;
mod spm;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use detokenizer::{Detokenizer, Piece};
pub use metadata::{TokenType, TokenizerMetadata};

use bpe::Bpe;
use special::{Fragment, SpecialTokens};
use spm::Spm;
use vocabulary::Vocabulary;

/// Why a tokenizer could not be built, or a text not be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file's tokenizer is of a kind that we do not implement.
    #[error(
        "tokenizer.ggml.model is {0:?}: only \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece) are served"
    )]
    UnknownModel(String),
    /// The file splits words by a rule that we do not know; guessing would give other ids in silence.
    #[error(
        "tokenizer.ggml.pre is {0:?}, an unknown pre-tokenizer: convert the model anew or use another file"
    )]
    UnknownPreTokenizer(String),
    /// A list or an id in the metadata does not fit the vocabulary.
    #[error("{key}: {problem}")]
    Metadata {
        /// The metadata key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A metadata key is missing or has another type.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::MetadataError),
    /// The text could not be split.
    #[error("the text cannot be tokenised: {0}")]
    Text(String),
}

/// How to read a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add the tokens that the model expects around a text (usually BOS), if the file says so.
    pub add_special: bool,
    /// Read `<|im_start|>` and its like as the tokens they name; otherwise as plain text.
    pub parse_special: bool,
}

#[derive(Debug)]
enum Model {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
}

/// The tokenizer of one model file. Shared between threads; nothing in it changes.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    special: SpecialTokens,
    model: Model,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    ends: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer that `metadata` describes.
    ///
    /// # Errors
    /// [`TokenizerError`] for a kind that is not served, or lists that contradict each other.
    pub fn new(mut metadata: TokenizerMetadata) -> Result<Self, TokenizerError> {
        metadata.validate()?;
        let ends = end_tokens::resolve(&mut metadata);
        let vocabulary = Vocabulary::new(&metadata)?;
        let special = SpecialTokens::new(&metadata);
        let (model, add_bos) = match metadata.model.as_str() {
            "gpt2" => {
                let pre = metadata.pre.as_deref().unwrap_or("default");
                let rules = pre_tokenizer::rules(pre)
                    .ok_or_else(|| TokenizerError::UnknownPreTokenizer(pre.to_owned()))?;
                let add_bos = rules.add_bos;
                (Model::Bpe(Box::new(Bpe::new(&metadata, rules)?)), add_bos)
            }
            "llama" => (Model::Spm(Box::new(Spm::new(&metadata)?)), true),
            other => return Err(TokenizerError::UnknownModel(other.to_owned())),
        };
        Ok(Self {
            vocabulary,
            special,
            model,
            bos: metadata.bos,
            eos: metadata.eos,
            add_bos: metadata.add_bos.unwrap_or(add_bos) && metadata.bos.is_some(),
            add_eos: metadata.add_eos.unwrap_or(false) && metadata.eos.is_some(),
            ends,
        })
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::Text`] when the splitting rule gives up on it.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_special && self.add_bos {
            ids.extend(self.bos);
        }
        let mut after_special = true;
        for fragment in self.special.split(text, options.parse_special) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(text) => match &self.model {
                    Model::Bpe(bpe) => bpe.encode(text, &mut ids)?,
                    Model::Spm(spm) => spm.encode(text, after_special, &mut ids),
                },
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        if options.add_special && self.add_eos {
            ids.extend(self.eos);
        }
        Ok(ids)
    }

    /// The bytes that `id` stands for, also of a special token; empty for an id outside the vocabulary.
    pub fn piece(&self, id: u32) -> &[u8] {
        self.vocabulary.piece(id)
    }

    /// The bytes that a reader of an answer sees: none for control tokens.
    pub fn visible_piece(&self, id: u32) -> &[u8] {
        if self.vocabulary.is_hidden(id) { &[] } else { self.vocabulary.piece(id) }
    }

    /// Whether `id` ends an answer (end of sequence, of turn, of message).
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// The ids that end an answer, in order.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Tokens in the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// Bytes of the longest token: `text.len() / longest_piece()` is the least number of tokens a text has.
    pub fn longest_piece(&self) -> usize {
        self.vocabulary.longest_piece()
    }

    /// Text of the token that begins a sequence, for templates; empty when the model has none.
    pub fn bos_text(&self) -> &str {
        self.bos.and_then(|id| std::str::from_utf8(self.piece(id)).ok()).unwrap_or("")
    }

    /// Text of the token that ends a sequence, for templates; empty when the model has none.
    pub fn eos_text(&self) -> &str {
        self.eos.and_then(|id| std::str::from_utf8(self.piece(id)).ok()).unwrap_or("")
    }
}
