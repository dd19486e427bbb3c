//! What each kind understands.

use super::Kind;
use crate::anthropic::ModelProfile;
use crate::gemini::Upstream;
use crate::lane::Speaks;

impl Kind {
    /// What a provider of this kind understands where it is asked for `model`, by the provider's name for it.
    pub fn speaks(self, model: &str) -> Speaks {
        match self {
            Self::OpenAi | Self::AzureOpenAi => Speaks::openai(),
            Self::OpenAiCompatible => Speaks::openai_compatible(),
            Self::Anthropic | Self::AnthropicCompatible => Speaks::anthropic(ModelProfile::of(model)),
            Self::Gemini => Speaks::gemini(Upstream::default()),
            Self::Vertex => Speaks::vertex(model),
            Self::Bedrock => Speaks::bedrock(model),
        }
    }
}
