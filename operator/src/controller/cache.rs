use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{EntryState, ModelCache};

use super::{Context, RESYNC, ReconcileError, backoff};
use crate::apply::Pass;
use crate::dereference::{self, Sources};
use crate::engines::Said;
use crate::metrics::CacheGauges;
use crate::owner::Owner;
use crate::status::CacheOutcome;
use crate::validate::Refusal;
use crate::watch::ParentKind;
use crate::{apply, plan, status, validate};

/// Brings one ModelCache nearer to its spec, in the same five steps as a ModelDeployment.
///
/// Guarantees: writes nothing where nothing changed; what is held stays where its spec is refused; what a pod uses does not go.
pub async fn reconcile(cache: Arc<ModelCache>, context: &Context) -> Result<Action, ReconcileError> {
    if cache.metadata.deletion_timestamp.is_some() {
        context.metrics.cache_gone(&cache.namespace().unwrap_or_default(), &cache.name_any());
        return Ok(Action::await_change());
    }
    let owner = Owner::of(&*cache).map_err(ReconcileError::Identify)?;

    let said = said(&owner, context);
    let from = Sources {
        client: &context.client,
        caller: &context.means.caller,
        stores: &context.stores,
        secrets: &context.secrets,
        said: &said,
    };
    let found = Box::pin(dereference::cache(&cache, &owner, &from)).await.map_err(ReconcileError::Look)?;
    let now = context.clock.now();
    let mut pass = Pass::<ModelCache>::new(&context.means, &owner);
    let (mut look_again, mut unwatched) = (None, found.lacks_secret);
    let outcome = match validate::cache(&cache, &found.references) {
        Err(refusal) => Ok(CacheOutcome::Refused(refusal)),
        Ok(valid) => {
            let plan = plan::cache(&valid, &found.observed, &context.images, now);
            look_again = plan.look_again;
            // A claim of somebody else is not watched.
            unwatched |= plan.trouble.is_some();
            let applied = apply::cache(&mut pass, &plan, &found.observed).await;
            applied.map(|children| {
                let seen = found.observed.claim.as_ref().map(|claim| claim.uid.clone());
                let claim = children.claim.map_or(seen, |claim| claim.uid());
                CacheOutcome::Applied { valid: Box::new(valid), plan: Box::new(plan), claim }
            })
        }
    };
    // One Event for all of it, also before an error.
    context.means.events.changed(&owner, &pass.changes).await;
    let outcome = outcome
        .or_else(|error| error.refusal().map(CacheOutcome::Refused).ok_or(ReconcileError::Apply(error)))?;
    let wanted = status::cache(&cache, &outcome, now);
    gauge(&owner, &outcome, wanted.bytes, context);

    let key = backoff::key(owner.kind(), owner.namespace(), owner.name());
    if let Some(later) = context.paces.wait_for_bytes(owner.uid(), cache.status.as_ref(), &wanted) {
        context.backoff.succeeded(&key);
        return Ok(Action::requeue(later));
    }
    let change =
        status::write_cache(&context.means, &cache, &wanted).await.map_err(ReconcileError::Status)?;
    if let Some(change) = change {
        context.means.events.ready(&owner, &change).await;
    }
    unwatched |= match &outcome {
        CacheOutcome::Refused(Refusal { reason, message: _ }) => {
            matches!(reason, Reason::ChildNotOwned | Reason::ChildRefused)
        }
        CacheOutcome::Applied { .. } => false,
    };
    if unwatched {
        return Ok(Action::requeue(context.backoff.failed(&key)));
    }
    context.backoff.succeeded(&key);
    let wait = look_again.map_or_else(|| backoff::jittered(RESYNC), |due| context.clock.until(due));
    Ok(Action::requeue(wait.min(RESYNC)))
}

/// What the pods that fetch say of how far they are, and how fast, by their names.
fn said(owner: &Owner, context: &Context) -> HashMap<String, (Said, Option<u64>)> {
    let (kind, namespace, name) = (ParentKind::Cache, owner.namespace(), owner.name());
    let said = context.engines.said(kind, namespace, name, &context.stores.pods.of(owner.uid()));
    let with_speed = |(pod, said): (String, Said)| {
        let speed = context.engines.speed(kind, namespace, name, &pod);
        (pod, (said, speed))
    };
    said.into_iter().map(with_speed).collect()
}

fn gauge(owner: &Owner, outcome: &CacheOutcome, held: i64, context: &Context) {
    let CacheOutcome::Applied { valid: _, plan, claim: _ } = outcome else { return };
    let sum = |values: &mut dyn Iterator<Item = i64>| values.fold(0, i64::saturating_add);
    let fetching = || plan.entries.iter().filter(|entry| entry.state == EntryState::Fetching);
    let missing = plan
        .entries
        .iter()
        .filter(|entry| entry.state != EntryState::Held && plan.wanted.contains(&entry.name));
    let gauges = CacheGauges {
        held,
        fetching: sum(&mut fetching().map(|entry| entry.bytes)),
        per_second: sum(&mut fetching().filter_map(|entry| entry.bytes_per_second)),
        waiting: i64::try_from(missing.count()).unwrap_or(i64::MAX),
    };
    context.metrics.cache(owner.namespace(), owner.name(), gauges);
}
