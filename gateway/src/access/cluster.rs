//! Keys as the cluster's ModelAccesses name them.

use futures::{FutureExt, Stream, StreamExt};
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{Config, Event};
use weighbridge_crds::{ModelAccess, ModelAccessSpec};

use super::Access;
use crate::directory::cluster::{Known, changes};

/// Changes taken together before a new snapshot is made.
const BATCH: usize = 512;

/// Who the cluster's ModelAccesses let in, and the future that follows them. It ends only when dropped: with the
/// apiserver gone it tries again, ever less often, while the last state holds.
pub fn follow(client: Client) -> (Access, impl Future<Output = ()> + Send + 'static) {
    let access = Access::unsynced();
    let changes = changes::<ModelAccess, _>(&client, Config::default(), |event| event);
    (access.clone(), keep(access, changes))
}

async fn keep(access: Access, mut changes: impl Stream<Item = Event<DeserializeGuard<ModelAccess>>> + Unpin) {
    let mut known = Known::<ModelAccess>::default();
    while let Some(event) = changes.next().await {
        known.apply(shut(event));
        for _ in 0..BATCH {
            let Some(Some(event)) = changes.next().now_or_never() else { break };
            known.apply(shut(event));
        }
        if known.is_listed() {
            let accesses: Vec<ModelAccess> = known.iter().map(|(_, access)| access.clone()).collect();
            access.replace(&accesses);
        }
    }
}

/// A ModelAccess that can't be read lets nobody in: its last readable state may name keys that were taken out since.
fn shut(event: Event<DeserializeGuard<ModelAccess>>) -> Event<DeserializeGuard<ModelAccess>> {
    let closed = |guard: DeserializeGuard<ModelAccess>| {
        DeserializeGuard(Ok(match guard.0 {
            Ok(access) => access,
            Err(invalid) => {
                let (namespace, name) = (&invalid.metadata.namespace, &invalid.metadata.name);
                tracing::warn!(?namespace, ?name, error = %invalid.error, "a ModelAccess can't be read; it lets nobody in");
                let spec = ModelAccessSpec { keys: Vec::new(), models: Vec::new() };
                ModelAccess { metadata: invalid.metadata, spec, status: None }
            }
        }))
    };
    match event {
        Event::InitApply(guard) => Event::InitApply(closed(guard)),
        Event::Apply(guard) => Event::Apply(closed(guard)),
        Event::Delete(_) | Event::Init | Event::InitDone => event,
    }
}
