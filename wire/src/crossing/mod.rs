//! What the dialects promise one another by way of the canonical form. Tests only: no dialect knows another, so what
//! holds between them has no other place.

mod custom;
mod door;
mod doubts;
mod loops;
mod streams;
mod totals;
mod unasked;

pub(crate) use door::{assembled, read_stream, write_stream};
pub(crate) use streams::{any_response, pieces};
