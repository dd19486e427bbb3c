//! The two lanes that a request takes from a client's dialect to an upstream's and back, as pure code over bytes: a
//! gateway moves the bytes, and acts on what is observed here.
//!
//! ```text
//!   path ──door──▶ Door ──read──▶ Inbound ──outbound(Speaks)──▶ Outbound { path, body, Lane }
//!                                                                              │
//!   client ◀── Whole ◀──whole───────────────────────────────────────────── Lane ◀── an answer
//!   client ◀── bytes ◀──push, finish── Stream ◀──stream──────────────────────┘  ◀── a stream
//! ```
//!
//! **The raw lane** is taken where the upstream takes the very operation that the client asks ([`Speaks::takes`]). The
//! body passes byte for byte: the order of keys, white space and fields that nobody here knows survive, and the prompt is
//! not copied. What changes are single values: the model's name, `stream_options.include_usage` where usage is not said
//! otherwise, and the fields that the caller sets. Back, the model's name is changed again, and everything else is only
//! looked at.
//!
//! **The translated lane** is taken everywhere else: the request is read whole into the canonical form and written in the
//! upstream's dialect ([`Speaks::asked`]), and the answer goes the same way back. What can't be said is refused by name
//! or dropped and reported. A request of the upstream's own dialect takes this lane too where it may hold something that
//! was sealed on its way through another dialect ([`crate::canonical::seal`]): a provider's signature inside a call's id
//! must be opened before any upstream sees it. Its answer passes raw.
//!
//! In either lane an answer that states a failure under a status of success is a [`crate::canonical::Failure`], and so is
//! a stream that ends before its answer does; neither reaches the client in the provider's words.
//!
//! Here lives what is the same for all dialects, what a cloud changes of them (`cloud`), and the little that is read of raw answers
//! (`raw`). What a dialect's
//! JSON means belongs into its own folder; connections, retries, clocks and HTTP belong to the gateway.

mod answer;
mod cloud;
mod door;
#[expect(clippy::module_inception, reason = "the type that the module is named after")]
mod lane;
mod operation;
mod raw;
mod request;
mod speaks;
mod stream;
#[cfg(test)]
mod tests;

pub use answer::Whole;
pub use door::{Door, door};
pub use lane::{Lane, Refusal, Stamp, error};
pub use operation::Operation;
pub use request::{Body, Inbound, Outbound, read};
pub use speaks::Speaks;
pub use stream::{Ended, Observed, Stream, StreamBounds, keep_alive};

use lane::Translation;
