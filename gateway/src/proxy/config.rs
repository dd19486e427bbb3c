//! Configuration of the proxy, and what is refused at start.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, Scheme};
use url::{Host, Url};
use weighbridge_crds::address::is_public;
use weighbridge_wire::provider::Kind;

use crate::forward::TrustError;
use crate::{Drain, Limits, Timeouts};

/// Configuration of the `proxy` role. Holds no key, only where each is.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Namespace of the ExternalProvider, for metrics.
    pub namespace: String,
    /// Name of the ExternalProvider, for metrics and errors.
    pub provider: String,
    /// Whose API it is.
    pub kind: Kind,
    /// Base of the provider's paths, such as `https://api.example.com/v1`; `None` for the kind's own.
    pub base_url: Option<Url>,
    /// Where the account's keys are.
    pub keys: Vec<KeySource>,
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

/// One key: a file that holds it, read again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// The file.
    pub path: PathBuf,
    /// Its share of the requests, beside the other keys' weights.
    pub weight: NonZeroU16,
}

/// A weight that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's weight is 1 to 1000")]
pub struct WeightError;

const MAX_WEIGHT: u16 = 1000;

impl FromStr for KeySource {
    type Err = WeightError;

    /// `PATH=WEIGHT`, or `PATH` for weight 1.
    fn from_str(text: &str) -> Result<Self, WeightError> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (path, weight) = match text.rsplit_once('=') {
            Some((path, weight)) if is_number(weight) => (path, weight.parse().map_err(|_| WeightError)?),
            Some(_) | None => (text, NonZeroU16::MIN),
        };
        if weight.get() > MAX_WEIGHT {
            return Err(WeightError);
        }
        Ok(Self { path: PathBuf::from(path), weight })
    }
}

/// Why a proxy can't start. Each names the flag.
#[derive(Debug, thiserror::Error)]
pub enum ProxyConfigError {
    /// Nobody says where the API is.
    #[error("a provider of kind {0} has no address of its own: add --base-url")]
    NoBase(Kind),
    /// There is nothing to authenticate with.
    #[error("add --key-file: a provider is called with a key")]
    NoKey,
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
    /// The certificate of the provider can't be checked.
    #[error("--ca-file is of no use")]
    Trust(#[from] TrustError),
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
        let default = || Url::parse(config.kind.profile().default_base_url?).ok();
        let url = &config.base_url.clone().or_else(default).ok_or(ProxyConfigError::NoBase(config.kind))?;
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
        if let Some(ip) = literal.filter(|ip| !config.allow_private && !is_public(*ip)) {
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
        of(Kind::OpenAiCompatible, Some(url), allow_private)
    }

    fn of(kind: Kind, url: Option<&str>, allow_private: bool) -> Result<Base, ProxyConfigError> {
        Base::new(&ProxyConfig {
            namespace: "n".into(),
            provider: "p".into(),
            kind,
            base_url: url.map(|url| url.parse().expect("a URL")),
            keys: Vec::new(),
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
    fn a_kind_with_an_address_of_its_own_needs_none() {
        for (kind, host) in [
            (Kind::OpenAi, Some("api.openai.com")),
            (Kind::Anthropic, Some("api.anthropic.com")),
            (Kind::Gemini, Some("generativelanguage.googleapis.com")),
            (Kind::AzureOpenAi, None),
            (Kind::OpenAiCompatible, None),
            (Kind::AnthropicCompatible, None),
        ] {
            let base = of(kind, None, false);
            assert_eq!(base.as_ref().ok().map(|base| base.authority.as_str()), host, "{kind}");
            assert!(host.is_some() || matches!(base, Err(ProxyConfigError::NoBase(_))), "{kind}");
        }
    }

    #[test]
    fn a_key_may_have_a_weight() {
        let read = |text: &str| text.parse::<KeySource>().map(|key| (key.path, key.weight.get()));
        assert_eq!(read("/keys/0=5"), Ok(("/keys/0".into(), 5)));
        assert_eq!(read("/keys/0"), Ok(("/keys/0".into(), 1)));
        assert_eq!(read("/a=b/key"), Ok(("/a=b/key".into(), 1)));
        assert_eq!(read("/a=7=2"), Ok(("/a=7".into(), 2)));
        for bad in ["k=0", "k=1001", "k=99999"] {
            assert_eq!(read(bad), Err(WeightError), "{bad}");
        }
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
