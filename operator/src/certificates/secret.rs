use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use weighbridge_tls::{Facts, facts_of_pem};

use super::{Authority, Leaf, Trust};
use crate::dereference::Presence;

/// Type of every Secret of ours.
const TLS: &str = "kubernetes.io/tls";
/// A certificate, in PEM, as that type has it.
const CERTIFICATE: &str = "tls.crt";
/// Its key, likewise.
const KEY: &str = "tls.key";
/// Authorities to trust, in PEM.
const BUNDLE: &str = "ca.crt";
/// What is read of a Secret with a leaf: never the key, but whether there is one.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeafData {
    #[serde(rename = "tls.crt")]
    certificate: Option<ByteString>,
    #[serde(rename = "tls.key")]
    key: Option<Presence>,
    #[serde(rename = "ca.crt")]
    bundle: Option<ByteString>,
}

/// What a Secret holds in the place of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    /// What the certificate says; `None` where it can't be read, or its key is missing.
    pub certificate: Option<Facts>,
    /// The authorities that are trusted with it.
    pub bundle: String,
}

impl LeafData {
    /// Of a whole Secret.
    pub(super) fn of(secret: &Secret) -> Self {
        let value = |name: &str| secret.data.as_ref()?.get(name).cloned();
        let presence =
            |value: ByteString| if value.0.is_empty() { Presence::Empty } else { Presence::Filled };
        Self { certificate: value(CERTIFICATE), key: value(KEY).map(presence), bundle: value(BUNDLE) }
    }

    /// What it holds.
    pub fn facts(&self) -> LeafFacts {
        let bytes =
            |value: &Option<ByteString>| value.as_ref().map(|value| value.0.clone()).unwrap_or_default();
        let readable = facts_of_pem(&bytes(&self.certificate)).ok();
        LeafFacts {
            certificate: readable.filter(|_| self.key == Some(Presence::Filled)),
            bundle: String::from_utf8(bytes(&self.bundle)).unwrap_or_default(),
        }
    }
}

/// A Secret with `leaf`, and whom to trust.
pub fn leaf_secret(metadata: ObjectMeta, leaf: &Leaf, trust: &Trust) -> Secret {
    tls(metadata, [(CERTIFICATE, &leaf.certificate), (KEY, &leaf.key), (BUNDLE, &trust.bundle)])
}

/// A Secret with `authorities`, the newest first.
pub(super) fn authority_secret(metadata: ObjectMeta, authorities: &[Authority]) -> Secret {
    let entries: Vec<_> = authorities
        .iter()
        .enumerate()
        .flat_map(|(place, authority)| {
            let (certificate, key) = names(place);
            [(certificate, authority.certificate.clone()), (key, authority.key())]
        })
        .collect();
    tls(metadata, entries.iter().map(|(name, text)| (name.as_str(), text)))
}

/// The authorities of such a Secret, the newest first; `None` where something in it can't be read.
pub(super) fn authorities(secret: &Secret) -> Option<Vec<Authority>> {
    let data = secret.data.as_ref()?;
    let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
    let places = (0..).take_while(|place| *place == 0 || data.contains_key(&names(*place).0));
    places
        .map(|place| {
            let (certificate, key) = names(place);
            Authority::read(text(&certificate)?, &text(&key)?).ok()
        })
        .collect()
}

/// Under which names an authority is: the newest as the Secret's type has it, older ones behind.
fn names(place: usize) -> (String, String) {
    match place {
        0 => (CERTIFICATE.to_owned(), KEY.to_owned()),
        place => (format!("previous-{place}.crt"), format!("previous-{place}.key")),
    }
}

fn tls<'a>(metadata: ObjectMeta, entries: impl IntoIterator<Item = (&'a str, &'a String)>) -> Secret {
    let data: BTreeMap<_, _> = entries
        .into_iter()
        .map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())))
        .collect();
    Secret { metadata, type_: Some(TLS.to_owned()), data: Some(data), ..Secret::default() }
}
