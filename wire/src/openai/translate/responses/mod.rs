//! Responses and the canonical form: requests, answers and the event machine, each both ways.
//!
//! Nothing is stored here: `previous_response_id`, `store: true` and items by reference are refused by name.

mod annotations;
mod builder;
mod content_in;
mod content_out;
mod items_in;
mod items_out;
mod markers;
mod open_item;
pub mod request;
mod request_out;
pub mod response;
mod stream_in;
mod stream_out;
pub mod usage;

pub use builder::Echo;
pub(crate) use response::failure_of_answer;
pub use stream_in::StreamReader;
pub(crate) use stream_in::failure_of_event;
pub use stream_out::StreamWriter;

#[cfg(test)]
mod tests;
