//! How many requests are open at once.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weighbridge_wire::canonical::Failure;

use crate::failure;

/// Bounds the requests open at once. Connections are bounded too, but one of HTTP/2 carries many.
#[derive(Clone, Debug)]
pub(crate) struct RequestSlots {
    slots: Arc<Semaphore>,
    full: Counter,
}

/// A request's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct RequestSlot(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl RequestSlots {
    pub(crate) fn new(most: usize, full: Counter) -> Self {
        Self { slots: Arc::new(Semaphore::new(most)), full }
    }

    /// A place, if there is one: callers do not queue here, since nothing would tell them how long.
    pub(crate) fn take(&self) -> Result<RequestSlot, Failure> {
        Arc::clone(&self.slots).try_acquire_owned().map(RequestSlot).map_err(|_| {
            self.full.inc();
            failure::overloaded("server_busy", "Too many requests are open. Try again shortly.", 1)
        })
    }
}
