//! `https:` sources: a file that any web server has.

use super::super::{ArtifactRequest, FetchError, cache};
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
        access: Access::of_token(request.storage.token.as_ref())?,
        key: cache::key(&["https", url.as_str()]),
        url,
    })
}
