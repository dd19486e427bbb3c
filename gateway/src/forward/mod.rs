//! Talking to an upstream: one pooled client, bounded in time at every stage. Shared by both roles.
//!
//! A connection of HTTP/1 has no task: it is driven by the request that uses it (`connection`), and kept for the next
//! (`pool`). One of HTTP/2 carries many requests and has a task of its own.
//!
//! It sends what it is given and hands back what came. What an answer means is the caller's business.

mod body;
mod bounded;
mod client;
mod connection;
mod headers;
mod pieces;
mod pods;
mod pool;
mod trust;
mod turns;

pub(crate) use body::UpstreamBody;
pub(crate) use bounded::Bounded;
pub(crate) use client::{ForwardError, Upstream, chain, connector};
pub(crate) use headers::{
    ATTEMPTS, ATTEMPTS_USED, COMMON_REQUEST_HEADERS, COMMON_RESPONSE_HEADERS, FAILED_PATH, FAILURE,
    FailedAnswer, HOST, KEY, REQUEST_HEADERS, RESIDENCY_PATH, RESPONSE_HEADERS, Residency, WAIT, asked_wait,
    copy_allowed, error_type, unix_seconds,
};
pub(crate) use pieces::Pieces;
pub(crate) use pods::PodClient;
pub use trust::TrustError;
pub(crate) use trust::client_tls;
