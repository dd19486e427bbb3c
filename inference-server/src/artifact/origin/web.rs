//! `https:` sources: a file that any web server has.

use http::HeaderMap;

use super::super::{ArtifactRequest, Credentials, FetchError, cache};
use super::{Access, Kind, Origin};

pub(super) fn origin(request: &ArtifactRequest) -> Result<Origin, FetchError> {
    let url = super::address(Kind::Web, &request.source.to_string())?;
    let mut home = url.clone();
    home.set_path("/");
    Ok(Origin {
        kind: Kind::Web,
        home,
        revision: String::new(),
        is_fixed: false,
        access: match &request.storage.credentials {
            Some(Credentials::Token(token)) => Access::of_token(Some(token))?,
            Some(Credentials::AccessKey(_) | Credentials::ServiceAccount(_) | Credentials::Login(_))
            | None => Access::Nothing,
        },
        ask: HeaderMap::new(),
        artefact: None,
        key: cache::key(&["https", url.as_str()]),
        url,
    })
}
