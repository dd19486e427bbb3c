//! Where a source's bytes come from: the address, what the server is shown, and the words for what it refuses.
//!
//! One file a kind of server. May not live here: sending, receiving and keeping; [`super::remote`] does that for every kind alike.

mod access;
mod bucket;
mod gcs;
mod hub;
mod kind;
pub(super) mod registry;
mod s3;
mod web;

pub(super) use access::Access;
pub(super) use hub::is_commit;
pub use kind::Kind;

use http::HeaderMap;
use url::Url;
use weighbridge_crds::source::Source;

use super::{ArtifactRequest, Digest, FetchError};

/// Where one file is, and how it is asked for.
pub(super) struct Origin {
    pub kind: Kind,
    /// The server that is shown `access`; no other is.
    pub home: Url,
    pub url: Url,
    /// Of a hub, or a registry's tag or digest; empty elsewhere.
    pub revision: String,
    /// Whether the name means the same bytes for ever.
    pub is_fixed: bool,
    pub access: Access,
    /// What is said beside, where it is asked what the file is.
    pub ask: HeaderMap,
    /// Whose manifest `url` is, in a registry.
    pub artefact: Option<registry::Artefact>,
    /// The cache's name for it.
    pub key: Digest,
}

impl Origin {
    /// Where `request` finds its file.
    pub(super) fn of(request: &ArtifactRequest) -> Result<Self, FetchError> {
        match &request.source {
            Source::Hub { repository, file } => hub::origin(request, repository, file),
            Source::Web { .. } => web::origin(request),
            Source::S3 { bucket, key } => bucket::s3(request, bucket, key),
            Source::Gcs { bucket, object } => bucket::gcs(request, bucket, object),
            Source::Registry { registry, repository, reference, file } => {
                registry::origin(request, (registry, repository), reference, file.as_deref())
            }
            // What is on this machine is never fetched; its address says the same.
            Source::Claim { .. } | Source::File { .. } => {
                Err(FetchError::Address { field: "source", given: request.source.to_string() })
            }
        }
    }
}

/// `text` as an address of a web server.
fn address(kind: Kind, text: &str) -> Result<Url, FetchError> {
    let refused = || FetchError::Address { field: kind.address_field(), given: text.to_owned() };
    let url = Url::parse(text).map_err(|_| refused())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(refused()) }
}
