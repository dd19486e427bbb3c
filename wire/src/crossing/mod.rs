//! What the dialects promise one another by way of the canonical form. Tests only: no dialect knows another, so what
//! holds between them has no other place.

mod door;
mod doubts;
mod loops;
mod streams;
mod totals;
