//! Who calls, and what they may call.
//!
//! Pure but for [`follow`]: a snapshot of keys that is swapped whole, asked with a request's headers and the time. Keys
//! are here only as what they hash to, and what a caller sent is neither kept nor shown: no type here that holds it
//! has `Debug`. No dialect's error is made here; that is `weighbridge-wire`'s.

mod caller;
mod cluster;
mod digest;
mod keys;
mod presented;
mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::HeaderMap;
use k8s_openapi::jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use weighbridge_crds::ModelAccess;
use weighbridge_wire::canonical::Failure;

pub(crate) use caller::Caller;
pub use cluster::follow;
pub use digest::Digest;
use keys::Keys;
use refusal::{Refusal, RefusalLabels};

use crate::metrics::Registry;

/// Who may call. Clones share one state.
#[derive(Clone, Debug)]
pub struct Access {
    rule: Rule,
    refusals: Family<RefusalLabels, Counter>,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Every caller passes, and bare names are looked up in this namespace.
    Open(Arc<str>),
    /// A key is asked for.
    Keys(Arc<State>),
}

#[derive(Debug, Default)]
struct State {
    keys: ArcSwap<Keys>,
    synced: AtomicBool,
}

impl Access {
    /// Every caller passes, keys are not looked at, and a bare model name is looked up in `default_namespace`. For one
    /// machine's loopback address only.
    pub fn open(default_namespace: &str) -> Self {
        Self::with(Rule::Open(default_namespace.into()))
    }

    /// Nobody passes until the source was read ([`Access::replace`]).
    pub fn unsynced() -> Self {
        Self::with(Rule::Keys(Arc::default()))
    }

    /// Who holds a key of `accesses` passes.
    pub fn from_resources(accesses: &[ModelAccess]) -> Self {
        let access = Self::unsynced();
        access.replace(accesses);
        access
    }

    fn with(rule: Rule) -> Self {
        Self { rule, refusals: Family::default() }
    }

    /// Replaces what is known; requests under way go on. Does nothing to one that is open.
    pub fn replace(&self, accesses: &[ModelAccess]) {
        if let Rule::Keys(state) = &self.rule {
            state.keys.store(Arc::new(Keys::new(accesses)));
            state.synced.store(true, Ordering::Release);
        }
    }

    /// Whether the source was read once. Stays true when it is lost: the last state holds on.
    pub fn is_synced(&self) -> bool {
        match &self.rule {
            Rule::Open(_) => true,
            Rule::Keys(state) => state.synced.load(Ordering::Acquire),
        }
    }

    /// Whether a key is asked for.
    pub fn is_enforced(&self) -> bool {
        matches!(self.rule, Rule::Keys(_))
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// What is wrong with the key, and the fix; never the key.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Failure> {
        let state = match &self.rule {
            Rule::Open(namespace) => return Ok(Caller::anyone(namespace)),
            Rule::Keys(state) => state,
        };
        if !self.is_synced() {
            return Err(self.refuse(Refusal::NotListed));
        }
        let keys = state.keys.load();
        keys.holder(headers, now).map(Caller::holder).map_err(|refusal| self.refuse(refusal))
    }

    /// Whether `caller` may call the model that it calls `name`. It is told the same of a model that is not there.
    ///
    /// # Errors
    /// The key may not.
    pub(crate) fn permit(&self, caller: &Caller, name: &str) -> Result<(), Failure> {
        match caller.grant() {
            Some(grant) if !caller.may_call(name) => {
                Err(self.refuse(Refusal::Model { key: grant.holder(), name: name.to_owned() }))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Failure {
        self.refusals.get_or_create(&refusal.labels()).inc();
        refusal.into_failure()
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        registry.register(
            "weighbridge_access_refusals",
            "Requests refused for their key, or for what it may not call",
            self.refusals.clone(),
        );
    }
}

#[cfg(test)]
mod tests;
