use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use tokio::time::Instant;
use weighbridge_crds::SecretKey;

use super::Certificate;
use crate::apply::{CallError, Caller};
use crate::certificates::{LeafData, LeafFacts};
use crate::validate::KeyLookup;

/// A Secret that could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("Secret {namespace}/{name} could not be looked at: {source}")]
pub struct SecretError {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    #[source]
    pub source: CallError,
}

/// Looks for keys of Secrets, by name only.
///
/// A watch would need `list` and `watch` on Secrets, and either shows the value of every Secret there is, narrowed
/// or not; `get` shows what a spec names. So a missing Secret is asked for again after a while.
pub struct Secrets {
    client: Client,
    caller: Caller,
    certificates: Mutex<HashMap<String, (Instant, LeafFacts)>>,
}

/// How long a certificate that was read is known. Reconciles come in swarms, a dozen for a model that starts, and each would
/// read it.
const KNOWN: Duration = Duration::from_secs(30);

impl Secrets {
    /// Looks through `caller`.
    pub fn new(client: Client, caller: Caller) -> Self {
        Secrets { client, caller, certificates: Mutex::default() }
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// The apiserver did not say.
    pub async fn look(&self, namespace: &str, named: &SecretKey) -> Result<KeyLookup, SecretError> {
        let found = readable(self.get(namespace, &named.name).await)?;
        Ok(seen(found.as_ref(), &named.key))
    }

    /// Whether each of `named` is there, all of one Secret, which is asked for once.
    ///
    /// # Errors
    /// The apiserver did not say.
    pub async fn look_for(
        &self,
        namespace: &str,
        named: &[SecretKey],
    ) -> Result<Vec<KeyLookup>, SecretError> {
        let Some(first) = named.first() else { return Ok(Vec::new()) };
        let found = readable(self.get(namespace, &first.name).await)?;
        Ok(named.iter().map(|named| seen(found.as_ref(), &named.key)).collect())
    }

    /// What a Secret holds in the place of a certificate for the pods of the object with UID `parent`, as it was within
    /// [`KNOWN`].
    ///
    /// # Errors
    /// The apiserver did not say.
    pub async fn certificate(
        &self,
        namespace: &str,
        name: &str,
        parent: &str,
    ) -> Result<Certificate, SecretError> {
        if let Some((read, facts)) = self.certificates().get(parent)
            && read.elapsed() < KNOWN
        {
            return Ok(Certificate::Needed(Some(facts.clone())));
        }
        let secret = match readable(self.secret::<LeafData>(namespace, name).await)? {
            Looked::Found(secret) => secret,
            Looked::Missing => return Ok(Certificate::Needed(None)),
            Looked::Forbidden => return Ok(Certificate::Forbidden),
        };
        let facts = secret.data.facts();
        // One that an object of the same name has left behind goes with it: it is looked at each time until it has.
        let owners = secret.metadata.owner_references.iter().flatten();
        if facts.certificate.is_some() && owners.into_iter().any(|owner| owner.uid == parent) {
            let mut known = self.certificates();
            known.retain(|_, (read, _)| read.elapsed() < KNOWN);
            known.insert(parent.to_owned(), (Instant::now(), facts.clone()));
        }
        Ok(Certificate::Needed(Some(facts)))
    }

    /// The certificate of `parent` is another now.
    pub fn forget(&self, parent: &str) {
        self.certificates().remove(parent);
    }

    fn certificates(&self) -> MutexGuard<'_, HashMap<String, (Instant, LeafFacts)>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values of a Secret, as far as `D` reads them.
    async fn get<D>(&self, namespace: &str, name: &str) -> Result<Option<D>, SecretError>
    where
        D: Clone + Debug + Default + DeserializeOwned + 'static,
    {
        Ok(self.secret(namespace, name).await?.map(|secret| secret.data))
    }

    async fn secret<D>(&self, namespace: &str, name: &str) -> Result<Option<SecretView<D>>, SecretError>
    where
        D: Clone + Debug + Default + DeserializeOwned + 'static,
    {
        let api: Api<SecretView<D>> = Api::namespaced(self.client.clone(), namespace);
        let found = self.caller.read("Secret", Box::pin(api.get_opt(name))).await;
        found.map_err(|source| SecretError { namespace: namespace.to_owned(), name: name.to_owned(), source })
    }
}

/// What came of reading a Secret.
enum Looked<T> {
    Found(T),
    Missing,
    Forbidden,
}

impl<T> Looked<T> {
    fn as_ref(&self) -> Looked<&T> {
        match self {
            Looked::Found(found) => Looked::Found(found),
            Looked::Missing => Looked::Missing,
            Looked::Forbidden => Looked::Forbidden,
        }
    }
}

/// That a Secret may not be read is an answer, which people can change; any other failure is none.
fn readable<T>(read: Result<Option<T>, SecretError>) -> Result<Looked<T>, SecretError> {
    match read {
        Ok(Some(found)) => Ok(Looked::Found(found)),
        Ok(None) => Ok(Looked::Missing),
        Err(error) if error.source.status().is_some_and(|status| status.code == 403) => Ok(Looked::Forbidden),
        Err(error) => Err(error),
    }
}

fn seen(data: Looked<&BTreeMap<String, Presence>>, key: &str) -> KeyLookup {
    match data {
        Looked::Missing => KeyLookup::SecretMissing,
        Looked::Forbidden => KeyLookup::Forbidden,
        Looked::Found(data) => match data.get(key) {
            Some(Presence::Filled) => KeyLookup::Present,
            Some(Presence::Empty) | None => KeyLookup::KeyMissing,
        },
    }
}

/// A Secret as this process reads it: most values are looked over while parsing and never stored.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "D: Default + DeserializeOwned")]
struct SecretView<D> {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    data: D,
}

/// All that is seen of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is none.
    Empty,
    /// There is one.
    Filled,
}

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Glance;
        impl Visitor<'_> for Glance {
            type Value = Presence;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, value: &str) -> Result<Presence, E> {
                Ok(if value.is_empty() { Presence::Empty } else { Presence::Filled })
            }
        }
        deserializer.deserialize_str(Glance)
    }
}

impl<D> Resource for SecretView<D> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_seen_and_not_kept() {
        let text = r#"{"metadata":{"name":"s"},"data":{"full":"Y2FuYXJ5","empty":""},"type":"Opaque"}"#;
        let secret: SecretView<BTreeMap<String, Presence>> = serde_json::from_str(text).unwrap();
        assert_eq!(secret.data.get("full"), Some(&Presence::Filled));
        assert_eq!(secret.data.get("empty"), Some(&Presence::Empty));
        assert!(!format!("{secret:?}").contains("Y2FuYXJ5"));
    }

    #[test]
    fn of_a_certificate_the_key_is_seen_and_not_kept() {
        let text = |key: &str| {
            format!(
                r#"{{"metadata":{{"name":"s"}},"data":{{"tls.crt":"AAAA","tls.key":"{key}","ca.crt":"YQ=="}}}}"#
            )
        };
        let secret: SecretView<LeafData> = serde_json::from_str(&text("Y2FuYXJ5")).unwrap();
        assert!(!format!("{secret:?}").contains("Y2FuYXJ5"));
        let facts = secret.data.facts();
        assert_eq!((facts.certificate, facts.bundle.as_str()), (None, "a"), "no certificate");
        let empty: SecretView<LeafData> = serde_json::from_str(r#"{"metadata":{"name":"s"}}"#).unwrap();
        assert_eq!(empty.data.facts().bundle, "");
    }
}
