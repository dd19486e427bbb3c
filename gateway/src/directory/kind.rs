//! The kinds of provider, as the API has them and as `wire` does.

use weighbridge_crds::ProviderKind;
use weighbridge_wire::provider::Kind;

/// The kind that an ExternalProvider's `spec.kind` names.
pub fn kind(kind: ProviderKind) -> Kind {
    match kind {
        ProviderKind::OpenAI => Kind::OpenAi,
        ProviderKind::AzureOpenAI => Kind::AzureOpenAi,
        ProviderKind::Anthropic => Kind::Anthropic,
        ProviderKind::Gemini => Kind::Gemini,
        ProviderKind::Vertex => Kind::Vertex,
        ProviderKind::Bedrock => Kind::Bedrock,
        ProviderKind::OpenAICompatible => Kind::OpenAiCompatible,
        ProviderKind::AnthropicCompatible => Kind::AnthropicCompatible,
    }
}
