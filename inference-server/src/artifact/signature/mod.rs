//! Signatures of models: who vouches for which bytes, known before one of them is mapped.
//!
//! Key-based OpenSSF Model Signing alone: the key is in the spec. Certificates and keyless signatures are not verified here, and no
//! transparency log is asked.

mod bundle;
mod key;

pub use key::{InvalidKey, PublicKey};

use weighbridge_crds::source::Source;

use super::{Artifact, ArtifactError, ArtifactRequest, Digest, ProgressSink, Resolver, local, verify};
use crate::gguf::PartName;
use bundle::Signed;

/// Bytes of a signature's file: a listing of ten thousand files has two million.
const MOST: u64 = 16 << 20;

/// Who has to have signed, and where the signature is.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Path of the bundle from the folder of the source's file, or in the source where that is a folder.
    pub bundle: String,
    /// Whose word counts.
    pub key: PublicKey,
}

/// Weights that nobody vouches for.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// No bundle.
    #[error("{name} can't be had: correct signature.bundle, or put it there")]
    Absent {
        /// Where it should be.
        name: String,
        /// Why.
        #[source]
        source: Box<ArtifactError>,
    },
    /// Not what signers write.
    #[error("the bundle is no OpenSSF Model Signing bundle that is verified: {0}")]
    Form(String),
    /// Signed by somebody else, or changed since.
    #[error(
        "the bundle is not signed by the owner of signature.publicKey, or was changed since: correct the key, or find out who \
         changed it"
    )]
    Key,
    /// A file of which nothing is said.
    #[error("the signature says nothing of {0:?}: sign the model anew")]
    Unlisted(String),
    /// A file that is signed and gone.
    #[error("{0:?} is signed and not there: put it back, or sign the model anew")]
    Gone(String),
    /// Other bytes than were signed.
    #[error(
        "{name:?} has {actual}, and {expected} was signed: it was changed since; find out by whom, or sign it anew"
    )]
    Changed {
        /// The file, from the model's root.
        name: String,
        /// What was signed.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
}

/// Fails unless the owner of the key vouches for every byte of `artifact`, which `request` found.
pub(super) async fn check(
    resolver: &Resolver,
    request: &ArtifactRequest,
    artifact: &Artifact,
    progress: &ProgressSink,
) -> Result<(), ArtifactError> {
    let Some(Signature { bundle, key }) = &request.signature else { return Ok(()) };
    let refused = |source| ArtifactError::Signature { file: request.source.to_string(), source };
    let is_folder = artifact.path.is_dir();
    let beside = beside(&request.source, is_folder, bundle);
    let found = fetched(resolver, request, &beside, progress).await.map_err(refused)?;
    let signed = bundle::opened(&found, key).map_err(refused)?;
    let files = if is_folder {
        local::files(&artifact.path)?
    } else {
        let paths = std::iter::once(&artifact.path).chain(&artifact.further);
        names(&request.source, artifact.further.len() + 1).into_iter().zip(paths.cloned()).collect()
    };
    // What a person reads beside the weights and what nobody reads are no part of the model.
    let is_left = |name: &str| {
        let ignored = signed.ignored.iter().any(|path| name == path || name.starts_with(&format!("{path}/")));
        is_folder && (ignored || name == bundle)
    };
    for (name, path) in &files {
        if is_left(name) {
            continue;
        }
        let expected = listed(&signed, name, files.len())
            .ok_or_else(|| refused(SignatureError::Unlisted(name.clone())))?;
        // What was hashed on its way in is not hashed again.
        let known = artifact.digest.clone().filter(|_| files.len() == 1 && !is_folder);
        let actual = match known {
            Some(digest) => digest,
            None => verify::digest(path, progress.clone()).await?,
        };
        if actual != *expected {
            let (name, expected) = (name.clone(), expected.clone());
            return Err(refused(SignatureError::Changed { name, expected, actual }));
        }
    }
    if is_folder && let Some(gone) = signed.files.keys().find(|name| !files.contains_key(*name)) {
        return Err(refused(SignatureError::Gone(gone.clone())));
    }
    tracing::info!(source = %request.source, files = files.len(), "the signature holds");
    Ok(())
}

/// The digest that is signed of the file `name`, of a model of so many files.
fn listed<'a>(signed: &'a Signed, name: &str, count: usize) -> Option<&'a Digest> {
    let alone = (count == 1 && signed.files.len() == 1).then(|| signed.files.get(".")).flatten();
    signed.files.get(name).or(alone)
}

/// Where the bundle is.
fn beside(source: &Source, is_folder: bool, bundle: &str) -> Source {
    let file = source.file();
    let folder = if is_folder { Some(file) } else { file.rsplit_once('/').map(|(folder, _)| folder) };
    source.with_file(&folder.map_or(bundle.to_owned(), |folder| format!("{folder}/{bundle}")))
}

/// Names of the file, or of the parts that it stands for, from their folder.
fn names(source: &Source, count: usize) -> Vec<String> {
    let file = source.file();
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    match PartName::parse(name).filter(|_| count > 1) {
        Some(parts) => parts.all().collect(),
        None => vec![name.to_owned()],
    }
}

async fn fetched(
    resolver: &Resolver,
    request: &ArtifactRequest,
    beside: &Source,
    progress: &ProgressSink,
) -> Result<Vec<u8>, SignatureError> {
    let asked = ArtifactRequest { source: beside.clone(), digest: None, signature: None, ..request.clone() };
    let absent = |source| SignatureError::Absent { name: beside.to_string(), source: Box::new(source) };
    let found = Box::pin(resolver.found(asked, progress.clone())).await.map_err(absent)?;
    if found.bytes > MOST {
        return Err(SignatureError::Form(format!("it has {} bytes, more than {MOST}", found.bytes)));
    }
    let path = found.path;
    std::fs::read(&path).map_err(|source| absent(ArtifactError::Read { path, source }))
}
