//! What a model file says about its tokenizer, as plain data.

use super::TokenizerError;

/// `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Text.
    Normal,
    /// Stands for what cannot be tokenised.
    Unknown,
    /// Structure, such as `<|im_start|>`; never shown.
    Control,
    /// Added by the model's makers; cut out of a text before anything else.
    UserDefined,
    /// Never produced.
    Unused,
    /// One byte, written `<0xAB>`.
    Byte,
    /// Any other number.
    Undefined,
}

impl From<i32> for TokenType {
    fn from(value: i32) -> Self {
        match value {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }
}

/// The `tokenizer.*` keys of a GGUF file (and `general.name`, which some rules hang on).
#[derive(Clone, Debug, Default)]
pub struct TokenizerMetadata {
    /// `general.name`.
    pub name: Option<String>,
    /// `tokenizer.ggml.model`: `gpt2`, `gemma4`, `llama`, `bert`.
    pub model: String,
    /// `tokenizer.ggml.pre`: how a text is split into words.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`, by id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, by id; empty means all normal.
    pub token_types: Vec<TokenType>,
    /// `tokenizer.ggml.scores`, by id; needed by `llama`.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.merges`, `"left right"`, best first; needed by `gpt2` and `gemma4`.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unknown: Option<u32>,
    /// `tokenizer.ggml.cls_token_id`: what `bert` begins with.
    pub class: Option<u32>,
    /// `tokenizer.ggml.seperator_token_id` (so spelled in the format): what `bert` ends with.
    pub separator: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.normalizer.lowercase`, of `bert`; unsaid, it is so.
    pub lowercase: Option<bool>,
    /// `tokenizer.ggml.normalizer.strip_accents`, of `bert`; unsaid, it goes with lower case.
    pub strip_accents: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

impl TokenizerMetadata {
    /// How a `gpt2` vocabulary writes a single byte.
    pub fn byte_token(byte: u8) -> String {
        super::byte_level::character(byte).to_string()
    }

    /// Fills defaults and checks that lists and ids fit each other, so that nothing later can index
    /// outside the vocabulary.
    pub(super) fn validate(&mut self) -> Result<(), TokenizerError> {
        let count = self.tokens.len();
        let short = |key, len: usize| {
            let problem = format!("{len} entries for {count} tokens");
            Err(TokenizerError::Metadata { key, problem })
        };
        if count == 0 || u32::try_from(count).is_err() {
            let problem = format!("{count} tokens");
            return Err(TokenizerError::Metadata { key: "tokenizer.ggml.tokens", problem });
        }
        if self.token_types.is_empty() {
            self.token_types = vec![TokenType::Normal; count];
        }
        if self.token_types.len() != count {
            return short("tokenizer.ggml.token_type", self.token_types.len());
        }
        if !self.scores.is_empty() && self.scores.len() != count {
            return short("tokenizer.ggml.scores", self.scores.len());
        }
        for (id, token) in self.tokens.iter_mut().enumerate() {
            if token.is_empty() {
                *token = format!("[EMPTY_{id}]");
            }
        }
        let special = [
            ("tokenizer.ggml.bos_token_id", self.bos),
            ("tokenizer.ggml.eos_token_id", self.eos),
            ("tokenizer.ggml.eot_token_id", self.eot),
            ("tokenizer.ggml.eom_token_id", self.eom),
            ("tokenizer.ggml.unknown_token_id", self.unknown),
            ("tokenizer.ggml.cls_token_id", self.class),
            ("tokenizer.ggml.seperator_token_id", self.separator),
        ];
        for (key, id) in special {
            if let Some(id) = id.filter(|id| *id as usize >= count) {
                let problem = format!("{id} is outside the vocabulary of {count} tokens");
                return Err(TokenizerError::Metadata { key, problem });
            }
        }
        Ok(())
    }
}
