//! One controller a kind of ours: reconcile as five named calls, and what happens when one of them fails.
//!
//! No decision about children is made here, and nothing here talks to the apiserver by itself.

mod access;
mod backoff;
mod error;
mod model;
mod provider;
mod run;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::runtime::controller::Action;

pub use backoff::{Backoff, jittered};
pub use error::{Category, ReconcileError};
pub use run::run;

use crate::apply::Means;
use crate::dereference::Secrets;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::owner::Owner;
use crate::plan::Images;
use crate::proxies::Proxies;
use crate::validate::Refusal;
use crate::watch::Stores;
use weighbridge_crds::condition::Reason;

/// What the controllers share.
pub struct Context {
    /// The apiserver.
    pub client: Client,
    /// The operator's view of the cluster.
    pub stores: Arc<Stores>,
    /// What apply needs.
    pub means: Means,
    /// Looks for keys of Secrets.
    pub secrets: Secrets,
    /// What provider proxies say.
    pub proxies: Proxies,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Counters.
    pub metrics: Metrics,
    /// What every plan leans on.
    pub images: Images,
    /// Waits of objects that failed.
    pub backoff: Backoff,
}

/// A look at everything now and then, though nothing was seen to change: Secrets are not watched, and a watch may
/// in theory lose an event. It writes nothing where nothing changed.
const RESYNC: Duration = Duration::from_secs(600);

/// What comes after a reconcile that went through.
fn next(context: &Context, owner: &Owner, refusal: Option<&Refusal>) -> Action {
    let key = &backoff::key(owner.kind(), owner.namespace(), owner.name());
    match refusal.map(|refusal| refusal.reason) {
        // Nothing tells us when these are mended: Secrets and others' objects are not watched.
        Some(Reason::SecretNotFound | Reason::ChildNotOwned | Reason::ChildRefused) => {
            Action::requeue(context.backoff.failed(key))
        }
        // Whatever mends these is watched, and a child's own state passes by the watches too.
        Some(_) => {
            context.backoff.succeeded(key);
            Action::await_change()
        }
        None => {
            context.backoff.succeeded(key);
            Action::requeue(backoff::jittered(RESYNC))
        }
    }
}
