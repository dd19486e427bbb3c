//! The kinds of provider and what their owners demand, as the API has them and as `wire` does.

use std::sync::Arc;

use weighbridge_crds::{DataPolicy, OnMismatch, ProviderKind, Retention};
use weighbridge_wire::provider::{self, Kind};

/// The kind that an ExternalProvider's `spec.kind` names.
pub fn kind(kind: ProviderKind) -> Kind {
    match kind {
        ProviderKind::OpenAI => Kind::OpenAi,
        ProviderKind::AzureOpenAI => Kind::AzureOpenAi,
        ProviderKind::Anthropic => Kind::Anthropic,
        ProviderKind::Gemini => Kind::Gemini,
        ProviderKind::OpenAICompatible => Kind::OpenAiCompatible,
        ProviderKind::AnthropicCompatible => Kind::AnthropicCompatible,
    }
}

/// What an ExternalProvider's `spec.dataPolicy` demands of a provider of kind `of`.
pub fn data_policy(of: ProviderKind, policy: &DataPolicy) -> Arc<provider::DataPolicy> {
    let DataPolicy { region, retention, on_mismatch } = policy;
    let not_stored = match retention {
        None => false,
        Some(Retention::NotStored) => true,
    };
    let withholds = match on_mismatch.unwrap_or_default() {
        OnMismatch::Fail => true,
        OnMismatch::Report => false,
    };
    Arc::new(provider::DataPolicy::new(kind(of), region.as_deref(), not_stored, withholds))
}
