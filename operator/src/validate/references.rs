use weighbridge_crds::{ExternalProvider, InspectedModel, OpenWeights, ResourceProfile};
use weighbridge_fit::ModelFacts;

use super::CacheSeen;

/// An object that a spec may name.
#[derive(Clone, Debug, PartialEq)]
pub enum Named<T> {
    /// The spec names none.
    Unnamed,
    /// There is no such object.
    Missing,
    /// The file does not hold it, and there is no cluster to look in.
    NotInFile,
    /// The object, as found.
    Found(T),
}

/// A key of a Secret that a spec may name. The value is never here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// The spec names none.
    Unnamed,
    /// There is no such Secret.
    SecretMissing,
    /// The Secret has no such key, or an empty one.
    KeyMissing,
    /// Secrets of the namespace are not the operator's to read.
    Forbidden,
    /// The key is there.
    Present,
    /// Nobody looked: there is no cluster to look in.
    Assumed,
}

/// What is known of the header of a model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// What inspections in a cluster found, each for the settings that it names.
    Inspected(Vec<InspectedModel>),
    /// What was read on this machine, for the settings of the spec; none where the weights are not at hand.
    Here(Option<Box<ModelFacts>>),
}

/// Everything that a ModelDeployment names.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelReferences {
    /// `openWeights.resources.profile`.
    pub profile: Named<ResourceProfile>,
    /// `openWeights.hub.tokenSecret`.
    pub token: KeyLookup,
    /// `openWeights.cache`.
    pub cache: Named<CacheSeen>,
    /// Each of [`OpenWeights::needed_credentials`](weighbridge_crds::OpenWeights::needed_credentials), in its order.
    pub credentials: Vec<KeyLookup>,
    /// `external.provider`.
    pub provider: Named<ExternalProvider>,
    /// What `openWeights.source` holds.
    pub header: Header,
}

impl ModelReferences {
    /// Of a spec that names nothing, with a header that nobody has read.
    pub const NOTHING: Self = Self {
        profile: Named::Unnamed,
        token: KeyLookup::Unnamed,
        cache: Named::Unnamed,
        credentials: Vec::new(),
        provider: Named::Unnamed,
        header: Header::Inspected(Vec::new()),
    };
}

/// Everything that an ExternalProvider names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderReferences {
    /// `apiKeys`, in their order.
    pub keys: Vec<KeyLookup>,
}

/// Everything that is asked of a ModelCache, in an order that is the same each time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheReferences {
    /// First `prefetch`, then the models that name the cache and are in service.
    pub asked: Vec<CacheAsked>,
}

/// Weights that somebody asks a cache to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheAsked {
    /// Who asks.
    pub by: Asker,
    /// For what.
    pub weights: OpenWeights,
    /// The right to it.
    pub right: Right,
}

/// What is known of the Secrets that give the right to fetch something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// They are taken to be there.
    Assumed,
    /// They were looked for.
    Looked {
        /// `hub.tokenSecret`.
        token: KeyLookup,
        /// Each of [`OpenWeights::needed_credentials`](weighbridge_crds::OpenWeights::needed_credentials), in its order.
        credentials: Vec<KeyLookup>,
    },
}

/// Who asks a cache to hold something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// An item of `prefetch`, by its place.
    Prefetch(usize),
    /// A ModelDeployment, by its name.
    Model(String),
}
