//! What each token of a `tokenizer.json` spells, by its decoder: a token on its own, since text goes out as it comes.

use serde_json::Value;

use super::{byte_level, spm};

/// How a vocabulary writes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's alphabet.
    ByteLevel,
    /// As text with `▁` for a space; with `bytes`, `<0xAB>` is a byte.
    Spaced { bytes: bool },
}

impl Spelling {
    /// The spelling of `decoder`, the file's own object.
    ///
    /// # Errors
    /// In words, what it has that is not served.
    pub(super) fn of(decoder: &Option<Value>) -> Result<Self, String> {
        let Some(decoder) = decoder else {
            return Err("there is none, and a model that generates needs one".to_owned());
        };
        let steps = match kind(decoder) {
            "Sequence" => decoder.get("decoders").and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
            _ => std::slice::from_ref(decoder),
        };
        let mut spelling = None;
        let mut bytes = false;
        for step in steps {
            match kind(step) {
                "ByteLevel" => spelling = Some(Self::ByteLevel),
                "Metaspace" => spelling = Some(Self::Spaced { bytes: false }),
                "Replace" if replaces_space(step) => spelling = Some(Self::Spaced { bytes: false }),
                "ByteFallback" => bytes = true,
                // Pieces are put together by whoever reads them; a blank at the very beginning of a text is the
                // space before a word, and the words of a completion go on from another text.
                "Fuse" | "Strip" => {}
                other => return Err(format!("{other} is not served")),
            }
        }
        match spelling {
            Some(Self::Spaced { .. }) => Ok(Self::Spaced { bytes }),
            Some(Self::ByteLevel) => Ok(Self::ByteLevel),
            None => Err("it says nothing of how spaces are written".to_owned()),
        }
    }

    /// The bytes that `token` spells.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => {
                let mut bytes = Vec::new();
                byte_level::decode(token, &mut bytes);
                bytes
            }
            Self::Spaced { bytes } => match spm::parse_byte_token(token).filter(|_| bytes) {
                Some(byte) => vec![byte],
                None => token.replace(spm::SPACE, " ").into_bytes(),
            },
        }
    }
}

fn kind(decoder: &Value) -> &str {
    decoder.get("type").and_then(Value::as_str).unwrap_or("an object without a type")
}

fn replaces_space(step: &Value) -> bool {
    let pattern = step.get("pattern").and_then(|pattern| pattern.get("String")).and_then(Value::as_str);
    pattern == Some("▁") && step.get("content").and_then(Value::as_str) == Some(" ")
}
