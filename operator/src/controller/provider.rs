use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use weighbridge_crds::ExternalProvider;

use super::certificate::{self, Wanted};
use super::{Context, ReconcileError, next};
use crate::apply::Pass;
use crate::owner::Owner;
use crate::status::ProviderOutcome;
use crate::{apply, dereference, plan, status, validate};

/// Brings one ExternalProvider nearer to its spec, in the same five steps as a ModelDeployment.
///
/// Guarantees: writes nothing where nothing changed; without the key no pod is made, and a proxy that runs
/// already is left running.
pub async fn reconcile(provider: Arc<ExternalProvider>, context: &Context) -> Result<Action, ReconcileError> {
    if provider.metadata.deletion_timestamp.is_some() {
        context.proxies.forget(&provider.namespace().unwrap_or_default(), &provider.name_any());
        return Ok(Action::await_change());
    }
    let owner = Owner::of(&*provider).map_err(ReconcileError::Identify)?;

    let found = dereference::provider(&provider, &context.stores, &context.secrets, &context.proxies)
        .await
        .map_err(ReconcileError::Dereference)?;
    let judged = validate::provider(&provider, &found.references);
    let certificate = found.certificate.in_use(judged.is_ok() || !found.observed.deployments.is_empty());
    let mut pass = Pass::<ExternalProvider>::new(&context.means, &owner);
    let seen_to = certificate::see_to(context, &owner, certificate, Wanted::proxy(&owner), &mut pass).await;
    let (due, unmended) = certificate::told(seen_to)?;
    let outcome = match judged.and_then(|valid| unmended.map_or(Ok(valid), Err)) {
        Err(refusal) => Ok(ProviderOutcome::Refused(refusal)),
        Ok(valid) => {
            let plan = plan::provider(&valid, &context.images);
            let applied = apply::provider(&mut pass, &plan, &found.observed).await;
            applied.map(|children| ProviderOutcome::Applied {
                children: Box::new(children),
                revision: plan.revision,
            })
        }
    };
    // One Event for all of it, also before an error.
    context.means.events.changed(&owner, &pass.changes).await;
    let outcome = outcome
        .or_else(|error| error.refusal().map(ProviderOutcome::Refused).ok_or(ReconcileError::Apply(error)))?;
    update_status(&provider, &owner, &outcome, &found, context).await?;

    let refusal = match &outcome {
        ProviderOutcome::Refused(refusal) => Some(refusal),
        ProviderOutcome::Applied { .. } => None,
    };
    Ok(next(context, &owner, refusal, due, None))
}

async fn update_status(
    provider: &ExternalProvider,
    owner: &Owner,
    outcome: &ProviderOutcome,
    found: &dereference::Provider,
    context: &Context,
) -> Result<(), ReconcileError> {
    let wanted = status::provider(provider, outcome, &found.view, context.clock.now());
    let change =
        status::write_provider(&context.means, provider, &wanted).await.map_err(ReconcileError::Status)?;
    if let Some(change) = change {
        context.means.events.ready(owner, &change).await;
    }
    Ok(())
}
