use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sha2::{Digest, Sha256};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{
    AccessMode, CacheClaim, CacheEntry, CachedSource, DEFAULT_DRAIN, Engine, EntryState, ModelCache,
    ModelDeploymentSpec, OpenWeights, World, labels,
};

use super::model::open_weights;
use super::{
    AdapterPlace, Asker, CacheAsked, CacheReferences, Header, HubFile, KeyLookup, ModelReferences, Named,
    Open, OpenAdapter, Place, Refusal, Right, Weights,
};
use crate::owner::Owner;
use crate::quantity;

/// What is fetched: what names it, and the right to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Located(Box<Open>);

impl Located {
    /// As a model of nothing else would have it.
    pub fn open(&self) -> &Open {
        &self.0
    }

    /// Ten hexadecimal characters that stand for source, revision, server and pinned digest: equal ones are fetched once. The
    /// right to it is no part of them.
    pub fn entry(&self) -> String {
        let Open { source, weights, digest, .. } = &*self.0;
        let (revision, endpoint) = weights.revision_and_endpoint();
        let told = [source.as_str(), revision.unwrap_or_default(), endpoint.unwrap_or_default()];
        // A source or revision holds no line end.
        let told = format!("{}\n{}", told.join("\n"), digest.as_deref().unwrap_or_default());
        Sha256::digest(told.as_bytes()).iter().take(5).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// What a model has in a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Its weights.
    pub model: Located,
    /// Its adapters of a hub, by name.
    pub adapters: BTreeMap<String, Located>,
}

impl Fetched {
    pub(super) fn of(open: &Open) -> Self {
        let alone = Open { adapters: Vec::new(), held: None, ..open.clone() };
        let (endpoint, token) = match &open.weights {
            Weights::Hub(HubFile { endpoint, token, source: _, revision: _ }) => {
                (endpoint.clone(), token.clone())
            }
            Weights::Stored(_) | Weights::Image(_) | Weights::Claim { .. } | Weights::File { .. } => {
                (None, None)
            }
        };
        let of_hub = |adapter: &OpenAdapter| {
            let OpenAdapter { name, source, place, digest } = adapter;
            let AdapterPlace::Hub(revision) = place else { return None };
            let (source, revision) = (source.clone(), revision.clone());
            let (endpoint, token) = (endpoint.clone(), token.clone());
            let weights = Weights::Hub(HubFile { source: source.clone(), revision, endpoint, token });
            let open = Open { source, weights, digest: digest.clone(), signature: None, ..alone.clone() };
            Some((name.clone(), Located(Box::new(open))))
        };
        Fetched {
            adapters: open.adapters.iter().filter_map(of_hub).collect(),
            model: Located(Box::new(alone.clone())),
        }
    }

    /// Of `weights`, whatever it is to be served with.
    ///
    /// # Errors
    /// What they name can't be fetched as it is.
    pub fn asked(weights: &OpenWeights, right: &Right) -> Result<Fetched, Refusal> {
        let adapters = weights.engine.as_ref().map(|engine| engine.adapters.clone()).unwrap_or_default();
        let engine = Some(Engine { adapters, ..Engine::default() });
        let (cache, resources, pod_template) = (None, None, None);
        let bare = OpenWeights { cache, resources, pod_template, engine, ..weights.clone() };
        let credentials = match right {
            Right::Assumed => weights.needed_credentials().iter().map(|_| KeyLookup::Assumed).collect(),
            Right::Looked { token: _, credentials } => credentials.clone(),
        };
        let token = match right {
            Right::Assumed => KeyLookup::Assumed,
            Right::Looked { token, credentials: _ } => *token,
        };
        let found = ModelReferences {
            profile: Named::Unnamed,
            token,
            cache: Named::Unnamed,
            credentials,
            provider: Named::Unnamed,
            header: Header::Inspected(Vec::new()),
        };
        let open = open_weights(&bare, DEFAULT_DRAIN, &found, Place::Cluster)?;
        not_there_already(&open)?;
        Ok(Fetched::of(&open))
    }

    /// Everything of it.
    pub fn all(&self) -> impl Iterator<Item = &Located> {
        std::iter::once(&self.model).chain(self.adapters.values())
    }
}

/// An entry of a cache as a model needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub there: Availability,
}

/// Whether an entry is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Nobody looked: there is no cluster to look in.
    Assumed,
    /// It is.
    Held {
        /// Digest of its bytes; several files have none.
        digest: Option<String>,
        /// How many there are.
        bytes: u64,
    },
    /// It is not, for this reason.
    Missing(Refusal),
}

/// The cache that a model's weights are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Name of the ModelCache.
    pub cache: String,
    /// Name of its claim.
    pub claim: String,
    /// The model's entry.
    pub model: HeldEntry,
    /// Entries of adapters, by the adapter's name.
    pub adapters: BTreeMap<String, HeldEntry>,
}

impl Held {
    /// Every entry.
    pub fn entries(&self) -> impl Iterator<Item = &HeldEntry> {
        std::iter::once(&self.model).chain(self.adapters.values())
    }

    /// Why not all of it is there.
    pub fn missing(&self) -> Option<&Refusal> {
        self.entries().find_map(|entry| match &entry.there {
            Availability::Missing(why) => Some(why),
            Availability::Assumed | Availability::Held { .. } => None,
        })
    }
}

/// What a model sees of a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSeen {
    /// Name of its claim.
    pub claim: String,
    /// What it has; `None` where there is no cluster to look in.
    pub entries: Option<Vec<CacheEntry>>,
}

impl CacheSeen {
    /// As `cache` says in its status.
    pub fn of(cache: &ModelCache) -> Self {
        let claim = claim_of(cache);
        let status = cache.status.as_ref();
        // What its status says of another claim is not so of this one.
        let of_it = status.filter(|status| status.claim.as_ref().is_some_and(|seen| seen.name == claim));
        CacheSeen { claim, entries: Some(of_it.map(|status| status.entries.clone()).unwrap_or_default()) }
    }

    /// As it will be, where there is no cluster.
    pub fn assumed(cache: &ModelCache) -> Self {
        CacheSeen { claim: claim_of(cache), entries: None }
    }
}

/// Name of the claim of `cache`, made or to be made.
fn claim_of(cache: &ModelCache) -> String {
    let named = cache.spec.claim.name.clone();
    named.unwrap_or_else(|| labels::cache_claim(cache.metadata.name.as_deref().unwrap_or_default()))
}

/// A cache holds what is fetched. The CRD says the same; an older one does not.
fn not_there_already(open: &Open) -> Result<(), Refusal> {
    let refused = |words: &str| Err(Refusal::invalid(format!("{words}: remove openWeights.cache")));
    match &open.weights {
        Weights::Hub(_) | Weights::Stored(_) if open.signature.is_some() => {
            refused("openWeights.signature is verified by whoever fetches, and with a cache no engine does")
        }
        Weights::Hub(_) | Weights::Stored(_) => Ok(()),
        Weights::Image(_) => refused(
            "openWeights.storage.imageVolume: each node keeps the image itself, and nothing is fetched",
        ),
        Weights::Claim { .. } | Weights::File { .. } => refused(
            "openWeights.source is on a claim or a machine already, and a cache holds what is fetched",
        ),
    }
}

/// What a model has in the cache that it names.
pub(super) fn held(name: &str, fetched: &Fetched, found: &ModelReferences) -> Result<Held, Refusal> {
    not_there_already(fetched.model.open())?;
    let missing = |words: &str| {
        let message = format!("openWeights.cache names ModelCache {name:?}, which {words}");
        Err(Refusal::new(Reason::ModelCacheNotFound, message))
    };
    let seen = match &found.cache {
        Named::Found(seen) => seen,
        Named::Missing | Named::Unnamed => {
            return missing(
                "does not exist in this namespace: create it, or name one that `kubectl get mcache` lists",
            );
        }
        Named::NotInFile => {
            return missing("is not in the file, in this model's namespace: add it to the file");
        }
    };
    let entry = |located: &Located| {
        let entry = located.entry();
        let there = there(name, &entry, &located.open().source, seen.entries.as_deref());
        HeldEntry { name: entry, there }
    };
    let adapters = fetched.adapters.iter().map(|(name, located)| (name.clone(), entry(located))).collect();
    Ok(Held { cache: name.to_owned(), claim: seen.claim.clone(), model: entry(&fetched.model), adapters })
}

fn there(cache: &str, name: &str, source: &str, entries: Option<&[CacheEntry]>) -> Availability {
    let Some(entries) = entries else { return Availability::Assumed };
    let waits = |words: &str| {
        Availability::Missing(Refusal::new(Reason::Progressing, format!("ModelCache {cache} {words}")))
    };
    let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
        return waits(&format!("has not looked at {source} yet"));
    };
    let CacheEntry { state, digest, bytes, total_bytes, bytes_per_second, reason, message, .. } = entry;
    let why = |words: &str| match message {
        Some(message) => format!("{words}: {message}"),
        None => words.to_owned(),
    };
    match state {
        EntryState::Held => {
            Availability::Held { digest: digest.clone(), bytes: u64::try_from(*bytes).unwrap_or_default() }
        }
        EntryState::Waiting => waits(&why(&format!("fetches {source} when its turn comes"))),
        EntryState::Evicting => waits(&format!("makes room, and fetches {source} anew then")),
        EntryState::Fetching if reason.is_none() => {
            let of = total_bytes.map_or_else(String::new, |total| format!(" of {}", gigabytes(total)));
            let rate =
                bytes_per_second.map_or_else(String::new, |rate| format!(", {:.1} MB/s", rate as f64 / 1e6));
            waits(&format!("fetches {source}: {}{of}{rate}", gigabytes(*bytes)))
        }
        EntryState::Fetching | EntryState::Refused | EntryState::Failed => {
            let reason = reason.as_deref().and_then(Reason::named).unwrap_or(Reason::DownloadFailed);
            let words = match state {
                EntryState::Failed => "has not got it, and tries again",
                _ => "has not got it",
            };
            Availability::Missing(Refusal::new(
                reason,
                format!("ModelCache {cache} is to hold {source} and {}", why(words)),
            ))
        }
    }
}

/// Bytes for people.
pub fn gigabytes(bytes: i64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// A ModelCache that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCache {
    /// The ModelCache itself.
    pub owner: Owner,
    /// Where weights are kept.
    pub claim: ClaimAsked,
    /// Bytes above which what nobody needs goes.
    pub max_bytes: Option<u64>,
    /// What is to be held, each once, in the order of sources.
    pub wanted: Vec<Wanted>,
}

/// The claim of a cache.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimAsked {
    /// One that is there.
    Named(String),
    /// One to be made.
    Made {
        /// Its name.
        name: String,
        /// Its size.
        size: Quantity,
        /// Its class; the cluster's default when absent.
        storage_class: Option<String>,
        /// How it may be mounted.
        access_modes: Vec<AccessMode>,
    },
}

impl ClaimAsked {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            ClaimAsked::Named(name) | ClaimAsked::Made { name, .. } => name,
        }
    }
}

/// What somebody asks to be held.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Name of its entry.
    pub entry: String,
    /// Its source.
    pub source: String,
    /// Its revision, where one is named.
    pub revision: Option<String>,
    /// Where it is; why it can't be fetched, where nobody who asks for it has the right.
    pub located: Result<Located, Refusal>,
}

/// Checks a cache and everything that is asked of it. What can't be fetched of that is told with it, and stops nothing else.
///
/// # Errors
/// The field that can't be served, and what to write instead.
pub fn cache(cache: &ModelCache, found: &CacheReferences) -> Result<ValidatedCache, Refusal> {
    let owner = Owner::of(cache)?;
    let bytes = |field: &str, size: &Quantity| {
        quantity::bytes(size).ok_or_else(|| Refusal::invalid(format!("{field} is no quantity: write 180Gi")))
    };
    let CacheClaim { name, size, storage_class_name, access_modes } = &cache.spec.claim;
    let claim = match (name, size) {
        (Some(name), None) => ClaimAsked::Named(name.clone()),
        (None, Some(size)) => {
            bytes("claim.size", size)?;
            let everywhere = vec![AccessMode::ReadWriteMany];
            ClaimAsked::Made {
                name: labels::cache_claim(owner.name()),
                size: size.clone(),
                storage_class: storage_class_name.clone(),
                access_modes: if access_modes.is_empty() { everywhere } else { access_modes.clone() },
            }
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                "claim: set name, of a claim that is there, or size, of one to be made",
            ));
        }
    };
    let max_bytes = cache.spec.max_size.as_ref().map(|size| bytes("maxSize", size)).transpose()?;
    Ok(ValidatedCache { owner, claim, max_bytes, wanted: wanted(&found.asked) })
}

/// Each entry once. Of several who ask for the same, the first who may fetch it gives the right to.
fn wanted(asked: &[CacheAsked]) -> Vec<Wanted> {
    let mut found: BTreeMap<(String, String), Wanted> = BTreeMap::new();
    for CacheAsked { by, weights, right } in asked {
        // By what it would be with the right to it, so that it is told under its own name.
        let Ok(named) = Fetched::asked(weights, &Right::Assumed) else {
            if let Asker::Prefetch(index) = by
                && let Err(why) = Fetched::asked(weights, right)
            {
                let (entry, source) = (format!("prefetch{index}"), weights.source.clone());
                let located = Err(of_prefetch(why, *index));
                let wanted = Wanted { entry: entry.clone(), source, revision: None, located };
                found.insert((wanted.source.clone(), entry), wanted);
            }
            // Of a model, its own status tells.
            continue;
        };
        let may = Fetched::asked(weights, right).map(drop);
        for located in named.all() {
            let entry = located.entry();
            let revision = located.open().weights.revision_and_endpoint().0.map(str::to_owned);
            let with_right = match &may {
                Ok(()) => Ok(located.clone()),
                Err(why) => Err(match by {
                    Asker::Prefetch(index) => of_prefetch(why.clone(), *index),
                    Asker::Model(name) => {
                        Refusal::new(why.reason, format!("of ModelDeployment {name}: {}", why.message))
                    }
                }),
            };
            let key = (located.open().source.clone(), entry.clone());
            let before = found.get(&key).is_some_and(|wanted| wanted.located.is_ok());
            if !before {
                let source = located.open().source.clone();
                found.insert(key, Wanted { entry, source, revision, located: with_right });
            }
        }
    }
    found.into_values().collect()
}

/// What is said of `openWeights`, of an item of `prefetch`.
fn of_prefetch(why: Refusal, index: usize) -> Refusal {
    let item = format!("prefetch[{index}]");
    // What it can't hold is taken out of the list, which has no field for a cache.
    let message = why.message.replace("remove openWeights.cache", &format!("remove {item}"));
    Refusal::new(why.reason, message.replace("openWeights.", &format!("{item}.")))
}

/// What a model asks the cache called `cache` to hold: nothing while it is out of service, or a closed API answers.
pub fn asks<'a>(spec: &'a ModelDeploymentSpec, cache: &str) -> Option<&'a OpenWeights> {
    let weights = spec.open_weights.as_ref().filter(|weights| weights.cache.as_deref() == Some(cache))?;
    let serves = spec.world() == Some(World::OpenWeights) && spec.out_of_service().is_none();
    serves.then_some(weights)
}

/// An item of `prefetch` as a model would have it.
pub fn as_weights(item: &CachedSource) -> OpenWeights {
    let CachedSource { source, revision, digest, hub, storage, ca_certificates } = item.clone();
    OpenWeights {
        source,
        revision,
        digest,
        signature: None,
        hub,
        storage,
        ca_certificates,
        cache: None,
        resources: None,
        engine: None,
        pod_template: None,
    }
}
