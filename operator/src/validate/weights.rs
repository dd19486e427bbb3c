use url::{Host, Url};
use weighbridge_crds::adapter::check_names;
use weighbridge_crds::source::Source;
use weighbridge_crds::{Adapter, CredentialKey, Hub, OpenWeights, SecretKey, SecretName, Storage};

use super::provider::secret_key;
use super::{ModelReferences, Place, Refusal};

/// A LoRA adapter, and where it is. From a hub it comes with the model's endpoint and token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAdapter {
    /// Its name.
    pub name: String,
    /// Its source as written.
    pub source: String,
    /// Where that is.
    pub place: AdapterPlace,
    /// `sha256:…` of the file.
    pub digest: Option<String>,
}

/// Where an adapter is, with what only that place needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterPlace {
    /// A file in a repository of a hub, at this branch, tag or commit.
    Hub(Option<String>),
    /// A file or folder on a claim of the same namespace.
    Claim {
        /// Name of the claim.
        claim: String,
        /// Path in it.
        file: String,
    },
    /// A file or folder of this machine.
    File,
}

/// Where weights are, with what only that place needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// A file in a repository of a hub.
    Hub(HubFile),
    /// A file that another server has.
    Stored(StoredFile),
    /// A file of an image that the kubelet mounts.
    Image(ImageFile),
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

impl Weights {
    /// Branch, tag or commit, and the server, where each is named. A source is of one kind, so that a bucket's region in the
    /// place of a revision is taken for none.
    pub fn revision_and_endpoint(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Weights::Hub(HubFile { source: _, revision, endpoint, token: _ }) => {
                (revision.as_deref(), endpoint.as_deref())
            }
            Weights::Stored(StoredFile { source: _, endpoint, region, secret: _, keys: _ }) => {
                (region.as_deref(), endpoint.as_deref())
            }
            Weights::Image(_) | Weights::Claim { .. } | Weights::File { .. } => (None, None),
        }
    }
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

/// A file of a server that is no hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// As written.
    pub source: String,
    /// Base URL in place of the source's own.
    pub endpoint: Option<String>,
    /// Region of a bucket of S3.
    pub region: Option<String>,
    /// Secret with what the server is shown.
    pub secret: Option<String>,
    /// Keys of it that are read.
    pub keys: &'static [CredentialKey],
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The image, as a kubelet is told.
    pub reference: String,
    /// Path in it.
    pub file: String,
    /// Secret for pulling it.
    pub secret: Option<String>,
}

/// Where the weights of `given` are, whose credentials are there and travel safely.
///
/// # Errors
/// The field that can't be, and what to write instead.
pub(super) fn weights(
    given: &OpenWeights,
    found: &ModelReferences,
    place: Place,
) -> Result<Weights, Refusal> {
    let OpenWeights {
        source: text,
        revision,
        hub,
        storage,
        ca_certificates,
        digest: _,
        signature: _,
        cache: _,
        resources: _,
        engine: _,
        pod_template: _,
    } = given;
    let source: Source = text.parse().map_err(|error| Refusal::invalid(format!("openWeights.{error}")))?;
    if (revision.is_some() || hub.is_some()) && !matches!(source, Source::Hub { .. }) {
        return Err(Refusal::invalid(
            "openWeights.revision and openWeights.hub belong to hf sources only: remove them",
        ));
    }
    if storage.is_some() && source.credential_keys().is_empty() {
        return Err(Refusal::invalid(
            "openWeights.storage belongs to s3, gs, oci and https sources only: remove it",
        ));
    }
    if ca_certificates.is_some() && !source.is_fetched() {
        return Err(Refusal::invalid(
            "openWeights.caCertificates is for sources that are fetched, and this one is not: remove it",
        ));
    }
    for (named, found) in given.needed_credentials().iter().zip(&found.credentials) {
        secret_key("openWeights.storage.credentialsSecret", named, *found)?;
    }
    Ok(match (source.clone(), place) {
        (
            Source::Web { .. } | Source::S3 { .. } | Source::Gcs { .. } | Source::Registry { .. },
            Place::Cluster | Place::Machine,
        ) => {
            let storage = storage.clone().unwrap_or_default();
            if storage.image_volume {
                Weights::Image(image(&source, storage, ca_certificates.is_some(), place)?)
            } else {
                Weights::Stored(stored(text, &source, storage)?)
            }
        }
        (Source::Hub { .. }, _) => {
            let hub = hub.as_ref();
            let token = hub.and_then(|hub| hub.token_secret.clone());
            if let Some(named) = &token {
                secret_key("openWeights.hub.tokenSecret", named, found.token)?;
            }
            hub.map_or(Ok(()), token_travels_safely)?;
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
    })
}

/// The CRD says the same, but for machines; an older one does not.
fn image(
    source: &Source,
    storage: Storage,
    with_authorities: bool,
    place: Place,
) -> Result<ImageFile, Refusal> {
    let refused = |words: &str| Err(Refusal::invalid(format!("openWeights.storage.imageVolume {words}")));
    let Storage { endpoint, region, credentials_secret, image_volume: _ } = storage;
    let Source::Registry { registry, repository, reference, file: Some(file) } = source else {
        return refused(
            "is of an image and a file in it: write source: oci://registry/repository:tag/folder/file.gguf, or remove \
             imageVolume",
        );
    };
    if endpoint.is_some() || with_authorities || region.is_some() {
        return refused(
            "has the node pull the image, by its own mirrors and authorities: remove storage.endpoint, storage.region and \
             caCertificates",
        );
    }
    if place == Place::Machine {
        return refused(
            "is of a cluster's nodes, and this machine is none: push the file as an artefact, and remove it",
        );
    }
    let mark = if reference.contains(':') { '@' } else { ':' };
    Ok(ImageFile {
        reference: format!("{registry}/{repository}{mark}{reference}"),
        file: file.clone(),
        secret: credentials_secret.map(|SecretName { name }| name),
    })
}

fn stored(text: &str, source: &Source, storage: Storage) -> Result<StoredFile, Refusal> {
    const FIELD: &str = "openWeights.storage.endpoint";
    let Storage { endpoint, region, credentials_secret, image_volume: _ } = storage;
    if region.is_some() && !matches!(source, Source::S3 { .. }) {
        return Err(Refusal::invalid("openWeights.storage.region belongs to s3 sources only: remove it"));
    }
    if endpoint.is_some() && matches!(source, Source::Web { .. }) {
        return Err(Refusal::invalid(format!("{FIELD}: an https source names its server itself: remove it")));
    }
    let secret = credentials_secret.map(|SecretName { name }| name);
    // S3 gets a signature of each request, and what signs stays here.
    if let (Some(endpoint), Some(_)) = (&endpoint, &secret)
        && !matches!(source, Source::S3 { .. })
        && !travels_safely(FIELD, endpoint)?
    {
        return Err(Refusal::invalid(format!(
            "{FIELD} {endpoint:?} would get what openWeights.storage.credentialsSecret holds in the clear: use https://, or \
             remove credentialsSecret"
        )));
    }
    Ok(StoredFile { source: text.to_owned(), endpoint, region, secret, keys: source.credential_keys() })
}

pub(super) fn adapters(given: &[Adapter], place: Place) -> Result<Vec<OpenAdapter>, Refusal> {
    const FIELD: &str = "openWeights.engine.adapters";
    check_names(given.iter().map(|adapter| adapter.name.as_str()))
        .map_err(|error| Refusal::invalid(format!("{FIELD}: {error}")))?;
    let one = |adapter: &Adapter| {
        let Adapter { name, source: text, revision, digest } = adapter;
        let wrong = |problem: String| Refusal::invalid(format!("{FIELD} {name}: {problem}"));
        let source: Source = text.parse().map_err(|error| wrong(format!("{error}")))?;
        if revision.is_some() && !matches!(source, Source::Hub { .. }) {
            return Err(wrong("revision belongs to hf sources only: remove it".to_owned()));
        }
        let place = match (source, place) {
            (Source::Hub { .. }, Place::Cluster | Place::Machine) => AdapterPlace::Hub(revision.clone()),
            (Source::Claim { claim, file }, Place::Cluster | Place::Machine) => {
                AdapterPlace::Claim { claim, file }
            }
            (
                Source::Web { .. } | Source::S3 { .. } | Source::Gcs { .. } | Source::Registry { .. },
                Place::Cluster | Place::Machine,
            ) => {
                return Err(wrong(
                    "an adapter comes from a hub or a claim: write hf://org/repo/file.gguf or pvc://claim/path".to_owned(),
                ));
            }
            (Source::File { .. }, Place::Machine) => AdapterPlace::File,
            (Source::File { .. }, Place::Cluster) => {
                return Err(wrong(
                    "source is file://, which names a file of one machine and belongs to `weighbridge up`: \
                     in a cluster put it on a claim and write pvc://claim/path"
                        .to_owned(),
                ));
            }
        };
        Ok(OpenAdapter { name: name.clone(), source: text.clone(), place, digest: digest.clone() })
    };
    given.iter().map(one).collect()
}

/// As with a provider's key: a token is sent over TLS, or does not leave the machine.
fn token_travels_safely(hub: &Hub) -> Result<(), Refusal> {
    let Hub { endpoint, token_secret } = hub;
    let (Some(endpoint), Some(_)) = (endpoint, token_secret) else { return Ok(()) };
    if travels_safely("openWeights.hub.endpoint", endpoint)? {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "openWeights.hub.endpoint {endpoint:?} would get the token of openWeights.hub.tokenSecret in the clear: \
         use https://, or remove tokenSecret"
    )))
}

/// Whether nobody between us and `endpoint` reads what it is shown.
fn travels_safely(field: &str, endpoint: &str) -> Result<bool, Refusal> {
    let url = Url::parse(endpoint).map_err(|error| {
        Refusal::invalid(format!(
            "{field} {endpoint:?}: {error}; write a URL such as https://hub.example.com"
        ))
    })?;
    let stays = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    Ok(url.scheme() == "https" || stays)
}
