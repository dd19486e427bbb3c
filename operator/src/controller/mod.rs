//! One controller a kind of ours: reconcile as five named calls, and what happens when one of them fails.
//!
//! No decision about children is made here, and nothing here talks to the apiserver by itself.

mod access;
mod backoff;
mod cache;
mod certificate;
mod error;
mod model;
mod provider;
mod run;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::Action;
use tokio::sync::watch;

pub use backoff::{Backoff, jittered};
pub use error::{Category, ReconcileError};
pub use run::run;

use crate::apply::{CALL_TIMEOUT, Means};
use crate::certificates::Issuer;
use crate::clock::Clock;
use crate::dereference::Secrets;
use crate::engines::Engines;
use crate::gateways::Gateways;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::owner::Owner;
use crate::plan::Images;
use crate::proxies::Proxies;
use crate::status::Paces;
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
    /// What engines say of their start.
    pub engines: Engines,
    /// What gateways route.
    pub gateways: Gateways,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Counters.
    pub metrics: Metrics,
    /// What every plan leans on.
    pub images: Images,
    /// Waits of objects that failed.
    pub backoff: Backoff,
    /// How often the status of a model that starts is written.
    pub paces: Paces,
    /// What time it is.
    pub clock: Clock,
    /// What signs certificates, once it is known.
    pub issuer: watch::Receiver<Option<Arc<Issuer>>>,
}

impl Context {
    /// What signs certificates, if it is known.
    fn issuer(&self) -> Option<Arc<Issuer>> {
        self.issuer.borrow().clone()
    }

    /// What signs certificates, after a wait if need be: who has just begun to lead reads or makes it in one or two calls.
    async fn issuer_soon(&self) -> Option<Arc<Issuer>> {
        let mut issuer = self.issuer.clone();
        let known = tokio::time::timeout(CALL_TIMEOUT, issuer.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }
}

/// A look at everything now and then, though nothing was seen to change: Secrets are not watched, and a watch may
/// in theory lose an event. It writes nothing where nothing changed.
const RESYNC: Duration = Duration::from_secs(600);

/// Between two looks at a certificate that is nearly due.
const LEAST_WAIT: Duration = Duration::from_secs(2);

/// What comes after a reconcile that went through, of an object whose certificate is `due`, and which is to be looked at again
/// `later`: a status waits, or a step of a trial has its end.
fn next(
    context: &Context,
    owner: &Owner,
    refusal: Option<&Refusal>,
    due: Option<Timestamp>,
    later: Option<Duration>,
) -> Action {
    let key = &backoff::key(owner.kind(), owner.namespace(), owner.name());
    let resync = due.map_or(RESYNC, |due| until(due).min(RESYNC));
    if let Some(later) = later {
        context.backoff.succeeded(key);
        return Action::requeue(later);
    }
    match refusal.map(|refusal| refusal.reason) {
        // Nothing tells us when these are mended: Secrets and others' objects are not watched.
        Some(
            Reason::SecretNotFound | Reason::SecretsForbidden | Reason::ChildNotOwned | Reason::ChildRefused,
        ) => Action::requeue(context.backoff.failed(key)),
        // Whatever mends these is watched, and a child's own state passes by the watches too. Pods of an older spec may run
        // on, and their certificate is seen to.
        Some(_) if due.is_none() => {
            context.backoff.succeeded(key);
            Action::await_change()
        }
        Some(_) | None => {
            context.backoff.succeeded(key);
            Action::requeue(backoff::jittered(resync))
        }
    }
}

/// How long it is until `due`. Jitter takes up to half off, and looks come closer together as it nears; at least a second
/// apart.
fn until(due: Timestamp) -> Duration {
    let left = due.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().max(LEAST_WAIT)
}
