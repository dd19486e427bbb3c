//! TLS at the front door and between our own parts.
//!
//! A certificate lies in files, which are read again when they change ([`Reloaded`]): connections go on with what they
//! had, and new handshakes use the new. [`ServerTls`] is a server's side and [`ClientTls`] a client's; [`Identity`] says
//! who is who between our own parts. Nothing here serves HTTP, listens, connects, or issues a certificate.

pub mod args;
mod certificate;
mod client;
mod error;
mod file;
mod identity;
mod metrics;
mod pem;
mod reloaded;
mod server;

pub use certificate::{Facts, facts, facts_of_pem};
pub use client::{ClientFiles, ClientTls, client_of_pem};
pub use error::{HandshakeError, Problem, TlsError};
pub use file::{FileVersion, NamedFile};
pub use identity::{DOMAIN, Identity};
pub use metrics::{Certified, register};
pub use pem::{authorities, authorities_of};
pub use reloaded::Reloaded;
pub use server::{Accepted, Clients, Handshakes, PairFiles, ServerFiles, ServerTls};
