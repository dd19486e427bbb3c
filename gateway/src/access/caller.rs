//! Who calls.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use weighbridge_crds::EVERY_MODEL;
use weighbridge_crds::adapter::ADAPTER_SEPARATOR;

use super::Digest;

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Who);

#[derive(Clone, Debug)]
enum Who {
    /// Nobody asked. Bare names are looked up in this namespace.
    Anyone(Arc<str>),
    Holder(Arc<Grant>),
}

/// One key, and what its holder may call.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(super) digest: Digest,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) key_name: String,
    pub(super) scope: Arc<Scope>,
}

/// What the keys of one ModelAccess may call.
#[derive(Debug)]
pub(super) struct Scope {
    pub namespace: String,
    /// `namespace/name` of the ModelAccess.
    pub access: String,
    pub models: HashSet<String>,
}

impl Caller {
    pub(super) fn anyone(namespace: &Arc<str>) -> Self {
        Self(Who::Anyone(Arc::clone(namespace)))
    }

    pub(super) fn holder(grant: Arc<Grant>) -> Self {
        Self(Who::Holder(grant))
    }

    pub(super) fn grant(&self) -> Option<&Grant> {
        match &self.0 {
            Who::Anyone(_) => None,
            Who::Holder(grant) => Some(grant),
        }
    }

    /// Where a bare model name is looked up.
    pub(crate) fn namespace(&self) -> &str {
        match &self.0 {
            Who::Anyone(namespace) => namespace,
            Who::Holder(grant) => &grant.scope.namespace,
        }
    }

    /// `namespace/name` of the ModelAccess, for the log.
    pub(crate) fn access(&self) -> Option<&str> {
        self.grant().map(|grant| grant.scope.access.as_str())
    }

    /// Name of the key, for the log.
    pub(crate) fn key_name(&self) -> Option<&str> {
        self.grant().map(|grant| grant.key_name.as_str())
    }

    /// Whether it may call what it calls `name`: `namespace/model`, or bare in its own namespace.
    pub(crate) fn may_call(&self, name: &str) -> bool {
        let (namespace, name) = name.split_once('/').unwrap_or((self.namespace(), name));
        let (model, adapter) = match name.split_once(ADAPTER_SEPARATOR) {
            Some((model, adapter)) => (model, Some(adapter)),
            None => (name, None),
        };
        self.may_use(namespace, model, adapter)
    }

    /// Whether it may use `model` of `namespace`, with `adapter` on it. A model brings its adapters, and an adapter does
    /// not bring its model.
    pub(crate) fn may_use(&self, namespace: &str, model: &str, adapter: Option<&str>) -> bool {
        let Some(Grant { scope, .. }) = self.grant() else { return true };
        if namespace != scope.namespace {
            return false;
        }
        let named = |name: &str| scope.models.contains(name);
        named(EVERY_MODEL)
            || named(model)
            || adapter.is_some_and(|adapter| named(&weighbridge_crds::adapter::adapted_name(model, adapter)))
    }
}

impl Grant {
    /// How people know the key.
    pub(super) fn holder(&self) -> String {
        format!("The key `{}` of ModelAccess `{}`", self.key_name, self.scope.access)
    }
}
