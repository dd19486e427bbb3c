//! Configuration of the proxy, and what is refused at start.

use std::net::IpAddr;
use std::path::PathBuf;

use http::uri::{Authority, Scheme};
use url::{Host, Url};

use super::address;
use crate::{Drain, Limits, Timeouts};

/// Configuration of the `proxy` role. Holds no key, only where it is.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Namespace of the ExternalProvider, for metrics.
    pub namespace: String,
    /// Name of the ExternalProvider, for metrics and errors.
    pub provider: String,
    /// Base of the provider's paths, version included, such as `https://api.example.com/v1`.
    pub base_url: Url,
    /// File that holds the key; read again when it changes.
    pub key_file: PathBuf,
    /// Allow plain http and addresses that are loopback, private or link-local.
    pub allow_private: bool,
    /// More certificate authorities to trust, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Bounds on size and number.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// Bounds on the end.
    pub drain: Drain,
}

/// Why a proxy can't start. Each names the flag.
#[derive(Debug, thiserror::Error)]
pub enum ProxyConfigError {
    /// Neither https nor http.
    #[error("--base-url must begin with https:// (or http:// with --allow-private), not {0}://")]
    Scheme(String),
    /// The key would go in the clear.
    #[error("--base-url is plain http, which would send the key in the clear: use https, or --allow-private")]
    Plain,
    /// A part that may not be there.
    #[error("--base-url may have no user, query or fragment, and needs a host")]
    Parts,
    /// An address that must not be reached.
    #[error(
        "--base-url names {0}, which is loopback, private or link-local: name a public host, or --allow-private"
    )]
    Address(IpAddr),
    /// The file of certificate authorities can't be used.
    #[error("--ca-file {path} can't be read as PEM certificates")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

/// The provider's host and path, checked.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub scheme: Scheme,
    pub authority: Authority,
    /// Without a slash at the end.
    pub path: String,
}

impl Base {
    pub(super) fn new(config: &ProxyConfig) -> Result<Self, ProxyConfigError> {
        let url = &config.base_url;
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" if config.allow_private => Scheme::HTTP,
            "http" => return Err(ProxyConfigError::Plain),
            other => return Err(ProxyConfigError::Scheme(other.to_owned())),
        };
        let extra = url.query().is_some() || url.fragment().is_some();
        if extra || !url.username().is_empty() || url.password().is_some() {
            return Err(ProxyConfigError::Parts);
        }
        // The connector looks no name up for an address, so the resolver's check would not see it.
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return Err(ProxyConfigError::Parts),
        };
        if let Some(ip) = literal.filter(|ip| !config.allow_private && !address::is_public(*ip)) {
            return Err(ProxyConfigError::Address(ip));
        }
        let authority = url.authority().parse().map_err(|_| ProxyConfigError::Parts)?;
        Ok(Self { scheme, authority, path: url.path().trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str, allow_private: bool) -> Result<Base, ProxyConfigError> {
        Base::new(&ProxyConfig {
            namespace: "n".into(),
            provider: "p".into(),
            base_url: url.parse().expect("a URL"),
            key_file: "key".into(),
            allow_private,
            ca_file: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            drain: Drain::default(),
        })
    }

    #[test]
    fn a_base_is_a_host_and_a_path() {
        let base = base("https://api.example.com:8443/v1/", false).expect("accepted");
        assert_eq!((base.authority.as_str(), base.path.as_str()), ("api.example.com:8443", "/v1"));
    }

    #[test]
    fn what_must_not_be_reached_is_refused() {
        for url in [
            "http://api.example.com/v1",
            "https://127.0.0.1/v1",
            "https://169.254.169.254/v1",
            "https://[::1]/v1",
            "https://[::ffff:10.0.0.1]/v1",
            "https://0x7f.1/v1",
        ] {
            assert!(base(url, false).is_err(), "{url}");
        }
        for url in
            ["https://user@api.example.com/v1", "https://api.example.com/v1?x", "ftp://api.example.com"]
        {
            assert!(base(url, true).is_err(), "{url}");
        }
        assert!(base("http://127.0.0.1:9/v1", true).is_ok());
    }
}
