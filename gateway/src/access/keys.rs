//! The snapshot of keys.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use subtle::ConstantTimeEq as _;
use weighbridge_crds::{AccessKey, ModelAccess};

use super::Digest;
use super::caller::{Grant, Scope};
use super::presented::presented;
use super::refusal::Refusal;

/// Where an object without a namespace is: what kubectl and the apiserver make of it.
const DEFAULT_NAMESPACE: &str = "default";

/// Every key of one state of the cluster, or of one file.
#[derive(Debug, Default)]
pub(super) struct Keys {
    grants: HashMap<u64, Vec<Arc<Grant>>>,
    /// Whether there is a ModelAccess at all.
    any: bool,
}

impl Keys {
    /// A key that two ModelAccesses name belongs to the older one: nobody may draw another team's callers, and what
    /// they send, into a namespace of his own by naming their key's hash.
    pub(super) fn new(accesses: &[ModelAccess]) -> Self {
        let mut by_age: Vec<&ModelAccess> = accesses.iter().collect();
        by_age.sort_by_key(|access| {
            (access.creation_timestamp().map(|time| time.0), access.namespace(), access.name_any())
        });
        let mut keys = Self { grants: HashMap::new(), any: !accesses.is_empty() };
        for access in by_age {
            keys.add(access);
        }
        keys
    }

    fn add(&mut self, access: &ModelAccess) {
        let namespace = access.namespace().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let scope = Arc::new(Scope {
            access: format!("{namespace}/{}", access.name_any()),
            namespace,
            models: access.spec.models.iter().cloned().collect(),
        });
        for AccessKey { name, sha256, expires_at } in &access.spec.keys {
            let Some(digest) = Digest::parse(sha256) else {
                tracing::warn!(
                    access = scope.access,
                    key = name,
                    "a key's sha256 can't be read; it is left out"
                );
                continue;
            };
            if let Some(first) = self.find(&digest) {
                tracing::warn!(
                    access = scope.access,
                    key = name,
                    first = first.scope.access,
                    "a key is in an older ModelAccess already, which alone counts; it is left out"
                );
                continue;
            }
            let expires_at = expires_at.as_ref().map(|time| time.0);
            let grant = Grant { digest, expires_at, key_name: name.clone(), scope: Arc::clone(&scope) };
            self.grants.entry(digest.bucket()).or_default().push(Arc::new(grant));
        }
    }

    /// The key with this digest. What is found is compared whole, in constant time.
    fn find(&self, digest: &Digest) -> Option<&Arc<Grant>> {
        let mut bucket = self.grants.get(&digest.bucket())?.iter();
        bucket.find(|grant| grant.digest.ct_eq(digest).into())
    }

    /// The key that `headers` present, if it holds at `now`.
    pub(super) fn holder(&self, headers: &HeaderMap, now: Timestamp) -> Result<Arc<Grant>, Refusal> {
        if !self.any {
            return Err(Refusal::NoAccess);
        }
        let grant = self.find(&Digest::of(presented(headers)?)).ok_or(Refusal::UnknownKey)?;
        match grant.expires_at {
            Some(at) if at <= now => Err(Refusal::Expired { key: grant.holder(), at }),
            Some(_) | None => Ok(Arc::clone(grant)),
        }
    }
}
