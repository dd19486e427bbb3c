//! The kinds of provider and what their owners demand, as the API has them and as `wire` does.

use std::sync::Arc;

use weighbridge_crds::{BedrockPlace, DataPolicy, OnMismatch, ProviderKind, Retention, VertexPlace};
use weighbridge_wire::provider::{self, Kind, Place, PlaceError};

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

/// Where in its cloud a provider's models are, by `spec.vertex` or `spec.bedrock`; none where it is in no cloud.
///
/// # Errors
/// A word that no host or path is made from. The CRD refuses it.
pub fn place(
    vertex: Option<&VertexPlace>,
    bedrock: Option<&BedrockPlace>,
) -> Result<Option<Place>, PlaceError> {
    Ok(match (vertex, bedrock) {
        (Some(VertexPlace { project, location }), _) => {
            Some(Place::Vertex { project: project.parse()?, location: location.parse()? })
        }
        (None, Some(BedrockPlace { region })) => Some(Place::Bedrock { region: region.parse()? }),
        (None, None) => None,
    })
}

/// What is demanded of a provider of kind `of`: by its `spec.dataPolicy`, or by the place whose own host is called (none
/// where `spec.baseURL` names another).
pub fn data_policy(
    of: ProviderKind,
    policy: Option<&DataPolicy>,
    place: Option<&Place>,
) -> Option<Arc<provider::DataPolicy>> {
    let Some(DataPolicy { region, retention, on_mismatch }) = policy else {
        return place.map(|place| Arc::new(provider::DataPolicy::at(place)));
    };
    let not_stored = match retention {
        None => false,
        Some(Retention::NotStored) => true,
    };
    let withholds = match on_mismatch.unwrap_or_default() {
        OnMismatch::Fail => true,
        OnMismatch::Report => false,
    };
    Some(Arc::new(provider::DataPolicy::new(kind(of), region.as_deref(), not_stored, withholds)))
}
