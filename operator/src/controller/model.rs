use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use weighbridge_crds::ModelDeployment;

use super::certificate::{self, Wanted};
use super::{Context, ReconcileError, next};
use crate::apply::Pass;
use crate::engines::Said;
use crate::owner::Owner;
use crate::status::ModelOutcome;
use crate::validate::{Header, Place, Served, ValidatedModel};
use crate::watch::ParentKind;
use crate::{apply, dereference, plan, status, validate};

/// Brings one ModelDeployment nearer to its spec:
/// 1. dereference (client): what the spec names, and the children there are;
/// 2. validate (pure): types that carry the proof;
/// 3. plan (pure): children wanted, each decision with its reason;
/// 4. apply (client): makes it so;
/// 5. update status (client): says how it is.
///
/// The certificate of its pods is planned and applied first, and also where the spec is refused: pods of an older one run on.
///
/// Guarantees: writes nothing where nothing changed; a spec that can't be served takes nothing down, unless it says so by
/// `suspend`.
pub async fn reconcile(model: Arc<ModelDeployment>, context: &Context) -> Result<Action, ReconcileError> {
    if model.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let owner = Owner::of(&*model).map_err(ReconcileError::Identify)?;

    let Context { stores, secrets, proxies, gateways, .. } = context;
    let mut pass = Pass::<ModelDeployment>::new(&context.means, &owner);
    // Boxed: with the rest of it, it makes a large future.
    let names = Box::pin(dereference::model(&model, stores, secrets, &context.means, proxies, gateways));
    let found = if model.status.is_none() {
        // Nobody has looked at it before: all of it is to be made.
        futures::join!(names, pass.look_ahead()).0
    } else {
        names.await
    };
    let mut found = found.map_err(ReconcileError::Look)?;
    found.observed.now = context.clock.now();
    let judged = validate::model(&model, &found.references, Place::Cluster);
    let certificate = found.certificate.in_use(judged.is_ok() || !found.observed.deployments.is_empty());
    let seen_to = certificate::see_to(context, &owner, certificate, Wanted::engines(&owner), &mut pass).await;
    let (due, unmended) = certificate::told(seen_to)?;
    let mut step_ends = None;
    let outcome = match judged.and_then(|valid| unmended.map_or(Ok(valid), Err)) {
        Err(refusal) => {
            // Taking out of service needs nothing of what the spec can't give.
            let plan = if model.spec.suspend {
                plan::suspended(&owner, &found.observed)
            } else {
                let replicas = model.spec.open_weights.as_ref().map(|_| model.spec.replicas);
                plan::refused(&owner, replicas, &found.observed)
            };
            apply::model(&mut pass, &plan, &found.observed).await.map(|_| ModelOutcome::Refused(refusal))
        }
        Ok(valid) => {
            let plan = plan::model(&valid, &found.observed, &context.images);
            let applied = apply::model(&mut pass, &plan, &found.observed).await;
            step_ends = plan.due;
            applied.map(|children| match plan.waits {
                Some(waits) => ModelOutcome::Refused(waits),
                None => ModelOutcome::Applied {
                    said: said(&valid, &owner, &found, context),
                    model: Box::new(valid),
                    children: Box::new(children),
                    revision: plan.revision,
                    rollout: plan.rollout.map(Box::new),
                    waiting: plan.waiting,
                    missing: plan.missing,
                },
            })
        }
    };
    // One Event for all of it, also before an error.
    context.means.events.changed(&owner, &pass.changes).await;
    let outcome = outcome
        .or_else(|error| error.refusal().map(ModelOutcome::Refused).ok_or(ReconcileError::Apply(error)))?;
    // Boxed for the same reason.
    let later = Box::pin(update_status(&model, &owner, &outcome, &found, context)).await?;

    let refusal = match &outcome {
        ModelOutcome::Refused(refusal) => Some(refusal),
        ModelOutcome::Applied { .. } => None,
    };
    let later = step_ends.map(|end| context.clock.until(end)).into_iter().chain(later).min();
    Ok(next(context, &owner, refusal, due, later))
}

/// What the engines of the pods say of their start.
fn said(
    valid: &ValidatedModel,
    owner: &Owner,
    found: &dereference::Model,
    context: &Context,
) -> HashMap<String, Said> {
    let pods = match &valid.served {
        Served::Open(_) => &found.observed.pods[..],
        Served::Closed(_) => &[],
    };
    context.engines.said(ParentKind::Model, owner.namespace(), owner.name(), pods)
}

/// Says how the model is; or how long that waits, where it only says how far a start is.
async fn update_status(
    model: &ModelDeployment,
    owner: &Owner,
    outcome: &ModelOutcome,
    found: &dereference::Model,
    context: &Context,
) -> Result<Option<Duration>, ReconcileError> {
    let known = match &found.references.header {
        Header::Inspected(known) => &known[..],
        Header::Here(_) => &[],
    };
    let (provider, now) = (found.provider.as_ref(), context.clock.now());
    let wanted = status::model(model, outcome, &found.observed, known, provider, now);
    if let Some(later) = context.paces.wait(owner.uid(), model.status.as_ref(), &wanted) {
        return Ok(Some(later));
    }
    let changes =
        status::write_model(&context.means, model, &wanted).await.map_err(ReconcileError::Status)?;
    for change in &changes {
        context.means.events.ready(owner, change).await;
    }
    Ok(None)
}
