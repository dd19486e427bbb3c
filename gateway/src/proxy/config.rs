//! Configuration of the proxy, and what is refused at start.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use url::{Host, Url};
use weighbridge_crds::address::is_public;
use weighbridge_wire::provider::{Kind, Place};

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
    /// Where in its cloud the account's models are; exactly for the kinds that are clouds.
    pub place: Option<Place>,
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
    /// Nobody says in whose project, or in which region.
    #[error("a provider of kind {0} is a cloud: add {flags}", flags = place_flags(*.0))]
    NoPlace(Kind),
    /// A place in another cloud, or of a kind that is none.
    #[error("a provider of kind {0} takes no {flags}: remove them", flags = place_flags(*.1))]
    OtherPlace(Kind, Kind),
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

/// The flags that say where an account of `kind` has its models.
fn place_flags(kind: Kind) -> &'static str {
    match kind {
        Kind::Vertex => "--vertex-project and --vertex-location",
        Kind::Bedrock => "--bedrock-region",
        Kind::OpenAi
        | Kind::AzureOpenAi
        | Kind::Anthropic
        | Kind::Gemini
        | Kind::OpenAiCompatible
        | Kind::AnthropicCompatible => "flag of a place",
    }
}

/// The provider's hosts and what its paths begin with, checked.
#[derive(Clone, Debug)]
pub(super) struct Base {
    scheme: Scheme,
    /// The host that calls go to.
    pub authority: Authority,
    /// Without a slash at the end.
    path: String,
    /// Where the list of models is, in the same way.
    models: (Authority, String),
}

impl Base {
    pub(super) fn new(config: &ProxyConfig) -> Result<Self, ProxyConfigError> {
        let place = match &config.place {
            Some(place) if place.kind() != config.kind => {
                return Err(ProxyConfigError::OtherPlace(config.kind, place.kind()));
            }
            None if config.kind.has_place() => return Err(ProxyConfigError::NoPlace(config.kind)),
            place => place.as_ref(),
        };
        let default = || match place {
            Some(place) => Url::parse(&place.base_url()).ok(),
            None => Url::parse(config.kind.profile().default_base_url?).ok(),
        };
        let url = config.base_url.clone().or_else(default).ok_or(ProxyConfigError::NoBase(config.kind))?;
        let (scheme, authority, before) = checked(&url, config.allow_private)?;
        // Who names a host of their own may have the list there too, or not at all.
        let models = match place.filter(|_| config.base_url.is_none()) {
            None => (authority.clone(), before.clone()),
            Some(place) => {
                let url = Url::parse(&place.models_base_url()).map_err(|_| ProxyConfigError::Parts)?;
                let (_, authority, path) = checked(&url, config.allow_private)?;
                (authority, path)
            }
        };
        let path = before + &place.map(Place::path).unwrap_or_default();
        Ok(Self { scheme, authority, path, models })
    }

    /// Where a call to `path` goes; `None` where that is no path.
    pub(super) fn calls(&self, path: &str) -> Option<Uri> {
        self.uri(&self.authority, &format!("{}{path}", self.path))
    }

    /// Where the list of models at `path` is.
    pub(super) fn models(&self, path: &str) -> Option<Uri> {
        let (authority, before) = &self.models;
        self.uri(authority, &format!("{before}{path}"))
    }

    fn uri(&self, authority: &Authority, path: &str) -> Option<Uri> {
        let path = PathAndQuery::try_from(path).ok()?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(authority.clone());
        uri.path_and_query(path).build().ok()
    }
}

/// What of `url` may be called, its path without a slash at the end.
fn checked(url: &Url, allow_private: bool) -> Result<(Scheme, Authority, String), ProxyConfigError> {
    let scheme = match url.scheme() {
        "https" => Scheme::HTTPS,
        "http" if allow_private => Scheme::HTTP,
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
    if let Some(ip) = literal.filter(|ip| !allow_private && !is_public(*ip)) {
        return Err(ProxyConfigError::Address(ip));
    }
    let authority = url.authority().parse().map_err(|_| ProxyConfigError::Parts)?;
    Ok((scheme, authority, url.path().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str, allow_private: bool) -> Result<Base, ProxyConfigError> {
        of(Kind::OpenAiCompatible, Some(url), allow_private)
    }

    fn of(kind: Kind, url: Option<&str>, allow_private: bool) -> Result<Base, ProxyConfigError> {
        at(kind, url, None, allow_private)
    }

    fn at(
        kind: Kind,
        url: Option<&str>,
        place: Option<Place>,
        allow_private: bool,
    ) -> Result<Base, ProxyConfigError> {
        Base::new(&ProxyConfig {
            namespace: "n".into(),
            provider: "p".into(),
            kind,
            base_url: url.map(|url| url.parse().expect("a URL")),
            place,
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
    fn a_clouds_host_and_path_are_its_place() {
        let vertex = || {
            let (project, location) = ("p-1".parse().expect("one"), "europe-west4".parse().expect("one"));
            Some(Place::Vertex { project, location })
        };
        let bedrock = || Some(Place::Bedrock { region: "eu-west-1".parse().expect("one") });
        let path = "/v1/projects/p-1/locations/europe-west4";
        let vertex_host = "europe-west4-aiplatform.googleapis.com";
        for (kind, url, place, host, path, models) in [
            (
                Kind::Vertex,
                None,
                vertex(),
                vertex_host,
                path,
                "https://europe-west4-aiplatform.googleapis.com/l",
            ),
            (Kind::Vertex, Some("https://a.example/"), vertex(), "a.example", path, "https://a.example/l"),
            (
                Kind::Bedrock,
                None,
                bedrock(),
                "bedrock-runtime.eu-west-1.amazonaws.com",
                "",
                "https://bedrock.eu-west-1.amazonaws.com/l",
            ),
            (
                Kind::Bedrock,
                Some("https://vpce.example/x"),
                bedrock(),
                "vpce.example",
                "/x",
                "https://vpce.example/x/l",
            ),
        ] {
            let base = at(kind, url, place, false).expect("accepted");
            assert_eq!((base.authority.as_str(), base.path.as_str()), (host, path));
            assert_eq!(base.calls("/c").expect("a path"), format!("https://{host}{path}/c").as_str());
            assert_eq!(base.models("/l").expect("a path"), models);
        }
        for (kind, place, flag) in [
            (Kind::Vertex, None, "--vertex-project"),
            (Kind::Bedrock, None, "--bedrock-region"),
            (Kind::Vertex, bedrock(), "--bedrock-region"),
            (Kind::Bedrock, vertex(), "--vertex-location"),
            (Kind::OpenAi, bedrock(), "--bedrock-region"),
        ] {
            let error = at(kind, None, place, false).expect_err("refused").to_string();
            assert!(error.contains(kind.as_str()) && error.contains(flag), "{error}");
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
