use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use weighbridge_crds::ModelAccess;

use super::{Context, RESYNC, ReconcileError, jittered};
use crate::status;

/// Says of one ModelAccess which of its models are not there and which of its keys have ended. It owns nothing, so that
/// there is nothing to plan or to apply: gateways read its spec themselves.
///
/// Guarantees: writes nothing where nothing changed.
pub async fn reconcile(access: Arc<ModelAccess>, context: &Context) -> Result<Action, ReconcileError> {
    if access.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = access.namespace();
    let models = context.stores.models.state_filter(|model| model.namespace() == namespace);
    let models: Vec<_> = models.iter().map(AsRef::as_ref).collect();
    let now = context.clock.now();
    let wanted = status::access(&access, &models, now);
    status::write_access(&context.means, &access, &wanted).await.map_err(ReconcileError::Status)?;
    // No watch tells when a key ends. A second later it has, whatever the clocks say of the moment itself.
    let end = status::next_end(&access, now).and_then(|end| Duration::try_from(end.duration_since(now)).ok());
    let end = end.map(|end| end.saturating_add(Duration::from_secs(1)));
    Ok(Action::requeue(end.map_or_else(|| jittered(RESYNC), |end| end.min(RESYNC))))
}
