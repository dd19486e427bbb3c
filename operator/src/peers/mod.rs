//! Calls to our own pods that tell the operator something: by mutual TLS, each side naming itself, on a connection that is kept
//! from question to question.
//!
//! `shown` is the certificate that the operator shows, `line` a connection, `ask` a question and the patience with whoever
//! does not answer. What an answer means is for those who ask: [`crate::proxies`], [`crate::gateways`].

mod ask;
mod line;
mod shown;

use std::net::SocketAddr;
use std::sync::Arc;

pub use ask::{AskError, Patience, Peer};
pub use line::LineError;
pub use shown::{Shown, ShownError};
use weighbridge_tls::Identity;

use crate::dial::Dial;

/// How pods are called, and what they are shown. Cheap to clone.
#[derive(Clone)]
pub struct Callers {
    dial: Arc<dyn Dial>,
    shown: Arc<Shown>,
}

impl Callers {
    /// Pods are called by `dial`, and see who asks by what is `shown`.
    pub fn new(dial: Arc<dyn Dial>, shown: Arc<Shown>) -> Self {
        Self { dial, shown }
    }

    /// Whoever answers as `identity` at `address`.
    pub fn peer(&self, identity: Identity, address: SocketAddr) -> Peer {
        Peer::new(self.clone(), identity, address)
    }
}
