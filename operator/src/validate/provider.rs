use url::Url;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{ExternalProvider, ProviderKind, SecretKey};

use super::{KeyLookup, ProviderReferences, Refusal};
use crate::owner::Owner;

/// An ExternalProvider that a proxy can be made for.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedProvider {
    /// The provider itself.
    pub owner: Owner,
    /// Where its API is.
    pub base_url: BaseUrl,
    /// The key that only its proxy mounts.
    pub key: SecretKey,
    /// Whether the proxy may reach private addresses.
    pub allow_private: bool,
    /// Whether anybody looked for the Secret.
    pub key_seen: bool,
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

/// Checks a provider and the Secret that it names.
///
/// # Errors
/// The field that can't be served, and what to write instead.
pub fn provider(
    provider: &ExternalProvider,
    found: ProviderReferences,
) -> Result<ValidatedProvider, Refusal> {
    let owner = Owner::of(provider)?;
    let spec = &provider.spec;
    match spec.kind {
        ProviderKind::OpenAICompatible => {}
    }
    let base_url = base_url(&spec.base_url, spec.allow_private)?;
    let key_seen = secret_key("apiKeySecret", &spec.api_key_secret, found.key)?;
    Ok(ValidatedProvider {
        owner,
        base_url,
        key: spec.api_key_secret.clone(),
        allow_private: spec.allow_private,
        key_seen,
    })
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
        KeyLookup::KeyMissing => Err(Refusal::new(
            Reason::SecretNotFound,
            format!(
                "{field} names key {key:?}, which Secret {name:?} does not have or has empty: add it, or name another key"
            ),
        )),
    }
}
