use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::source::Source;
use weighbridge_crds::{
    External, Gpu, ModelDeployment, OpenWeights, ResourceProfile, Resources, SecretKey, World,
};

use super::provider::secret_key;
use super::{ModelReferences, Named, Place, Refusal};
use crate::owner::Owner;
use crate::quantity;

/// A ModelDeployment that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedModel {
    /// The ModelDeployment itself.
    pub owner: Owner,
    /// Engine pods wanted.
    pub replicas: i32,
    /// The arm that answers.
    pub served: Served,
}

/// The arm that answers; the other one is valid too, but is not in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Served {
    /// Weights that we serve.
    Open(Box<Open>),
    /// A model at a closed API.
    Closed(Closed),
}

/// Weights, and how to serve them.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// `openWeights.source` as written.
    pub source: String,
    /// Where the weights are.
    pub weights: Weights,
    /// `sha256:…` of the file.
    pub digest: Option<String>,
    /// Longest prompt and answer together, in tokens.
    pub context_length: Option<u32>,
    /// Sequences computed at once.
    pub max_sequences: Option<u32>,
    /// What each replica runs on.
    pub hardware: Hardware,
}

/// Where weights are, with what only that place needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// A file in a repository of a hub.
    Hub(HubFile),
    /// A file on a claim of the same namespace.
    Claim {
        /// Name of the claim.
        claim: String,
        /// Path inside the volume.
        file: String,
    },
    /// A file on this machine.
    File {
        /// Absolute path.
        path: String,
    },
}

/// A file in a repository of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `hf://org/repo/file`.
    pub source: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
    /// Another hub than the public one.
    pub endpoint: Option<String>,
    /// Token for gated repositories.
    pub token: Option<SecretKey>,
}

/// What each replica runs on.
#[derive(Clone, Debug, PartialEq)]
pub enum Hardware {
    /// No profile is named.
    Unnamed,
    /// A ResourceProfile, with `resources.gpus` put in.
    Profile {
        /// Name of the ResourceProfile.
        name: String,
        /// CPU requested.
        cpu: Quantity,
        /// Memory requested and at most used.
        memory: Quantity,
        /// GPUs, with the count that holds.
        gpu: Option<Gpu>,
        /// Whether `resources.gpus` set the count.
        gpus_overridden: bool,
        /// Labels that a node must have.
        node_selector: BTreeMap<String, String>,
        /// Taints that a node may have.
        tolerations: Vec<Toleration>,
    },
}

/// A model at a closed API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Name of the ExternalProvider.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
}

/// Checks a model and everything that it names. Both arms are checked, also where one of them answers.
///
/// # Errors
/// The field that can't be served at `place`, and what to write instead.
pub fn model(
    model: &ModelDeployment,
    found: &ModelReferences,
    place: Place,
) -> Result<ValidatedModel, Refusal> {
    let owner = Owner::of(model)?;
    let spec = &model.spec;
    if spec.replicas < 0 {
        return Err(Refusal::invalid(format!("replicas is {}: set 0 or more", spec.replicas)));
    }
    let open = spec.open_weights.as_ref().map(|weights| open(weights, found, place)).transpose()?;
    let closed = spec.external.as_ref().map(|external| closed(external, found)).transpose()?;
    let served = match (spec.world(), open, closed) {
        (Some(World::OpenWeights), Some(open), _) => Served::Open(Box::new(open)),
        (Some(World::External), _, Some(closed)) => Served::Closed(closed),
        (Some(_) | None, _, _) => {
            return Err(Refusal::invalid(
                "no world answers: set openWeights or external, and with both set add serve: OpenWeights or serve: External",
            ));
        }
    };
    Ok(ValidatedModel { owner, replicas: spec.replicas, served })
}

fn open(weights: &OpenWeights, found: &ModelReferences, place: Place) -> Result<Open, Refusal> {
    let OpenWeights { source: text, revision, digest, hub, resources, engine } = weights;
    let source: Source = text.parse().map_err(|error| Refusal::invalid(format!("openWeights.{error}")))?;
    if (revision.is_some() || hub.is_some()) && !matches!(source, Source::Hub { .. }) {
        return Err(Refusal::invalid(
            "openWeights.revision and openWeights.hub belong to hf sources only: remove them",
        ));
    }
    let weights = match (source, place) {
        (Source::Hub { .. }, _) => {
            let hub = hub.as_ref();
            let token = hub.and_then(|hub| hub.token_secret.clone());
            if let Some(named) = &token {
                secret_key("openWeights.hub.tokenSecret", named, found.token)?;
            }
            Weights::Hub(HubFile {
                source: text.clone(),
                revision: revision.clone(),
                endpoint: hub.and_then(|hub| hub.endpoint.clone()),
                token,
            })
        }
        // On a machine the caller maps the claim to a folder, so that one file serves in both places.
        (Source::Claim { claim, file }, Place::Cluster | Place::Machine) => Weights::Claim { claim, file },
        (Source::File { path }, Place::Machine) => Weights::File { path },
        (Source::File { .. }, Place::Cluster) => {
            return Err(Refusal::invalid(
                "openWeights.source is file://, which names a file of one machine and belongs to `weighbridge up`: \
                 in a cluster put the file on a claim and write pvc://claim/file.gguf",
            ));
        }
    };
    let engine = engine.clone().unwrap_or_default();
    Ok(Open {
        source: text.clone(),
        weights,
        digest: digest.clone(),
        context_length: at_least("openWeights.engine.contextLength", engine.context_length, 16)?,
        max_sequences: at_least("openWeights.engine.maxSequences", engine.max_sequences, 1)?,
        hardware: resources.as_ref().map_or(Ok(Hardware::Unnamed), |asked| hardware(asked, found, place))?,
    })
}

fn at_least(field: &str, value: Option<i32>, least: u32) -> Result<Option<u32>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let checked = u32::try_from(value).ok().filter(|value| *value >= least);
    checked.map(Some).ok_or_else(|| Refusal::invalid(format!("{field} is {value}: set {least} or more")))
}

fn hardware(asked: &Resources, found: &ModelReferences, place: Place) -> Result<Hardware, Refusal> {
    let Resources { profile, gpus } = asked;
    let (name, profile) = match (profile, &found.profile) {
        (None, _) if gpus.is_none() => return Ok(Hardware::Unnamed),
        (None, _) => {
            return Err(Refusal::invalid(
                "openWeights.resources.gpus needs a profile that says which GPU: set openWeights.resources.profile",
            ));
        }
        (Some(name), Named::Found(profile)) => (name, profile),
        (Some(name), Named::Missing | Named::Unnamed) => {
            return Err(Refusal::new(
                Reason::ResourceProfileNotFound,
                format!(
                    "openWeights.resources.profile names ResourceProfile {name:?}, which does not exist: \
                     create it, or name one that `kubectl get rprof` lists"
                ),
            ));
        }
    };
    usable(profile)?;
    let spec = &profile.spec;
    let gpu = match (&spec.gpu, gpus) {
        (None, Some(_)) => {
            return Err(Refusal::invalid(format!(
                "openWeights.resources.gpus is set, but ResourceProfile {name:?} has no gpu: \
                 remove gpus, or name a profile with one"
            )));
        }
        (None, None) => None,
        (Some(gpu), count) => Some(Gpu { count: count.unwrap_or(gpu.count), ..gpu.clone() }),
    };
    if let (Some(gpu), Place::Machine) = (&gpu, place) {
        return Err(Refusal::invalid(format!(
            "openWeights.resources.profile {name:?} asks for {}, but `weighbridge up` computes on the CPU: \
             name a profile without gpu",
            gpu.resource
        )));
    }
    if let Some(Gpu { count, .. }) = gpu
        && count < 1
    {
        return Err(Refusal::invalid(format!("openWeights.resources.gpus is {count}: set 1 or more")));
    }
    Ok(Hardware::Profile {
        name: name.clone(),
        cpu: spec.cpu.clone(),
        memory: spec.memory.clone(),
        gpu,
        gpus_overridden: gpus.is_some(),
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
    })
}

/// The apiserver takes any text as a quantity in a ResourceProfile, and refuses the pod later.
fn usable(profile: &ResourceProfile) -> Result<(), Refusal> {
    for (field, amount) in [("cpu", &profile.spec.cpu), ("memory", &profile.spec.memory)] {
        if quantity::nanos(amount).is_none_or(|size| size <= 0) {
            return Err(Refusal::invalid(format!(
                "ResourceProfile {:?}: {field} {:?} is not a quantity above zero: write 4, 500m or 16Gi",
                profile.name_any(),
                amount.0
            )));
        }
    }
    Ok(())
}

fn closed(external: &External, found: &ModelReferences) -> Result<Closed, Refusal> {
    let External { provider, model } = external;
    match &found.provider {
        Named::Found(_) => Ok(Closed { provider: provider.clone(), model: model.clone() }),
        Named::Missing | Named::Unnamed => Err(Refusal::new(
            Reason::ProviderNotFound,
            format!(
                "external.provider names ExternalProvider {provider:?}, which does not exist in this namespace: \
                 create it, or name one that `kubectl get xprov` lists"
            ),
        )),
    }
}
