//! Text to token ids and back, as the model file says: vocabulary, merges, special tokens, detokenising.
//!
//! The reference of GGUF files is llama.cpp's `llama-vocab.cpp`: same file, same ids. A `tokenizer.json` is run by the
//! crate that defines it. No file is read here (the metadata comes in a plain struct), and nothing here knows prompts,
//! templates or requests.

mod bpe;
mod byte_level;
mod detokenizer;
mod end_tokens;
mod ggml;
mod gguf;
mod hugging_face;
mod metadata;
mod pre_tokenizer;
mod special;
mod spelling;
mod spm;
#[cfg(test)]
mod tests;
mod vocabulary;
mod wpm;

pub use detokenizer::{Detokenizer, Piece};
pub use hugging_face::{EncodedSequence, HuggingFaceTokenizer, PlainText};
pub use metadata::{TokenType, TokenizerMetadata};

use ggml::Ggml;
use vocabulary::Vocabulary;

/// Why a tokenizer could not be built, or a text not be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file's tokenizer is of a kind that we do not implement.
    #[error(
        "tokenizer.ggml.model is {0:?}: \"gpt2\" (byte-level BPE), \"gemma4\" (BPE), \"llama\" (SentencePiece) and \"bert\" (WordPiece) are read from GGUF; other models are served from a folder with config.json and tokenizer.json"
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
    /// A file that is not a tokenizer that is served.
    #[error("{file}: {problem}")]
    File {
        /// The file.
        file: &'static str,
        /// What is wrong, and what to do.
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
    Ggml(Ggml),
    HuggingFace(Box<HuggingFaceTokenizer>),
}

/// Which tokens of a `tokenizer.json` begin and end texts, as the files beside it say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTexts {
    /// How the token that begins a sequence is written.
    pub bos: Option<String>,
    /// How the token that ends a sequence is written.
    pub eos: Option<String>,
    /// Further ids that end an answer.
    pub ends: Vec<u32>,
}

/// The tokenizer of one model. Shared between threads; nothing in it changes.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    model: Model,
    bos: String,
    eos: String,
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
        let model = Model::Ggml(Ggml::new(&metadata)?);
        let text = |id: Option<u32>| id.map_or_else(String::new, |id| text_of(&vocabulary, id));
        let (bos, eos) = (text(metadata.bos), text(metadata.eos));
        Ok(Self { vocabulary, model, bos, eos, ends })
    }

    /// A model's tokenizer out of its `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::File`] for a file whose tokens could not be written as they come.
    pub fn of_hugging_face(
        model: HuggingFaceTokenizer,
        special: SpecialTexts,
    ) -> Result<Self, TokenizerError> {
        let vocabulary = model.vocabulary()?;
        let SpecialTexts { bos, eos, mut ends } = special;
        ends.extend(eos.as_deref().and_then(|eos| model.id(eos)));
        ends.sort_unstable();
        ends.dedup();
        let (bos, eos) = (bos.unwrap_or_default(), eos.unwrap_or_default());
        Ok(Self { vocabulary, model: Model::HuggingFace(Box::new(model)), bos, eos, ends })
    }

    /// The same, for a model with embeddings for `rows` tokens.
    ///
    /// # Errors
    /// [`TokenizerError`] when it has more tokens than the model knows. Those that a `tokenizer.json` adds for other
    /// media may lie beyond; a text that holds one is refused.
    pub fn for_rows(self, rows: usize) -> Result<Self, TokenizerError> {
        let tokens = self.vocabulary.len();
        let model = match self.model {
            Model::Ggml(_) if tokens > rows => {
                let problem = format!("{tokens} tokens, but the model has embeddings for {rows}");
                return Err(TokenizerError::Metadata { key: "tokenizer.ggml.tokens", problem });
            }
            Model::Ggml(model) => Model::Ggml(model),
            Model::HuggingFace(model) => Model::HuggingFace(Box::new(model.for_rows(rows)?)),
        };
        Ok(Self { model, ..self })
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::Text`] when the splitting rule gives up on it.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        match &self.model {
            Model::Ggml(model) => model.encode(text, options),
            Model::HuggingFace(model) => model.encode(text, options),
        }
    }

    /// Token ids of what a chat template wrote.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_chat(&self, prompt: &str) -> Result<Vec<u32>, TokenizerError> {
        let add_special = match &self.model {
            // A template that writes the token that begins a sequence must not get a second one.
            Model::Ggml(_) => self.bos.is_empty() || !prompt.starts_with(&self.bos),
            // As transformers has it: the template writes all of it.
            Model::HuggingFace(_) => false,
        };
        self.encode(prompt, EncodeOptions { add_special, parse_special: true })
    }

    /// The least number of tokens that a text of `bytes` bytes has, as far as that is known without reading it.
    pub fn least_tokens(&self, bytes: usize) -> usize {
        let all = bytes / self.vocabulary.longest_piece();
        match &self.model {
            Model::Ggml(model) if model.shortens() => 0,
            Model::Ggml(_) => all,
            // A file's normaliser may shorten a text; those in use leave more than a quarter.
            Model::HuggingFace(_) => all / 4,
        }
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

    /// Text of the token that begins a sequence, for templates; empty when the model has none.
    pub fn bos_text(&self) -> &str {
        &self.bos
    }

    /// Text of the token that ends a sequence, for templates; empty when the model has none.
    pub fn eos_text(&self) -> &str {
        &self.eos
    }
}

fn text_of(vocabulary: &Vocabulary, id: u32) -> String {
    std::str::from_utf8(vocabulary.piece(id)).unwrap_or_default().to_owned()
}
