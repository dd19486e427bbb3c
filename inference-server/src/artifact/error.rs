//! Why a source gave no file; each error knows its condition reason and, where one is at fault, the field.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use weighbridge_crds::condition::Reason;

use super::origin::Kind;
use super::request::InvalidToken;
use super::{CheckedAgainst, Digest, SignatureError};

/// A source that gave no usable file.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Nothing is there.
    #[error("source: no file at {}: check the path, and that the file is there", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A pipe or device, or a folder that holds no model.
    #[error("source: {} is neither a regular file nor a folder with a config.json: name the model itself", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// A pin on a folder.
    #[error("digest: {} is a folder, and a digest pins one file: leave digest out, or name a GGUF file", path.display())]
    FolderDigest {
        /// The folder.
        path: PathBuf,
    },
    /// A pin on a model in several files.
    #[error("digest: {name} is one of {count} parts, and a digest pins one file: leave digest out")]
    PartsDigest {
        /// The part that was named.
        name: String,
        /// Parts in all.
        count: u32,
    },
    /// A part of a split model that is not the first.
    #[error("source: {name} is a later part of a split model: name the first, {first}")]
    LaterPart {
        /// What was named.
        name: String,
        /// What to name.
        first: String,
    },
    /// A part of a split model that is not there.
    #[error("source: part {number} of {count} is missing, {}: put all parts into one folder", path.display())]
    PartMissing {
        /// Its number, from 1.
        number: u32,
        /// Parts in all.
        count: u32,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("source: can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A `pvc` source whose claim is not mounted here.
    #[error("source: no folder is given for the claim {claim:?}: add --claim {claim}=FOLDER")]
    ClaimNotMounted {
        /// Name of the claim.
        claim: String,
    },
    /// A claim's folder that is none: the flag is at fault, not the source.
    #[error("--claim {claim}={}: no such folder: name the one with the claim's files", folder.display())]
    NoClaimFolder {
        /// Name of the claim.
        claim: String,
        /// What was named for it.
        folder: PathBuf,
    },
    /// A path, or a link on it, that leads out of its folder.
    #[error("source: {} leads out of {}: keep the file, and what links point at, inside", path.display(), folder.display())]
    Escapes {
        /// The path as asked for.
        path: PathBuf,
        /// The folder it must stay in.
        folder: PathBuf,
    },
    /// The bytes are not the expected ones.
    #[error("digest: {file} has {actual}, expected {expected} ({}): {}", against.in_words(), mismatch_fix(*against))]
    DigestMismatch {
        /// The file or source.
        file: String,
        /// What it should have been.
        expected: Digest,
        /// What it is.
        actual: Digest,
        /// Where `expected` came from.
        against: CheckedAgainst,
    },
    /// Nobody who has to vouches for it.
    #[error("signature: of {file}")]
    Signature {
        /// The source.
        file: String,
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// The server did not give the file.
    #[error("can't fetch {file}")]
    Fetch {
        /// The source.
        file: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The cache folder does not work.
    #[error("the cache folder can't be used")]
    Cache(#[source] CacheError),
}

fn mismatch_fix(against: CheckedAgainst) -> &'static str {
    match against {
        CheckedAgainst::Pin => "pin the digest of the file you mean, or name another file or revision",
        CheckedAgainst::Source | CheckedAgainst::Nothing => {
            "the bytes were damaged on the way and are not kept; try again"
        }
    }
}

impl ArtifactError {
    /// Reason for the condition of the ModelDeployment.
    pub fn reason(&self) -> Reason {
        match self {
            ArtifactError::Signature { .. } => Reason::SignatureInvalid,
            ArtifactError::DigestMismatch { .. }
            | ArtifactError::Fetch { file: _, source: FetchError::Manifest { .. } } => Reason::DigestMismatch,
            ArtifactError::Missing { .. }
            | ArtifactError::NotAFile { .. }
            | ArtifactError::FolderDigest { .. }
            | ArtifactError::PartsDigest { .. }
            | ArtifactError::LaterPart { .. }
            | ArtifactError::PartMissing { .. }
            | ArtifactError::Read { .. }
            | ArtifactError::ClaimNotMounted { .. }
            | ArtifactError::NoClaimFolder { .. }
            | ArtifactError::Escapes { .. }
            | ArtifactError::Fetch { .. }
            | ArtifactError::Cache(_) => Reason::DownloadFailed,
        }
    }

    /// The field of `openWeights` to fix, where a field is at fault.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            ArtifactError::DigestMismatch { against: CheckedAgainst::Pin, .. }
            | ArtifactError::FolderDigest { .. }
            | ArtifactError::PartsDigest { .. } => Some("digest"),
            ArtifactError::Signature { .. } => Some("signature"),
            ArtifactError::DigestMismatch { .. }
            | ArtifactError::NoClaimFolder { .. }
            | ArtifactError::Cache(_) => None,
            ArtifactError::Fetch { source, .. } => source.field(),
            ArtifactError::Missing { .. }
            | ArtifactError::NotAFile { .. }
            | ArtifactError::LaterPart { .. }
            | ArtifactError::PartMissing { .. }
            | ArtifactError::Read { .. }
            | ArtifactError::ClaimNotMounted { .. }
            | ArtifactError::Escapes { .. } => Some("source"),
        }
    }

    /// The error and its causes in one line, for a condition or a terminal.
    pub fn in_words(&self) -> String {
        let mut words = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        words
    }
}

/// The server did not give the file. No message holds a token or a signed address.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// 401, and it was told nothing of who asks.
    #[error("{}", .0.unnamed())]
    Unnamed(Kind),
    /// 401, and it was told.
    #[error("{}", .0.refused())]
    Refused(Kind),
    /// 403.
    #[error("{}", .0.forbidden())]
    Forbidden(Kind),
    /// 404 for the revision.
    #[error("revision: the repository has no revision {0:?} (404): name a branch, tag or commit that exists")]
    NoSuchRevision(String),
    /// 404 for all or a part of the source.
    #[error("{}", .0.missing())]
    NoSuchFile(Kind),
    /// The address is none to fetch from.
    #[error("{field}: {given} is no http(s) address: write https://host")]
    Address {
        /// The field that says it.
        field: &'static str,
        /// What it says.
        given: String,
    },
    /// The token can't be sent.
    #[error(transparent)]
    Token(InvalidToken),
    /// Another status.
    #[error("the server answered {status}{}", waited(*retry_after))]
    Status {
        /// The status code.
        status: u16,
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// The connection could not be made or broke.
    #[error("no connection to {host}, or it broke")]
    Transport {
        /// Host that was asked.
        host: String,
        /// What the client said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A bucket is elsewhere.
    #[error("storage.region: the bucket is in {0}: write that")]
    OtherRegion(String),
    /// An artefact without the file, in words.
    #[error("source: {0}")]
    Artefact(String),
    /// A manifest that is not the one that was named.
    #[error(
        "digest: the manifest has {actual}, and {expected} was asked for: the registry is at fault; try again"
    )]
    Manifest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A request that can't be signed: a time before 1970.
    #[error("storage.credentialsSecret: nothing can be signed with it, or this machine's clock is wrong")]
    Unsignable,
    /// Nobody that is trusted vouches for the server.
    #[error(
        "caCertificates: {host} is not trusted ({why}): name a ConfigMap there with the authority that vouches for it, or \
         correct the address"
    )]
    Untrusted {
        /// Host that was asked.
        host: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// Nothing came for too long.
    #[error("{host} sent nothing for {} s", after.as_secs_f32())]
    Stalled {
        /// Host that was asked.
        host: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Fewer bytes than promised.
    #[error("{host} ended the answer after {got} of {wanted} bytes")]
    Short {
        /// Host that was asked.
        host: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        wanted: u64,
    },
    /// An address that a redirect led to expired; the server is asked for a new one.
    #[error("the address that the server pointed at expired ({0})")]
    LocationExpired(u16),
    /// More redirects than allowed.
    #[error("more than {0} redirects")]
    TooManyRedirects(usize),
    /// A redirect that must not be followed.
    #[error("a redirect to {0} was not followed")]
    BadRedirect(String),
    /// The answer makes no sense.
    #[error("{host} does not speak the protocol: {what}")]
    Protocol {
        /// Host that was asked.
        host: String,
        /// What was wrong.
        what: String,
    },
    /// The server answers every range with the whole file.
    #[error("the server ignores ranges")]
    RangesIgnored,
    /// The file changed under the download.
    #[error(
        "the file changed while it was fetched, or its length is not the {expected} bytes that the server named"
    )]
    Changed {
        /// Length that the server named.
        expected: u64,
    },
    /// Tried often enough.
    #[error("given up after {attempts} attempts")]
    GaveUp {
        /// How often.
        attempts: u32,
        /// The last failure.
        #[source]
        last: Box<FetchError>,
    },
    /// What came could not be written down.
    #[error(transparent)]
    Write(CacheError),
}

fn waited(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(" and asked to wait {} s", wait.as_secs())).unwrap_or_default()
}

impl FetchError {
    /// Whether the same request may work a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            FetchError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            FetchError::Transport { .. }
            | FetchError::Stalled { .. }
            | FetchError::Short { .. }
            | FetchError::LocationExpired(_) => true,
            FetchError::Unnamed(_)
            | FetchError::Refused(_)
            | FetchError::Forbidden(_)
            | FetchError::NoSuchRevision(_)
            | FetchError::NoSuchFile(_)
            | FetchError::Address { .. }
            | FetchError::Token(_)
            | FetchError::Untrusted { .. }
            | FetchError::OtherRegion(_)
            | FetchError::Artefact(_)
            | FetchError::Manifest { .. }
            | FetchError::Unsignable
            | FetchError::TooManyRedirects(_)
            | FetchError::BadRedirect(_)
            | FetchError::Protocol { .. }
            | FetchError::RangesIgnored
            | FetchError::Changed { .. }
            | FetchError::GaveUp { .. }
            | FetchError::Write(_) => false,
        }
    }

    /// Whether the server could not be reached at all, as opposed to having refused.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            FetchError::GaveUp { last, .. } => last.is_transient(),
            other => other.is_transient(),
        }
    }

    /// The wait that the server asked for; no other failure carries one.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let FetchError::Status { retry_after, .. } = self else { return None };
        *retry_after
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            FetchError::Unnamed(kind) | FetchError::Refused(kind) | FetchError::Forbidden(kind) => {
                Some(kind.access_field())
            }
            FetchError::Token(_) => Some("hub.tokenSecret"),
            FetchError::NoSuchRevision(_) => Some("revision"),
            FetchError::NoSuchFile(_) => Some("source"),
            FetchError::Address { field, given: _ } => Some(field),
            FetchError::Untrusted { .. } => Some("caCertificates"),
            FetchError::OtherRegion(_) => Some("storage.region"),
            FetchError::Artefact(_) => Some("source"),
            FetchError::Unsignable => Some("storage.credentialsSecret"),
            FetchError::GaveUp { last, .. } => last.field(),
            FetchError::Status { .. }
            | FetchError::Transport { .. }
            | FetchError::Stalled { .. }
            | FetchError::Short { .. }
            | FetchError::LocationExpired(_)
            | FetchError::TooManyRedirects(_)
            | FetchError::BadRedirect(_)
            | FetchError::Protocol { .. }
            | FetchError::RangesIgnored
            | FetchError::Changed { .. }
            | FetchError::Manifest { .. }
            | FetchError::Write(_) => None,
        }
    }
}

/// The cache folder does not work.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file operation failed.
    #[error("{act} {} failed", path.display())]
    Io {
        /// What was done.
        act: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk is too small.
    #[error(
        "{} has {free} bytes free and the download needs {needed}: free some space or name another --cache-folder",
        folder.display()
    )]
    NoSpace {
        /// The cache folder.
        folder: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The blocking task was stopped.
    #[error("the process is ending")]
    Stopped,
}
