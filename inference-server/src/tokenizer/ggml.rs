//! The tokenizers of GGUF files: special tokens cut out first, then BPE, SentencePiece or WordPiece.

use super::bpe::Bpe;
use super::special::{Fragment, SpecialTokens};
use super::spm::Spm;
use super::wpm::Wpm;
use super::{EncodeOptions, TokenizerError, TokenizerMetadata, pre_tokenizer};

#[derive(Debug)]
enum Words {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
    Wpm(Box<Wpm>),
}

/// What turns text into ids.
#[derive(Debug)]
pub(super) struct Ggml {
    special: SpecialTokens,
    words: Words,
    /// Put in front, if anything is.
    begin: Option<u32>,
    /// Put at the end, if anything is.
    end: Option<u32>,
}

impl Ggml {
    /// The model that `metadata`, which was validated, describes.
    pub(super) fn new(metadata: &TokenizerMetadata) -> Result<Self, TokenizerError> {
        let (words, add_bos) = match metadata.model.as_str() {
            "gpt2" => {
                let pre = metadata.pre.as_deref().unwrap_or("default");
                let rules = pre_tokenizer::rules(pre)
                    .ok_or_else(|| TokenizerError::UnknownPreTokenizer(pre.to_owned()))?;
                let add_bos = rules.add_bos;
                (Words::Bpe(Box::new(Bpe::new(metadata, rules)?)), add_bos)
            }
            "gemma4" => (Words::Bpe(Box::new(Bpe::new(metadata, pre_tokenizer::GEMMA4)?)), true),
            "llama" => (Words::Spm(Box::new(Spm::new(metadata)?)), true),
            "bert" => return Self::bert(metadata),
            other => return Err(TokenizerError::UnknownModel(other.to_owned())),
        };
        Ok(Self {
            special: SpecialTokens::new(metadata),
            words,
            begin: metadata.bos.filter(|_| metadata.add_bos.unwrap_or(add_bos)),
            end: metadata.eos.filter(|_| metadata.add_eos.unwrap_or(false)),
        })
    }

    /// BERT's tokens stand around every text, whatever else the file says.
    fn bert(metadata: &TokenizerMetadata) -> Result<Self, TokenizerError> {
        Ok(Self {
            special: SpecialTokens::new(metadata),
            words: Words::Wpm(Box::new(Wpm::new(metadata)?)),
            begin: metadata.bos.or(metadata.class),
            end: metadata.separator,
        })
    }

    /// Whether a text may have fewer tokens than its length makes one think: a word is unknown however long it is.
    pub(super) fn shortens(&self) -> bool {
        matches!(self.words, Words::Wpm(_))
    }

    pub(super) fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_special {
            ids.extend(self.begin);
        }
        let mut after_special = true;
        for fragment in self.special.split(text, options.parse_special) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(text) => match &self.words {
                    Words::Bpe(bpe) => bpe.encode(text, &mut ids)?,
                    Words::Spm(spm) => spm.encode(text, after_special, &mut ids),
                    Words::Wpm(wpm) => wpm.encode(text, &mut ids)?,
                },
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        if options.add_special {
            ids.extend(self.end);
        }
        Ok(ids)
    }
}
