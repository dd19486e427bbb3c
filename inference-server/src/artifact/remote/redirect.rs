//! Which redirects are followed, and what of a request goes along.

use url::Url;

use super::FetchError;

/// A hub needs one or two: a renamed repository, then its storage.
pub(super) const MAX_REDIRECTS: usize = 5;

/// The address that `location` means, seen from `current`.
pub(super) fn target(current: &Url, location: Option<&str>) -> Result<Url, FetchError> {
    let refused = |what: &str| FetchError::BadRedirect(what.to_owned());
    let location = location.ok_or_else(|| refused("nowhere (no Location)"))?;
    let next = current.join(location).map_err(|_| refused("an address that can't be read"))?;
    match (current.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(next),
        ("https", "http") => Err(refused("plain http, away from https")),
        (_, scheme) => Err(refused(&format!("the scheme {scheme}"))),
    }
}

/// Whether both speak for the same server, so that what is meant for one may be sent to the other.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn https_is_never_left_for_http_and_only_web_addresses_are_followed() {
        let hub = url("https://hub.example/o/r/resolve/main/f");
        assert_eq!(target(&hub, Some("/new/r/f")).unwrap().as_str(), "https://hub.example/new/r/f");
        assert_eq!(
            target(&hub, Some("https://cdn.example/x?sig=1")).unwrap().host_str(),
            Some("cdn.example")
        );
        for bad in ["http://cdn.example/x", "file:///etc/passwd", "ftp://cdn.example/x", "https://[bad"] {
            assert!(target(&hub, Some(bad)).is_err(), "{bad}");
        }
        assert!(target(&hub, None).is_err());
        assert!(target(&url("http://hub/a"), Some("http://cdn/b")).is_ok());
    }

    #[test]
    fn another_port_or_scheme_is_another_server() {
        let hub = url("https://hub.example/a");
        assert!(same_origin(&hub, &url("https://hub.example:443/b")));
        for other in ["https://hub.example:8443/a", "http://hub.example/a", "https://cdn.hub.example/a"] {
            assert!(!same_origin(&hub, &url(other)), "{other}");
        }
    }
}
