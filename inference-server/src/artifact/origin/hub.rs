//! `hf:` sources: a hub's paths.

use http::HeaderMap;
use url::Url;

use super::super::{ArtifactRequest, FetchError, PUBLIC_HUB, cache};
use super::{Access, Kind, Origin};

pub(super) fn origin(request: &ArtifactRequest, repository: &str, file: &str) -> Result<Origin, FetchError> {
    let home = match &request.hub.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => super::address(Kind::Hub, PUBLIC_HUB)?,
    };
    let revision = request.revision.as_deref().unwrap_or("main");
    Ok(Origin {
        kind: Kind::Hub,
        url: address(&home, repository, revision, file)?,
        is_fixed: is_commit(revision),
        access: Access::of_token(request.hub.token.as_ref())?,
        ask: HeaderMap::new(),
        artefact: None,
        key: cache::key(&["hf", home.as_str(), repository, revision, file]),
        revision: revision.to_owned(),
        home,
    })
}

/// `{endpoint}/{org}/{repo}/resolve/{revision}/{file}`, each part escaped.
fn address(endpoint: &Url, repository: &str, revision: &str, file: &str) -> Result<Url, FetchError> {
    let mut url = super::address(Kind::Hub, endpoint.as_str())?;
    if file.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(FetchError::NoSuchFile(Kind::Hub));
    }
    let refused = |()| FetchError::Address { field: Kind::Hub.address_field(), given: endpoint.to_string() };
    url.path_segments_mut()
        .map_err(refused)?
        .pop_if_empty()
        .extend(repository.split('/'))
        .push("resolve")
        .push(revision)
        .extend(file.split('/'));
    Ok(url)
}

/// Whether `revision` is a commit, and no branch or tag.
pub(in super::super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_every_part_in_its_place() {
        let hub = Url::parse("https://hub.example/mirror/").unwrap();
        let url = address(&hub, "org/repo", "refs/pr/7", "sub folder/m?x#y.gguf").unwrap();
        assert_eq!(
            url.as_str(),
            "https://hub.example/mirror/org/repo/resolve/refs%2Fpr%2F7/sub%20folder/m%3Fx%23y.gguf"
        );
        assert!(address(&hub, "org/repo", "main", "../x").is_err());
        assert!(address(&Url::parse("file:///x").unwrap(), "o/r", "main", "f").is_err());
    }
}
