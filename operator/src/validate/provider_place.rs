use weighbridge_crds::{BedrockPlace, ExternalProviderSpec, ProviderKind, VertexPlace};

use super::Refusal;

/// Where in its cloud an account's models are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderPlace {
    /// At Google's Vertex AI.
    Vertex(VertexPlace),
    /// At Amazon Bedrock.
    Bedrock(BedrockPlace),
}

impl ProviderPlace {
    /// The proxy's flags for it.
    pub fn flags(&self) -> Vec<String> {
        match self {
            Self::Vertex(VertexPlace { project, location }) => {
                vec![format!("--vertex-project={project}"), format!("--vertex-location={location}")]
            }
            Self::Bedrock(BedrockPlace { region }) => vec![format!("--bedrock-region={region}")],
        }
    }
}

/// The place, exactly where the kind has one.
pub(super) fn place(spec: &ExternalProviderSpec) -> Result<Option<ProviderPlace>, Refusal> {
    let ExternalProviderSpec {
        kind,
        base_url: _,
        vertex,
        bedrock,
        api_keys: _,
        allow_private: _,
        data_policy: _,
    } = spec;
    let missing = |field: &str, fix: &str| {
        let kind = kind.as_str();
        Refusal::invalid(format!("{field} is not set, and a provider of kind {kind} needs it: set {fix}"))
    };
    let strange = |field: &str| {
        Refusal::invalid(format!("{field} is not for a provider of kind {}: remove it", kind.as_str()))
    };
    match (kind, vertex, bedrock) {
        (ProviderKind::Vertex, Some(place), None) => {
            word("vertex.project", &place.project, "my-project-123456", "-.:")?;
            word("vertex.location", &place.location, "us-central1, eu or global", "-")?;
            Ok(Some(ProviderPlace::Vertex(place.clone())))
        }
        (ProviderKind::Bedrock, None, Some(place)) => {
            word("bedrock.region", &place.region, "us-east-1", "-")?;
            Ok(Some(ProviderPlace::Bedrock(place.clone())))
        }
        (ProviderKind::Vertex, None, _) => Err(missing("vertex", "vertex.project and vertex.location")),
        (ProviderKind::Bedrock, _, None) => Err(missing("bedrock", "bedrock.region")),
        (ProviderKind::Vertex, Some(_), Some(_)) => Err(strange("bedrock")),
        (_, Some(_), _) => Err(strange("vertex")),
        (_, None, Some(_)) => Err(strange("bedrock")),
        (_, None, None) => Ok(None),
    }
}

/// What the proxy makes a host or a path from: small letters and digits, and what is in `inside` between two of them.
fn word(field: &str, text: &str, example: &str, inside: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_word = text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || inside.contains(c));
    let refused = || Refusal::invalid(format!("{field} is {text:?}: write one such as {example}"));
    is_word.then_some(()).ok_or_else(refused)
}
