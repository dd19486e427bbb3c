use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use kube::runtime::controller::{self, Action, applier};
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;
use weighbridge_crds::{ExternalProvider, ModelCache};

use super::{Category, Context, ReconcileError, access, backoff, cache, model, provider};
use crate::watch::{Look, Queues, gathered};

/// Objects of one kind reconciled at once. A reconcile mostly waits for the apiserver, and this many calls in
/// flight keep a burst of a thousand moving without pushing other clients aside.
const CONCURRENCY: u16 = 32;

/// Runs the controllers until the watches end, and lets running reconciles finish.
pub async fn run(context: Arc<Context>, queues: Queues) {
    let Queues { models, providers, accesses, caches } = queues;
    let model_store = context.stores.models.clone();
    let provider_store = context.stores.providers.clone();
    let access_store = context.stores.accesses.clone();
    let cache_store = context.stores.caches.clone();
    tokio::join!(
        drive(model_store, models, Arc::clone(&context), async |object, context| model::reconcile(
            object, context
        )
        .await),
        drive(provider_store, providers, Arc::clone(&context), async |object, context| {
            provider::reconcile(object, context).await
        }),
        drive(access_store, accesses, Arc::clone(&context), async |object, context| {
            access::reconcile(object, context).await
        }),
        drive(cache_store, caches, Arc::clone(&context), async |object, context| {
            cache::reconcile(object, context).await
        }),
    );
}

async fn drive<K, R>(store: Store<K>, queue: mpsc::Receiver<Look<K>>, context: Arc<Context>, reconcile: R)
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    R: AsyncFn(Arc<K>, &Context) -> Result<Action, ReconcileError> + Clone,
{
    let requests = gathered(queue).map(Ok::<_, Infallible>);
    let results = applier(
        move |object: Arc<K>, context: Arc<Context>| {
            let reconcile = reconcile.clone();
            Box::pin(
                async move { observed(&*object, &context, reconcile(Arc::clone(&object), &context)).await },
            )
        },
        |object: Arc<K>, error: &ReconcileError, context: Arc<Context>| after(&*object, error, &context),
        Arc::clone(&context),
        store,
        requests,
        controller::Config::default().concurrency(CONCURRENCY),
    );
    results
        .for_each(async |result| {
            if let Err(error) = result {
                tell(&error, &context);
            }
        })
        .await;
}

/// Times and counts one reconcile, which does nothing in a process that does not lead, or has not seen every kind yet: what is
/// not listed is not known to be missing, and whoever leads looks at everything once all is.
async fn observed<K: Resource<DynamicType = ()>>(
    object: &K,
    context: &Context,
    reconcile: impl Future<Output = Result<Action, ReconcileError>>,
) -> Result<Action, ReconcileError> {
    if !context.leadership.holds() || !context.stores.is_synced() {
        return Ok(Action::await_change());
    }
    let began = Instant::now();
    let result = reconcile.await;
    let outcome = result.as_ref().map_or_else(|error| error.category().as_str(), |_| "ok");
    context.metrics.reconciled(&K::kind(&()), outcome, began.elapsed());
    if let Err(error) = &result {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        tracing::warn!(kind = %K::kind(&()), namespace, name, %error, outcome, "reconcile did not go through");
    }
    result
}

/// What comes after a failure: another try after a growing wait, or none where a change must come first.
fn after<K: Resource<DynamicType = ()>>(object: &K, error: &ReconcileError, context: &Context) -> Action {
    match error.category() {
        // Who begins to lead looks at everything, and a changed object comes by the watch.
        Category::NotLeading | Category::Invalid => Action::await_change(),
        Category::Conflict | Category::Timeout | Category::Api => {
            let namespace = object.namespace().unwrap_or_default();
            let key = backoff::key(&K::kind(&()), &namespace, &object.name_any());
            Action::requeue(context.backoff.failed(&key))
        }
    }
}

/// Failures of reconcile are told where they happen; what is left concerns the queue.
fn tell(error: &controller::Error<ReconcileError, Infallible>, context: &Context) {
    match error {
        controller::Error::ReconcilerFailed(_, _) => {}
        controller::Error::ObjectNotFound(object) => {
            let (kind, namespace) =
                (object.dyntype.kind.clone(), object.namespace.clone().unwrap_or_default());
            context.backoff.succeeded(&backoff::key(&kind, &namespace, &object.name));
            if kind == ExternalProvider::kind(&()) {
                context.proxies.forget(&namespace, &object.name);
            }
            if kind == ModelCache::kind(&()) {
                context.metrics.cache_gone(&namespace, &object.name);
            }
            tracing::debug!(%object, "gone before its turn");
        }
        controller::Error::QueueError(never) => match *never {},
        controller::Error::RunnerError(error) => tracing::error!(%error, "a controller could not start"),
    }
}
