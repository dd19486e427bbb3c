//! Real clients against servers: which client, through which dialect, finds which promises kept.
//!
//! The clients are the programs of `tests/clients`; here they are run and what they say is laid out in one
//! table. What they ask for is theirs to know, what is behind the server is the caller's.

mod client;
mod summary;
mod table;
mod upstream;

pub use client::{CLIENTS, Client, Clients, Dialect, Server};
pub use table::{Cell, Outcome, Table};
pub use upstream::{Ability, Upstream};
