//! The tokenizer's keys out of a GGUF file.

use super::{TokenType, TokenizerError, TokenizerMetadata};
use crate::gguf::{Metadata, MetadataError};

impl TokenizerMetadata {
    /// Copies what `metadata` says about the tokenizer; checking it is [`super::Tokenizer::new`]'s.
    ///
    /// # Errors
    /// [`TokenizerError::Gguf`] for a key that is missing or has another type.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        Ok(Self::read(metadata)?)
    }

    fn read(metadata: &Metadata) -> Result<Self, MetadataError> {
        let text = |key| metadata.optional_string(key).map(|text| text.map(str::to_owned));
        let types = metadata.optional_i32s("tokenizer.ggml.token_type")?.unwrap_or_default();
        Ok(Self {
            name: text("general.name")?,
            model: metadata.string("tokenizer.ggml.model")?.to_owned(),
            pre: text("tokenizer.ggml.pre")?,
            tokens: metadata.strings("tokenizer.ggml.tokens")?.to_vec(),
            token_types: types.iter().copied().map(TokenType::from).collect(),
            scores: metadata.optional_f32s("tokenizer.ggml.scores")?.unwrap_or_default().to_vec(),
            merges: metadata.optional_strings("tokenizer.ggml.merges")?.unwrap_or_default().to_vec(),
            bos: metadata.optional_u32("tokenizer.ggml.bos_token_id")?,
            eos: metadata.optional_u32("tokenizer.ggml.eos_token_id")?,
            eot: metadata.optional_u32("tokenizer.ggml.eot_token_id")?,
            eom: metadata.optional_u32("tokenizer.ggml.eom_token_id")?,
            unknown: metadata.optional_u32("tokenizer.ggml.unknown_token_id")?,
            class: metadata.optional_u32("tokenizer.ggml.cls_token_id")?,
            separator: metadata.optional_u32("tokenizer.ggml.seperator_token_id")?,
            add_bos: metadata.optional_bool("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.optional_bool("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: metadata.optional_bool("tokenizer.ggml.add_space_prefix")?,
            lowercase: metadata.optional_bool("tokenizer.ggml.normalizer.lowercase")?,
            strip_accents: metadata.optional_bool("tokenizer.ggml.normalizer.strip_accents")?,
            chat_template: text("tokenizer.chat_template")?,
        })
    }
}
