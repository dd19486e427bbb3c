//! `oci:` sources: a file of an artefact in a registry, by its distribution API.
//!
//! A manifest says which blobs an artefact is made of; a blob goes by its digest, and is fetched as any other file. Tokens are
//! handed out by whom the registry names.

mod manifest;
mod token;

pub(in super::super) use manifest::{ACCEPTED, Wanted, chosen};
pub(in super::super) use token::{Challenge, RegistryLogin, handed_out};

use http::HeaderMap;
use url::Url;

use super::super::{ArtifactRequest, Credentials, FetchError, StorageAccess, cache};
use super::{Access, Kind, Origin};

/// The file that is meant, in which repository.
#[derive(Clone, Debug)]
pub(in super::super) struct Artefact {
    home: Url,
    repository: String,
    /// A tag, or `sha256:…`.
    pub reference: String,
    pub file: Option<String>,
}

impl Artefact {
    /// Where a manifest is.
    pub(in super::super) fn manifest(&self, reference: &str) -> Result<Url, FetchError> {
        self.address("manifests", reference)
    }

    /// Where a blob is.
    pub(in super::super) fn blob(&self, digest: &str) -> Result<Url, FetchError> {
        self.address("blobs", digest)
    }

    fn address(&self, what: &str, reference: &str) -> Result<Url, FetchError> {
        let mut url = self.home.clone();
        let before = self.home.path().trim_end_matches('/');
        url.set_path(&format!("{before}/v2/{}/{what}/{reference}", self.repository));
        Ok(url)
    }
}

pub(super) fn origin(
    request: &ArtifactRequest,
    (registry, repository): (&str, &str),
    reference: &str,
    file: Option<&str>,
) -> Result<Origin, FetchError> {
    let StorageAccess { endpoint, region: _, credentials } = &request.storage;
    // Docker's own registry answers under another name, and keeps what has no owner in a folder.
    let is_docker = registry == "docker.io" && endpoint.is_none();
    let home = match endpoint {
        Some(endpoint) => super::address(Kind::Registry, endpoint.as_str())?,
        None if is_docker => super::address(Kind::Registry, "https://registry-1.docker.io")?,
        None => super::address(Kind::Registry, &format!("https://{registry}"))?,
    };
    let repository = match repository.contains('/') {
        false if registry == "docker.io" => format!("library/{repository}"),
        _ => repository.to_owned(),
    };
    let login = match credentials {
        Some(Credentials::Login(login)) => Some(login),
        Some(Credentials::Token(_) | Credentials::AccessKey(_) | Credentials::ServiceAccount(_)) | None => {
            None
        }
    };
    let artefact = Artefact {
        home: home.clone(),
        repository,
        reference: reference.to_owned(),
        file: file.map(str::to_owned),
    };
    let url = artefact.manifest(reference)?;
    Ok(Origin {
        kind: Kind::Registry,
        key: cache::key(&["oci", url.as_str(), file.unwrap_or_default()]),
        home,
        url,
        revision: reference.to_owned(),
        is_fixed: reference.contains(':'),
        access: Access::Registry(RegistryLogin::new(login)?),
        ask: HeaderMap::new(),
        artefact: Some(artefact),
    })
}
