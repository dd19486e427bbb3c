use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{
    ConfigMapKey, DEFAULT_DRAIN, External, Hold, KvCacheType, ModelDeployment, ModelDeploymentSpec,
    OpenWeights, OutOfService, ProviderKind, Quantization, Signature, Sleep, World,
};

use super::cache::{Fetched, Held, held};
use super::fitting::{Fitting, fitted};
use super::hardware::{Hardware, hardware};
use super::pod_template::{PodTemplate, pod_template};
use super::rollout::{Strategy, strategy};
use super::weights::{OpenAdapter, Weights, adapters, weights};
use super::{ModelReferences, Named, Place, Refusal};
use crate::owner::Owner;

/// A node that is drained waits no longer either.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

/// A ModelDeployment that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedModel {
    /// The ModelDeployment itself.
    pub owner: Owner,
    /// Engine pods wanted now: none out of service. A closed model has none in any case.
    pub replicas: i32,
    /// Why nothing is to answer, in either world.
    pub out_of_service: Option<OutOfService>,
    /// The arm that answers.
    pub served: Served,
    /// Requests that come while nothing answers yet; no pod knows of it.
    pub hold: Hold,
    /// How one revision follows another; no pod knows of it.
    pub strategy: Strategy,
    /// The part of the spec that makes the revision of engine pods, as JSON; none where no weights are named.
    pub made_from: Option<String>,
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
    /// The cache that they are read from, in place of being fetched by each pod.
    pub held: Option<Held>,
    /// Authorities that may vouch for the server of the weights, beside the public ones.
    pub authorities: Option<ConfigMapKey>,
    /// `sha256:…` of the file.
    pub digest: Option<String>,
    /// Who has to have signed them.
    pub signature: Option<Signature>,
    /// Longest prompt and answer together, in tokens.
    pub context_length: Option<u32>,
    /// Sequences computed at once.
    pub max_sequences: Option<u32>,
    /// What keys and values are kept as.
    pub kv_cache_type: KvCacheType,
    /// What matrices are quantised to while loading.
    pub quantize: Option<Quantization>,
    /// When it gives its GPU's memory back.
    pub sleep: Option<Sleep>,
    /// LoRA adapters beside the model; names are unique.
    pub adapters: Vec<OpenAdapter>,
    /// What each replica runs on.
    pub hardware: Hardware,
    /// The profile that the hardware is of, as it was seen.
    pub profile: Option<ProfileSeen>,
    /// How long open streams have to finish once a pod is to go.
    pub drain_timeout: Duration,
    /// What is added to each pod.
    pub pod_template: Option<PodTemplate>,
    /// How its memory was held against its hardware's.
    pub fitting: Fitting,
}

/// One state of a ResourceProfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSeen {
    /// Its name.
    pub name: String,
    /// Its UID; none where no server has stored it.
    pub uid: Option<String>,
    /// Its generation: each change of its spec is another.
    pub generation: Option<i64>,
}

impl ProfileSeen {
    /// The state that `meta` is of.
    pub fn of(meta: &ObjectMeta) -> Self {
        ProfileSeen {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
            generation: meta.generation,
        }
    }
}

/// A model at a closed API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Name of the ExternalProvider.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// Engine pods that `spec.replicas` holds for `openWeights`, which is beside it and does not answer now.
    pub kept_replicas: Option<i32>,
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
    // The CRD says the same; an older one does not.
    if spec.replicas > 1 && spec.open_weights.is_none() {
        return Err(Refusal::invalid(format!(
            "replicas is {}, but it counts engine pods, and a model with external alone has none: \
             set replicas: 1, or 0 to take it out of service",
            spec.replicas
        )));
    }
    let drain_timeout = drain_timeout(spec)?;
    let strategy = strategy(spec)?;
    let open = spec.open_weights.as_ref();
    let open = open.map(|weights| open_weights(weights, drain_timeout, found, place)).transpose()?;
    let closed = spec.external.as_ref().map(|external| closed(external, found)).transpose()?;
    let kept_replicas = Some(spec.replicas).filter(|replicas| *replicas > 1);
    let served = match (spec.world(), open, closed) {
        // An arm that does not answer needs no hardware yet.
        (Some(World::OpenWeights), Some(open), _) => Served::Open(Box::new(fitted(open, &found.header)?)),
        (Some(World::External), _, Some(closed)) => Served::Closed(Closed { kept_replicas, ..closed }),
        (Some(_) | None, _, _) => {
            return Err(Refusal::invalid(
                "no world answers: set openWeights or external, and with both set add serve: OpenWeights or serve: External",
            ));
        }
    };
    let out_of_service = spec.out_of_service();
    let replicas = if out_of_service.is_some() { 0 } else { spec.replicas };
    let made_from = spec.of_revision().map(|part| part.to_string());
    if place == Place::Cluster {
        made_from.as_deref().map_or(Ok(()), fits_an_annotation)?;
    }
    Ok(ValidatedModel {
        owner,
        replicas,
        out_of_service,
        served,
        hold: spec.hold.unwrap_or_default(),
        strategy,
        made_from,
    })
}

/// What a Deployment was made from is an annotation of it, and all of an object's hold 256 KiB together. The schema bounds every
/// field but `podTemplate`, which has none.
const LARGEST: usize = 128 << 10;

fn fits_an_annotation(made_from: &str) -> Result<(), Refusal> {
    if made_from.len() <= LARGEST {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "openWeights has {} KiB, and may have {}: put what is long in openWeights.podTemplate into a ConfigMap, and mount it",
        made_from.len().div_ceil(1 << 10),
        LARGEST >> 10
    )))
}

/// The CRD says the same; an older one does not.
fn drain_timeout(spec: &ModelDeploymentSpec) -> Result<Duration, Refusal> {
    let Some(asked) = spec.drain_timeout else { return Ok(DEFAULT_DRAIN) };
    if asked.get() > LONGEST_DRAIN {
        return Err(Refusal::invalid(format!("drainTimeout is {asked}: write 1h or less")));
    }
    if spec.open_weights.is_none() {
        return Err(Refusal::invalid(
            "drainTimeout is for engine pods, and a model with external alone has none: remove it",
        ));
    }
    Ok(asked.get())
}

pub(super) fn open_weights(
    given: &OpenWeights,
    drain_timeout: Duration,
    found: &ModelReferences,
    place: Place,
) -> Result<Open, Refusal> {
    let OpenWeights {
        source: text,
        revision: _,
        digest,
        signature,
        hub: _,
        storage: _,
        cache,
        ca_certificates,
        resources,
        engine,
        pod_template: added,
    } = given;
    let weights = weights(given, found, place)?;
    let engine = engine.clone().unwrap_or_default();
    let hardware = resources.as_ref().map_or(Ok(Hardware::Unnamed), |asked| hardware(asked, found, place))?;
    let added = added.as_ref().map(|added| pod_template(added, &hardware.selected())).transpose()?;
    let kv_cache_type = engine.kv_cache_type.unwrap_or_default();
    check_kv_cache_type(kv_cache_type, &hardware, place)?;
    if let Some(gpu) = hardware.gpu().filter(|gpu| gpu.count > 1)
        && !engine.adapters.is_empty()
    {
        return Err(Refusal::invalid(format!(
            "openWeights.engine.adapters are served on one GPU, and the resources name {}: remove them, or set \
             openWeights.resources.gpus to 1",
            gpu.count
        )));
    }
    let open = Open {
        source: text.clone(),
        weights,
        held: None,
        authorities: ca_certificates.clone(),
        digest: digest.clone(),
        signature: signature.clone(),
        context_length: at_least("openWeights.engine.contextLength", engine.context_length, 16)?,
        max_sequences: at_least("openWeights.engine.maxSequences", engine.max_sequences, 1)?,
        kv_cache_type,
        quantize: quantization(engine.quantize, text)?,
        sleep: sleep(engine.sleep, &hardware, place)?,
        adapters: adapters(&engine.adapters, place)?,
        hardware,
        profile: match &found.profile {
            Named::Found(profile) => Some(ProfileSeen::of(&profile.metadata)),
            Named::Unnamed | Named::Missing | Named::NotInFile => None,
        },
        drain_timeout,
        pod_template: added,
        fitting: Fitting::Unasked,
    };
    let held = match (place, cache) {
        (Place::Cluster, Some(cache)) => Some(held(cache, &Fetched::of(&open), found)?),
        // A machine has one folder of what was fetched, which every model shares.
        (Place::Machine, _) | (Place::Cluster, None) => None,
    };
    Ok(Open { held, ..open })
}

/// What keys and values are kept as must be what the hardware can; a machine's is known to its engine alone.
fn check_kv_cache_type(asked: KvCacheType, hardware: &Hardware, place: Place) -> Result<(), Refusal> {
    let (words, fix) = match (asked, hardware.gpu(), place) {
        (KvCacheType::Fp8, None, Place::Cluster) => {
            ("a GPU's, and the resources name none", "q8_0 or f16, or set resources.profile to one with gpu")
        }
        (KvCacheType::Q8_0 | KvCacheType::F32, Some(_), _) => {
            ("a CPU's, and the resources name a GPU", "fp8 or f16")
        }
        (KvCacheType::Auto | KvCacheType::F16, _, _)
        | (KvCacheType::Q8_0 | KvCacheType::F32, None, _)
        | (KvCacheType::Fp8, Some(_), _)
        | (KvCacheType::Fp8, None, Place::Machine) => return Ok(()),
    };
    Err(Refusal::invalid(format!("openWeights.engine.kvCacheType: {asked} is {words}: use {fix}")))
}

/// Only what is a GPU's is given back; a machine's hardware is known to its engine alone.
fn sleep(asked: Option<Sleep>, hardware: &Hardware, place: Place) -> Result<Option<Sleep>, Refusal> {
    match (asked, hardware.gpu(), place) {
        (Some(Sleep { after_seconds, weights: _ }), _, _) if after_seconds < 1 => Err(Refusal::invalid(
            format!("openWeights.engine.sleep.afterSeconds is {after_seconds}: it must be at least 1"),
        )),
        (Some(_), None, Place::Cluster) => Err(Refusal::invalid(
            "openWeights.engine.sleep gives a GPU's memory back, and the resources name none: remove it, or set \
             resources.profile to one with gpu",
        )),
        (Some(_), Some(gpu), _) if gpu.count > 1 => Err(Refusal::invalid(format!(
            "openWeights.engine.sleep is of models on one GPU, and the resources name {}: remove it, or set \
             resources.gpus to 1",
            gpu.count
        ))),
        (asked, _, _) => Ok(asked),
    }
}

/// A GGUF file's matrices are quantised already, or were kept as they are on purpose.
fn quantization(asked: Option<Quantization>, source: &str) -> Result<Option<Quantization>, Refusal> {
    match asked {
        Some(kind) if source.ends_with(".gguf") => Err(Refusal::invalid(format!(
            "openWeights.engine.quantize is {kind}, and openWeights.source is a GGUF file, which is served as it is stored: \
             remove quantize, or name a folder of safetensors"
        ))),
        Some(_) | None => Ok(asked),
    }
}

fn at_least(field: &str, value: Option<i32>, least: u32) -> Result<Option<u32>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let checked = u32::try_from(value).ok().filter(|value| *value >= least);
    checked.map(Some).ok_or_else(|| Refusal::invalid(format!("{field} is {value}: set {least} or more")))
}

fn closed(external: &External, found: &ModelReferences) -> Result<Closed, Refusal> {
    let External { provider, model } = external;
    let missing = |words: &str| {
        let message = format!("external.provider names ExternalProvider {provider:?}, which {words}");
        Err(Refusal::new(Reason::ProviderNotFound, message))
    };
    match &found.provider {
        Named::Found(found) if found.spec.kind == ProviderKind::Vertex && !is_vertex_model(model) => {
            Err(Refusal::invalid(format!(
                "external.model is {model:?}: write the name of a model of Vertex AI alone, without its publisher, such as \
                 gemini-2.5-pro or claude-sonnet-4-5@20250929"
            )))
        }
        Named::Found(_) => {
            Ok(Closed { provider: provider.clone(), model: model.clone(), kept_replicas: None })
        }
        Named::Missing | Named::Unnamed => {
            missing("does not exist in this namespace: create it, or name one that `kubectl get xprov` lists")
        }
        Named::NotInFile => missing("is not in the file, in this model's namespace: add it to the file"),
    }
}

/// Vertex AI's publisher follows from the name, which is one piece of a path.
fn is_vertex_model(model: &str) -> bool {
    model.chars().all(|c| c.is_ascii_alphanumeric() || "-._@".contains(c)) && !model.starts_with('.')
}
