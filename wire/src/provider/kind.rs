//! The kinds of provider.

use std::fmt;
use std::str::FromStr;

use super::Profile;
use super::profile::{
    ANTHROPIC, ANTHROPIC_COMPATIBLE, AZURE_OPENAI, BEDROCK, GEMINI, OPENAI, OPENAI_COMPATIBLE, VERTEX,
};

/// Whose API it is: the dialect, the paths and the way of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// OpenAI itself.
    OpenAi,
    /// OpenAI's models at Azure, by the v1 API of a resource.
    AzureOpenAi,
    /// Anthropic itself.
    Anthropic,
    /// Google's Gemini API (AI Studio).
    Gemini,
    /// Google's Vertex AI: Gemini's models and Claude, of a project in a location.
    Vertex,
    /// Amazon Bedrock: Claude, and other makers' models by Converse, in a region.
    Bedrock,
    /// Any server that speaks OpenAI's dialect.
    OpenAiCompatible,
    /// Any server that speaks Anthropic's dialect.
    AnthropicCompatible,
}

/// A word that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no kind of provider: write OpenAI, AzureOpenAI, Anthropic, Gemini, Vertex, Bedrock, OpenAICompatible or \
     AnthropicCompatible"
)]
pub struct UnknownKind(pub String);

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::OpenAi,
        Self::AzureOpenAi,
        Self::Anthropic,
        Self::Gemini,
        Self::Vertex,
        Self::Bedrock,
        Self::OpenAiCompatible,
        Self::AnthropicCompatible,
    ];

    /// The word for it in `ExternalProvider.spec.kind` and in flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::AzureOpenAi => "AzureOpenAI",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Gemini",
            Self::Vertex => "Vertex",
            Self::Bedrock => "Bedrock",
            Self::OpenAiCompatible => "OpenAICompatible",
            Self::AnthropicCompatible => "AnthropicCompatible",
        }
    }

    /// Who it is in OpenTelemetry's words, as `gen_ai.provider.name`. Of the compatible ones nobody knows: those are ours.
    pub fn vendor(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure.ai.openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gcp.gemini",
            Self::Vertex => "gcp.vertex_ai",
            Self::Bedrock => "aws.bedrock",
            Self::OpenAiCompatible => "openai_compatible",
            Self::AnthropicCompatible => "anthropic_compatible",
        }
    }

    /// Whether an account's rights are given model by model: that a key may neither ask one model nor see the list says
    /// nothing of the others.
    pub fn grants_by_model(self) -> bool {
        match self {
            Self::Vertex | Self::Bedrock => true,
            Self::OpenAi
            | Self::AzureOpenAi
            | Self::Anthropic
            | Self::Gemini
            | Self::OpenAiCompatible
            | Self::AnthropicCompatible => false,
        }
    }

    /// Everything that is particular to it.
    pub fn profile(self) -> &'static Profile {
        match self {
            Self::OpenAi => &OPENAI,
            Self::AzureOpenAi => &AZURE_OPENAI,
            Self::Anthropic => &ANTHROPIC,
            Self::Gemini => &GEMINI,
            Self::Vertex => &VERTEX,
            Self::Bedrock => &BEDROCK,
            Self::OpenAiCompatible => &OPENAI_COMPATIBLE,
            Self::AnthropicCompatible => &ANTHROPIC_COMPATIBLE,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_word_and_an_unknown_word_lists_all() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "Telepathy".parse::<Kind>().unwrap_err().to_string();
        assert!(Kind::ALL.iter().all(|kind| error.contains(kind.as_str())), "{error}");
    }
}
