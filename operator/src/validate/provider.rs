use std::num::NonZeroU16;

use url::{Host, Url};
use weighbridge_crds::address::{is_internal_name, is_public};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{ApiKey, DataPolicy, ExternalProvider, ExternalProviderSpec, ProviderKind, SecretKey};

use super::provider_place::{ProviderPlace, place};
use super::{KeyLookup, ProviderReferences, Refusal};
use crate::owner::Owner;

/// As the proxy has it.
const MAX_WEIGHT: u16 = 1000;

/// An ExternalProvider that a proxy can be made for.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedProvider {
    /// The provider itself.
    pub owner: Owner,
    /// Whose API it is.
    pub kind: ProviderKind,
    /// Where its API is; `None` for the kind's own address.
    pub base_url: Option<BaseUrl>,
    /// Where in its cloud its models are; exactly where its kind is a cloud.
    pub place: Option<ProviderPlace>,
    /// The keys that only its proxy mounts.
    pub keys: Vec<ProviderKey>,
    /// Whether the proxy may reach private addresses.
    pub allow_private: bool,
    /// What is demanded of the provider; the region's host is in `base_url` where that is what holds it.
    pub data_policy: Option<DataPolicy>,
}

/// One key of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// Where it is.
    pub secret: SecretKey,
    /// Its share of the requests, beside the others' weights.
    pub weight: NonZeroU16,
    /// Whether anybody looked for the Secret.
    pub seen: bool,
}

/// An absolute http(s) URL with no user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    port: u16,
}

impl BaseUrl {
    /// The URL as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The port that calls go to.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Checks a provider and the Secrets that it names.
///
/// # Errors
/// The field that can't be served, and what to write instead.
pub fn provider(
    provider: &ExternalProvider,
    found: &ProviderReferences,
) -> Result<ValidatedProvider, Refusal> {
    let owner = Owner::of(provider)?;
    let spec = &provider.spec;
    let regional = spec.data_policy.as_ref().map(|policy| demanded(spec, policy)).transpose()?.flatten();
    let base_url = spec.base_url.as_deref().or(regional.as_deref());
    let base_url = base_url.map(|text| self::base_url(text, spec.allow_private)).transpose()?;
    if base_url.is_none() && !spec.kind.has_address() {
        return Err(Refusal::invalid(format!(
            "baseURL is not set, and a provider of kind {} has no address of its own: set it, such as \
             https://api.example.com/v1",
            spec.kind.as_str()
        )));
    }
    let place = place(spec)?;
    if spec.api_keys.is_empty() {
        return Err(Refusal::invalid("apiKeys is empty: name a key of a Secret"));
    }
    let keys = spec.api_keys.iter().enumerate().map(|(index, key)| {
        let found = found.keys.get(index).copied().unwrap_or(KeyLookup::Unnamed);
        provider_key(index, key, found)
    });
    let keys = keys.collect::<Result<_, _>>()?;
    Ok(ValidatedProvider {
        owner,
        kind: spec.kind,
        base_url,
        place,
        keys,
        allow_private: spec.allow_private,
        data_policy: spec.data_policy.clone(),
    })
}

/// The base URL that `policy` demands, where it demands one. What can't be enforced is refused: the CRD's rules say the
/// same where there is an apiserver.
fn demanded(spec: &ExternalProviderSpec, policy: &DataPolicy) -> Result<Option<String>, Refusal> {
    let DataPolicy { region, retention, on_mismatch } = policy;
    let kind = spec.kind.as_str();
    if region.is_none() && retention.is_none() {
        return Err(Refusal::invalid("dataPolicy says nothing: set region or retention, or remove it"));
    }
    if retention.is_some() && !spec.kind.takes_retention() {
        return Err(Refusal::invalid(format!(
            "dataPolicy.retention: no request to a provider of kind {kind} can say that nothing is to be kept: leave it \
             out, and agree on it with the provider"
        )));
    }
    let Some(region) = region else {
        return match on_mismatch {
            Some(_) => Err(Refusal::invalid(
                "dataPolicy.onMismatch is about region, which is not set: set it, or remove onMismatch",
            )),
            None => Ok(None),
        };
    };
    if !spec.kind.takes_region() {
        return Err(Refusal::invalid(format!(
            "dataPolicy.region: no request to a provider of kind {kind} can name a region, and no answer says where it \
             was made, so that nothing would hold the provider to it: leave it out. A cloud is called in vertex.location or \
             bedrock.region, and nowhere else"
        )));
    }
    let regional = spec.kind.regional_base_url(region);
    if let (Some(regional), Some(written)) = (&regional, &spec.base_url) {
        let host = |url: &str| Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        if host(regional) != host(written) {
            return Err(Refusal::invalid(format!(
                "baseURL {written:?} is another place than dataPolicy.region {region:?}: leave baseURL out, and \
                 {regional} is called"
            )));
        }
    }
    Ok(regional)
}

fn provider_key(index: usize, named: &ApiKey, found: KeyLookup) -> Result<ProviderKey, Refusal> {
    let field = format!("apiKeys[{index}]");
    let weight = u16::try_from(named.weight).ok().and_then(NonZeroU16::new);
    let weight = weight.filter(|weight| weight.get() <= MAX_WEIGHT).ok_or_else(|| {
        Refusal::invalid(format!("{field}.weight is {}: write 1 to {MAX_WEIGHT}", named.weight))
    })?;
    let secret = named.secret_key();
    let seen = secret_key(&field, &secret, found)?;
    Ok(ProviderKey { secret, weight, seen })
}

fn base_url(text: &str, allow_private: bool) -> Result<BaseUrl, Refusal> {
    let example = "such as https://api.example.com/v1";
    let url = Url::parse(text)
        .map_err(|error| Refusal::invalid(format!("baseURL {text:?}: {error}; write a URL {example}")))?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain || url.host_str().is_none_or(str::is_empty) {
        return Err(Refusal::invalid(format!(
            "baseURL {text:?} must have a host and no user, query or fragment, {example}"
        )));
    }
    // As the proxy reads it, which may be another than the CRD's rule saw: a name's digits may be written in many scripts.
    let inside = match url.host() {
        Some(Host::Ipv4(ip)) => !is_public(ip.into()),
        Some(Host::Ipv6(ip)) => !is_public(ip.into()),
        Some(Host::Domain(name)) => is_internal_name(name),
        None => false,
    };
    if inside && !allow_private {
        return Err(Refusal::invalid(format!(
            "baseURL {text:?} leads to {}, which is loopback, private, link-local or of metadata, where a key must not be \
             sent: name a public host, or set allowPrivate: true for a server of your own",
            url.host_str().unwrap_or_default()
        )));
    }
    let port = match (url.scheme(), url.port_or_known_default()) {
        ("https", Some(port)) => port,
        ("http", Some(port)) if allow_private => port,
        ("http", _) => {
            return Err(Refusal::invalid(
                "baseURL without TLS would send the key in the clear: use https://, or set allowPrivate: true for a server of your own",
            ));
        }
        _ => return Err(Refusal::invalid(format!("baseURL {text:?} must begin with https://, {example}"))),
    };
    if port != 443 && !allow_private {
        return Err(Refusal::invalid(format!(
            "baseURL {text:?} names port {port}, but a proxy reaches public addresses on 443 only: \
             remove the port, or set allowPrivate: true for a server of your own"
        )));
    }
    Ok(BaseUrl { text: text.to_owned(), port })
}

/// Whether the key was seen rather than assumed.
pub(super) fn secret_key(field: &str, named: &SecretKey, found: KeyLookup) -> Result<bool, Refusal> {
    let SecretKey { name, key } = named;
    match found {
        KeyLookup::Present => Ok(true),
        KeyLookup::Assumed => Ok(false),
        KeyLookup::Unnamed | KeyLookup::SecretMissing => Err(Refusal::new(
            Reason::SecretNotFound,
            format!(
                "{field} names Secret {name:?}, which does not exist in this namespace: create it with the key {key:?}"
            ),
        )),
        KeyLookup::Forbidden => Err(Refusal::new(
            Reason::SecretsForbidden,
            format!(
                "{field} names Secret {name:?}, and the operator may read no Secret in this namespace: \
                 add the namespace to the chart's operator.secretNamespaces"
            ),
        )),
        KeyLookup::KeyMissing => Err(Refusal::new(
            Reason::SecretNotFound,
            format!(
                "{field} names key {key:?}, which Secret {name:?} does not have or has empty: add it, or name another key"
            ),
        )),
    }
}
