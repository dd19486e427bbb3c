//! What a ModelCache's Jobs do: fetch into a cache that several pods share, and make room there. No model is opened.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ServeError;
use crate::artifact::{
    self, ArtifactRequest, EntryName, Evicted, Filled, Progress, ProgressSink, Resolver, SystemClock,
};
use crate::http::{self, AppState, Listener, Phase};
use crate::metrics::{EngineMetrics, Metrics};

/// Fetches what `request` means into its cache folder as the entry `name`. Says meanwhile at `admin` how far it is, as an
/// engine that starts does. Dropping the future stops at once; what was fetched is kept for the next try.
///
/// # Errors
/// [`ServeError`]: the port can't be had, or the source gave nothing.
pub async fn fetch(
    request: ArtifactRequest,
    name: &EntryName,
    admin: Option<SocketAddr>,
) -> Result<Filled, ServeError> {
    let metrics = Arc::new(Metrics::new(&EngineMetrics::default()));
    let state = Arc::new(AppState::new(Arc::clone(&metrics)));
    let _said = match admin {
        Some(address) => {
            let listener = Listener::bind(address, metrics).await?;
            let serving = listener.serve(http::admin(Arc::clone(&state)), CancellationToken::new());
            Some(AbortOnDropHandle::new(tokio::spawn(serving)))
        }
        None => None,
    };
    let sink: ProgressSink = Arc::new(move |progress| {
        let Progress { phase, bytes, total } = progress;
        state.enter(Phase::Fetching { step: phase.as_str(), bytes, total });
    });
    Ok(Resolver::default().fill(request, name, sink).await?)
}

/// Takes the entries `names`, and old ones that are none of `known`, out of the cache at `folder`.
///
/// # Errors
/// [`ServeError::Held`]: the folder does not work.
pub async fn evict(folder: &Path, names: &[EntryName], known: &[EntryName]) -> Result<Evicted, ServeError> {
    Ok(artifact::evict(folder, names, known, &SystemClock).await?)
}
