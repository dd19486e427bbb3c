//! What is particular to each kind of provider: where its API is, what it takes and how it is paid for with a key.
//!
//! A table in words: [`Kind::profile`] is one entry a kind, [`Kind::forwarded`] writes a request's path as the
//! provider has it. Messages and their translation are the dialects' folders; nothing is sent from here.

mod data_policy;
mod kind;
mod model_list;
mod path;
mod profile;
mod speaks;

pub use data_policy::{DataPolicy, Evidence, Mismatch};
pub use kind::{Kind, UnknownKind};
pub use model_list::{ModelPage, OfferedModel};
pub use profile::{KeyHeader, Paths, Profile};
