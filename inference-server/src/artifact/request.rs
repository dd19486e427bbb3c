//! What is asked for, and what comes back.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use url::Url;
use weighbridge_crds::source::Source;

use super::{Credentials, Digest, Proxies, Signature};

/// Where `hf` sources come from unless `hub.endpoint` says otherwise.
pub const PUBLIC_HUB: &str = "https://huggingface.co";

/// One file, wanted on this machine.
#[derive(Clone, Debug)]
pub struct ArtifactRequest {
    /// What was written in `openWeights.source`.
    pub source: Source,
    /// Branch, tag or commit of an `hf` source. Default: `main`.
    pub revision: Option<String>,
    /// The pinned digest.
    pub digest: Option<Digest>,
    /// Who has to have signed it.
    pub signature: Option<Signature>,
    /// The hub of an `hf` source.
    pub hub: HubAccess,
    /// What other servers are shown.
    pub storage: StorageAccess,
    /// How servers are reached.
    pub network: Network,
    /// Folder for fetched files; made when missing.
    pub cache_folder: PathBuf,
    /// Folders that claims are mounted at, for `pvc` sources.
    pub claims: BTreeMap<String, PathBuf>,
}

impl ArtifactRequest {
    /// A request for `source` as it is now at the public hub, with no pin and no token.
    pub fn new(source: Source, cache_folder: PathBuf) -> Self {
        Self {
            source,
            revision: None,
            digest: None,
            signature: None,
            hub: HubAccess::default(),
            storage: StorageAccess::default(),
            network: Network::default(),
            cache_folder,
            claims: BTreeMap::new(),
        }
    }
}

/// A hub and the right to read from it.
#[derive(Clone, Debug, Default)]
pub struct HubAccess {
    /// Base URL; the public hub when absent.
    pub endpoint: Option<Url>,
    /// Token for gated and private repositories.
    pub token: Option<Token>,
}

/// A server that is no hub, and the right to read from it.
#[derive(Clone, Debug, Default)]
pub struct StorageAccess {
    /// Base URL in place of the source's own.
    pub endpoint: Option<Url>,
    /// Region of an `s3` source's bucket.
    pub region: Option<String>,
    /// What it is shown.
    pub credentials: Option<Credentials>,
}

/// How servers are reached.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Authorities that may vouch for a server, beside the public ones.
    pub authorities: Option<Arc<RootCertStore>>,
    /// Proxies on the way.
    pub proxies: Proxies,
}

/// A token. Prints as nothing but its presence.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A token that can't be sent. The message never holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token is empty or holds characters that no token has: check the Secret behind hub.tokenSecret or \
     storage.credentialsSecret"
)]
pub struct InvalidToken;

impl Token {
    /// A token as read from a Secret or a file; space around it is dropped.
    ///
    /// # Errors
    /// When nothing is left, or it could not stand in a header.
    pub fn new(given: &str) -> Result<Self, InvalidToken> {
        let token = given.trim();
        let sendable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if sendable { Ok(Self(token.to_owned())) } else { Err(InvalidToken) }
    }

    /// The token in `HF_TOKEN`, where the hub's own tools look; none when unset or empty.
    ///
    /// # Errors
    /// When the variable holds something that is no token.
    pub fn from_environment() -> Result<Option<Self>, InvalidToken> {
        match std::env::var("HF_TOKEN") {
            Ok(given) if !given.trim().is_empty() => Self::new(&given).map(Some),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(InvalidToken),
        }
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// A file that may be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub path: PathBuf,
    /// The other parts, in order, of a model that is split over several files.
    pub further: Vec<PathBuf>,
    /// Length of all.
    pub bytes: u64,
    /// Digest of its bytes, where they were hashed: a local file with no pin is not.
    pub digest: Option<Digest>,
    /// What the digest was compared with.
    pub checked_against: CheckedAgainst,
    /// Commit of the hub's repository, where the hub said.
    pub commit: Option<String>,
    /// Bytes that came over the network this time; 0 from the cache.
    pub fetched_bytes: u64,
}

/// Who vouches for the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckedAgainst {
    /// `openWeights.digest`.
    Pin,
    /// The source's own digest of the file.
    Source,
    /// Nobody: no pin, and the source gives no digest. The length was checked where it is known.
    Nothing,
}

impl CheckedAgainst {
    /// In words, for logs.
    pub fn in_words(self) -> &'static str {
        match self {
            CheckedAgainst::Pin => "the pinned digest",
            CheckedAgainst::Source => "the source's own digest",
            CheckedAgainst::Nothing => "nothing: set openWeights.digest to pin it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_never_printed() {
        let token = Token::new("  hf_canary\n").unwrap();
        assert_eq!(token.bearer(), "Bearer hf_canary");
        let mut request = ArtifactRequest::new("hf://o/r/f".parse().unwrap(), PathBuf::from("/cache"));
        request.hub.token = Some(token);
        assert!(!format!("{request:?}").contains("canary"));
        for bad in ["", " \n", "two words", "line\nbreak", "ümlaut"] {
            assert!(Token::new(bad).is_err(), "{bad:?}");
        }
    }
}
