//! Chat completions and the canonical form: requests, answers and streams, each both ways.

mod annotations;
mod calls;
mod calls_in;
mod messages_in;
mod messages_out;
mod reasoning;
mod remarks;
pub mod request;
mod request_out;
pub mod response;
mod response_out;
mod stream_in;
mod stream_out;

pub use stream_in::StreamReader;
pub use stream_out::StreamWriter;

#[cfg(test)]
mod tests;
