//! What of a file this machine serves, decided before anything starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use url::Url;
use weighbridge_crds::adapter::ADAPTER_SEPARATOR;
use weighbridge_crds::manifest::Manifest;
use weighbridge_crds::{
    EVERY_MODEL, Hold, KvCacheType, ModelAccess, OutOfService, Quantization, SecretKey, Sleep,
};
use weighbridge_gateway::directory::{self, data_policy, kind};
use weighbridge_inference_server::artifact::{ArtifactRequest, Proxies, PublicKey, Signature};
use weighbridge_inference_server::server::{AdapterConfig, ModelFile};
use weighbridge_operator::plan::validate_local;
use weighbridge_operator::validate::{
    Hardware, Open, ProviderPlace, Served, ValidatedModel, ValidatedProvider, Weights,
};
use weighbridge_wire::provider::{DataPolicy, Kind, Place, PlaceError};

use super::{UpError, reach};
use crate::args::UpArgs;
use crate::manifest_file;
use crate::secret::{KeyPath, Secrets};

/// `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Where it is.
    pub namespace: String,
    /// The name there.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One engine in this process.
#[derive(Debug)]
pub struct Engine {
    /// The model.
    pub name: Name,
    /// `openWeights.source` as written.
    pub source: String,
    /// What to look for or fetch.
    pub request: ArtifactRequest,
    /// `openWeights.engine.adapters`.
    pub adapters: Vec<AdapterConfig>,
    /// `openWeights.engine.contextLength`.
    pub context_length: Option<usize>,
    /// `openWeights.engine.maxSequences`.
    pub max_sequences: Option<usize>,
    /// `openWeights.engine.kvCacheType`.
    pub kv_cache_type: KvCacheType,
    /// `openWeights.engine.quantize`.
    pub quantize: Option<Quantization>,
    /// `openWeights.engine.sleep`.
    pub sleep: Option<Sleep>,
    /// Threads that compute; all cores when absent.
    pub threads: Option<NonZeroUsize>,
    /// `hold`: requests that come while it loads.
    pub hold: Hold,
}

/// A model that a provider answers.
#[derive(Debug)]
pub struct External {
    /// The model.
    pub name: Name,
    /// Who answers.
    pub provider: Name,
    /// The provider's name for it.
    pub model: String,
}

/// A model with `replicas: 0` or `suspend: true`.
#[derive(Debug)]
pub struct Asleep {
    /// The model.
    pub name: Name,
    /// What keeps it so.
    pub why: OutOfService,
    /// Who would answer, where a closed API would.
    pub provider: Option<String>,
}

/// One provider's proxy in this process.
#[derive(Debug)]
pub struct Proxy {
    /// The provider.
    pub name: Name,
    /// Whose API it is.
    pub kind: Kind,
    /// Where its API is; `None` for the kind's own address.
    pub base_url: Option<Url>,
    /// Where in its cloud its models are.
    pub place: Option<Place>,
    /// Whether it may be on a private address.
    pub allow_private: bool,
    /// Its keys, each with its weight.
    pub keys: Vec<(KeyPath, NonZeroU16)>,
    /// Where each of the keys is in the file.
    pub secrets: Vec<SecretKey>,
    /// `dataPolicy.region`.
    pub region: Option<String>,
    /// What is demanded of requests and answers.
    pub data_policy: Option<Arc<DataPolicy>>,
}

/// Everything that is served, and what a person should know of it.
#[derive(Debug, Default)]
pub struct Local {
    /// Models with open weights.
    pub engines: Vec<Engine>,
    /// Models with `replicas: 0` or `suspend: true`, of both worlds.
    pub asleep: Vec<Asleep>,
    /// Models that providers answer.
    pub externals: Vec<External>,
    /// Providers that a served model names.
    pub proxies: Vec<Proxy>,
    /// Who may call; every caller of this machine where there is none.
    pub accesses: Vec<ModelAccess>,
    /// What a person should know before anything starts.
    pub notices: Vec<String>,
}

/// What is known while a file is read.
pub(super) struct Reading<'a> {
    claims: BTreeMap<String, PathBuf>,
    pub(super) secrets: Secrets,
    /// Each ConfigMap of the file with the namespace that it is in.
    pub(super) config_maps: Vec<(String, ConfigMap)>,
    pub(super) proxies: Proxies,
    cache_folder: PathBuf,
    args: &'a UpArgs,
}

impl Local {
    /// # Errors
    /// The first thing in the file or the flags that can't be served here.
    pub fn read(args: &UpArgs) -> Result<Self, UpError> {
        let manifests = manifest_file::read(&args.file).map_err(|error| UpError::File(Box::new(error)))?;
        let (models, providers) =
            validate_local(&manifests).map_err(|error| UpError::Refused(Box::new(error)))?;
        if models.is_empty() {
            return Err(UpError::Nothing);
        }
        let reading = Reading {
            claims: args.claim.iter().cloned().collect(),
            secrets: Secrets::new(&manifests, &args.secret, &args.default_namespace)
                .map_err(|error| UpError::SecretFlag(Box::new(error)))?,
            config_maps: config_maps(&manifests),
            proxies: Proxies::from_environment().map_err(UpError::ProxySetting)?,
            cache_folder: cache_folder(args)?,
            args,
        };
        let mut local = Self::default();
        for model in &models {
            local.add_model(model, &reading)?;
        }
        for provider in &providers {
            local.add_proxy(provider, &reading)?;
        }
        local.accesses = accesses(&manifests);
        local.note_accesses(&models);
        local.note_the_rest(&manifests, &reading);
        Ok(local)
    }

    fn add_model(&mut self, model: &ValidatedModel, reading: &Reading<'_>) -> Result<(), UpError> {
        let name = name(&model.owner);
        if let Some(why) = model.out_of_service {
            let provider = match &model.served {
                Served::Closed(closed) => Some(closed.provider.clone()),
                Served::Open(_) => None,
            };
            self.asleep.push(Asleep { name, why, provider });
            return Ok(());
        }
        match &model.served {
            Served::Closed(closed) => {
                if let Some(kept) = closed.kept_replicas {
                    self.notices.push(format!(
                        "{name}: replicas {kept} is kept for openWeights; external is served, which has no pods"
                    ));
                }
                let provider = Name { namespace: name.namespace.clone(), name: closed.provider.clone() };
                self.externals.push(External { name, provider, model: closed.model.clone() });
            }
            Served::Open(open) => {
                if model.replicas > 1 {
                    self.notices.push(format!(
                        "{name}: replicas is {}, and one process has one engine: serving 1",
                        model.replicas
                    ));
                }
                let engine = self.engine(name, open, model.hold, reading)?;
                self.engines.push(engine);
            }
        }
        Ok(())
    }

    fn engine(
        &mut self,
        name: Name,
        open: &Open,
        hold: Hold,
        reading: &Reading<'_>,
    ) -> Result<Engine, UpError> {
        let refused = |problem: String| UpError::Model { name: name.clone(), problem };
        let threads = self.threads(&name, &open.hardware)?;
        let source = open.source.parse().map_err(|error| refused(format!("openWeights.{error}")))?;
        let mut request = ArtifactRequest::new(source, reading.cache_folder.clone());
        let digest = open.digest.as_deref().map(str::parse).transpose();
        request.digest = digest.map_err(|error| refused(format!("openWeights.digest: {error}")))?;
        let key =
            open.signature.as_ref().map(|signature| PublicKey::from_pem(&signature.public_key)).transpose();
        let key = key.map_err(|error| refused(format!("openWeights.{error}")))?;
        let bundle = open.signature.as_ref().map(|signature| signature.bundle.clone());
        request.signature = bundle.zip(key).map(|(bundle, key)| Signature { bundle, key });
        request.claims.clone_from(&reading.claims);
        match &open.weights {
            Weights::Claim { claim, .. } if !reading.claims.contains_key(claim) => {
                return Err(refused(format!(
                    "openWeights.source names the claim {claim:?}; on this machine a folder stands in for it: add \
                     --claim {claim}=FOLDER"
                )));
            }
            // Validation refused an image: this machine mounts none.
            Weights::Image(_) | Weights::Claim { .. } | Weights::File { .. } => {}
            Weights::Stored(stored) => {
                request.storage = reach::storage(&name, &request.source, stored, reading)?
            }
            Weights::Hub(hub) => {
                request.revision.clone_from(&hub.revision);
                request.hub = reach::access(&name, hub, reading)?;
                if hub.endpoint.is_some() && hub.token.is_none() && std::env::var_os("HF_TOKEN").is_some() {
                    self.notices.push(format!(
                        "{name}: HF_TOKEN goes to the public hub only, not to openWeights.hub.endpoint; name a \
                         token for it in openWeights.hub.tokenSecret"
                    ));
                }
            }
        }
        request.network = reach::network(&name, open, reading)?;
        let adapters = reach::adapters(&name, open, &request)?;
        Ok(Engine {
            source: open.source.clone(),
            request,
            adapters,
            context_length: open.context_length.map(|tokens| tokens as usize),
            max_sequences: open.max_sequences.map(|count| count as usize),
            kv_cache_type: open.kv_cache_type,
            quantize: open.quantize,
            sleep: open.sleep,
            threads,
            hold,
            name,
        })
    }

    /// What a profile asks of this machine: node labels can't be had, CPUs are threads, the rest is a cluster's.
    fn threads(&mut self, name: &Name, hardware: &Hardware) -> Result<Option<NonZeroUsize>, UpError> {
        // Validation refused a GPU.
        let Hardware::Profile { name: profile, node_selector, tolerations, .. } = hardware else {
            return Ok(None);
        };
        let refused = |problem: String| Err(UpError::Model { name: name.clone(), problem });
        let field = format!("openWeights.resources.profile {profile:?}");
        if let Some((label, value)) = node_selector.iter().next() {
            return refused(format!(
                "{field} asks for a node with the label {label}={value}, and this machine is no node: remove \
                 resources, or name a profile without nodeSelector"
            ));
        }
        let there = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = hardware.threads();
        if let Some(asked) = threads.filter(|asked| asked.get() > there) {
            return refused(format!(
                "{field} asks for {asked} CPUs, and this machine has {there}: name a smaller profile"
            ));
        }
        let sets = threads
            .map_or("no thread count (its cpu is not whole)".to_owned(), |count| format!("{count} threads"));
        let rest = if tolerations.is_empty() {
            "its memory is a bound of clusters and not enforced here"
        } else {
            "its memory and its tolerations are for clusters and do nothing here"
        };
        self.notices.push(format!("{name}: profile {profile:?} sets {sets}; {rest}"));
        Ok(threads)
    }

    /// Only the providers that a served model names get a proxy, and with it their keys.
    fn add_proxy(&mut self, provider: &ValidatedProvider, reading: &Reading<'_>) -> Result<(), UpError> {
        let name = name(&provider.owner);
        if !self.externals.iter().any(|external| external.provider == name) {
            self.notices
                .push(format!("ExternalProvider {name}: no served model names it, so it gets no proxy"));
            return Ok(());
        }
        let keys = provider.keys.iter().enumerate().map(|(index, key)| {
            let path = reading.secrets.path(&name.namespace, &key.secret, &format!("apiKeys[{index}]"));
            path.map(|path| (path, key.weight))
        });
        let keys = keys.collect::<Result<_, _>>().map_err(|source| UpError::Secret {
            kind: "ExternalProvider",
            name: name.clone(),
            source: Box::new(source),
        })?;
        let base_url = provider.base_url.as_ref().map(|url| Url::parse(url.as_str())).transpose();
        let base_url = base_url
            .map_err(|error| UpError::Model { name: name.clone(), problem: format!("baseURL: {error}") })?;
        let place = provider.place.as_ref().map(place).transpose();
        let place = place
            .map_err(|error| UpError::Model { name: name.clone(), problem: error.to_string() })?
            .flatten();
        let own_host = place.as_ref().filter(|_| base_url.is_none());
        let policy = provider.data_policy.as_ref();
        let data_policy = data_policy(provider.kind, policy, own_host);
        self.proxies.push(Proxy {
            name,
            kind: kind(provider.kind),
            base_url,
            place,
            allow_private: provider.allow_private,
            keys,
            secrets: provider.keys.iter().map(|key| key.secret.clone()).collect(),
            region: policy.and_then(|policy| policy.region.clone()),
            data_policy,
        });
        Ok(())
    }

    /// A model that a ModelAccess names and that nobody serves is most often a slip.
    fn note_accesses(&mut self, models: &[ValidatedModel]) {
        let names: BTreeSet<Name> = models.iter().map(|model| name(&model.owner)).collect();
        for access in &self.accesses {
            let at = Name { namespace: access.namespace().unwrap_or_default(), name: access.name_any() };
            for model in access.spec.models.iter().filter(|model| *model != EVERY_MODEL) {
                let base = model.split(ADAPTER_SEPARATOR).next().unwrap_or(model).to_owned();
                if !names.contains(&Name { namespace: at.namespace.clone(), name: base }) {
                    self.notices
                        .push(format!("ModelAccess {at}: the file has no model {model:?} in its namespace"));
                }
            }
        }
    }

    /// What is in the file or the flags and changes nothing here is said, not passed over.
    fn note_the_rest(&mut self, manifests: &[Manifest], reading: &Reading<'_>) {
        for manifest in manifests {
            if let Manifest::Other { kind, name } = manifest {
                self.notices.push(format!("{kind} {name:?} belongs to a cluster and is skipped"));
            }
            if let Manifest::ModelCache(cache) = manifest {
                self.notices.push(format!(
                    "ModelCache {:?} is a claim of a cluster; here one folder keeps what is fetched, for every model",
                    cache.name_any()
                ));
            }
            let Manifest::ModelDeployment(model) = manifest else { continue };
            if let Some(cache) = model.spec.open_weights.as_ref().and_then(|weights| weights.cache.as_ref()) {
                self.notices.push(format!(
                    "{}: openWeights.cache names ModelCache {cache:?}; here one folder keeps what is fetched, for every model",
                    model.name_any()
                ));
            }
            if model.spec.drain_timeout.is_some() {
                self.notices.push(format!(
                    "{}: drainTimeout is a pod's; here --drain-timeout says how long open streams get",
                    model.name_any()
                ));
            }
            if model.spec.open_weights.as_ref().is_some_and(|weights| weights.pod_template.is_some()) {
                self.notices.push(format!(
                    "{}: openWeights.podTemplate is of pods, and here are none",
                    model.name_any()
                ));
            }
            if model.spec.rollout.is_some() {
                self.notices.push(format!(
                    "{}: rollout is of pods; here another revision comes by starting anew",
                    model.name_any()
                ));
            }
        }
        let adapters = self.engines.iter().flat_map(|engine| &engine.adapters).filter_map(|adapter| {
            match &adapter.file {
                ModelFile::Source(request) => Some(request.source.to_string()),
                ModelFile::Path(_) | ModelFile::Held(_) => None,
            }
        });
        let models = self.engines.iter().map(|engine| engine.source.as_str().to_owned());
        let sources: BTreeSet<String> = models.chain(adapters).collect();
        for claim in reading.claims.keys() {
            if !sources.iter().any(|source| source.starts_with(&format!("pvc://{claim}/"))) {
                self.notices.push(format!("--claim {claim}: no served model uses it"));
            }
        }
        if reading.args.drain_timeout == 0 {
            self.notices.push("--drain-timeout 0: Ctrl-C cuts open streams".to_owned());
        }
    }
}

/// As the proxy has it.
fn place(place: &ProviderPlace) -> Result<Option<Place>, PlaceError> {
    match place {
        ProviderPlace::Vertex(place) => directory::place(Some(place), None),
        ProviderPlace::Bedrock(place) => directory::place(None, Some(place)),
    }
}

/// Every ModelAccess of the file, in the namespace where a cluster would put it.
fn accesses(manifests: &[Manifest]) -> Vec<ModelAccess> {
    let access = |manifest: &Manifest| match manifest {
        Manifest::ModelAccess(access) => {
            let mut access = (**access).clone();
            access.metadata.namespace.get_or_insert_with(|| "default".to_owned());
            Some(access)
        }
        Manifest::ModelDeployment(_)
        | Manifest::ExternalProvider(_)
        | Manifest::ResourceProfile(_)
        | Manifest::ModelCache(_)
        | Manifest::Secret(_)
        | Manifest::ConfigMap(_)
        | Manifest::Other { .. } => None,
    };
    manifests.iter().filter_map(access).collect()
}

fn config_maps(manifests: &[Manifest]) -> Vec<(String, ConfigMap)> {
    let map = |manifest: &Manifest| {
        let Manifest::ConfigMap(map) = manifest else { return None };
        Some((map.namespace().unwrap_or_else(|| "default".to_owned()), (**map).clone()))
    };
    manifests.iter().filter_map(map).collect()
}

fn name(owner: &weighbridge_operator::Owner) -> Name {
    Name { namespace: owner.namespace().to_owned(), name: owner.name().to_owned() }
}

fn cache_folder(args: &UpArgs) -> Result<PathBuf, UpError> {
    let home = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache/weighbridge"));
    let folder = args.cache_folder.clone().or_else(home).ok_or(UpError::NoCacheFolder)?;
    Ok(folder.join("artifacts"))
}

#[cfg(test)]
mod tests {
    use weighbridge_crds::ProviderKind;
    use weighbridge_wire::canonical::Dialect;
    use weighbridge_wire::lane::Operation;

    use super::*;

    /// The operator hands the word to the proxy, and what the CRD takes without baseURL, the proxy must know.
    #[test]
    fn crds_and_proxy_mean_the_same_by_a_kind() {
        for of_crd in ProviderKind::ALL {
            let of_proxy = kind(of_crd);
            assert_eq!(of_crd.as_str(), of_proxy.as_str());
            let address = of_proxy.profile().default_base_url.is_some() || of_proxy.has_place();
            assert_eq!(of_crd.has_address(), address, "{of_proxy}");
            // Where a region is refused, nothing would hold the provider to it, and the other way round.
            let asked = || {
                of_proxy.profile().dialects.iter().map(|dialect| match dialect {
                    Dialect::OpenAiChat | Dialect::OpenAiCompletions => Operation::ChatCompletions,
                    Dialect::OpenAiResponses => Operation::Responses,
                    Dialect::Anthropic => Operation::Messages,
                    Dialect::Gemini => Operation::GenerateContent,
                    Dialect::Converse => Operation::Converse,
                })
            };
            let region = DataPolicy::new(of_proxy, Some("us"), false, true);
            assert!(asked().all(|asked| region.fields(asked).is_ok() == of_crd.takes_region()), "{of_proxy}");
            let retention = DataPolicy::new(of_proxy, None, true, true);
            assert!(
                asked().all(|asked| retention.fields(asked).is_ok() == of_crd.takes_retention()),
                "{of_proxy}"
            );
            let url = of_crd.regional_base_url("us");
            let host = url.and_then(|url| Some(Url::parse(&url).ok()?.host_str()?.to_owned()));
            assert_eq!(region.host(), host.as_deref(), "{of_proxy}");
        }
    }
}
