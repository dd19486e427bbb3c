//! What every dialect's readers and writers have in common.

use super::{Event, Failure, FailureClass, Inexpressible};

/// A message with what had to be left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated<T> {
    /// The message.
    pub message: T,
    /// What was dropped, by the sender's names.
    pub dropped: Vec<String>,
}

/// A message of a dialect that does not make sense, though it parses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct Unreadable {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Unreadable {
    /// `field` does not make sense because of `problem`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The failure to answer with, where a caller's request is meant.
    pub fn to_failure(&self) -> Failure {
        let mut failure = Failure::new(FailureClass::BadRequest, self.to_string());
        failure.param = Some(self.field.clone());
        failure
    }
}

/// What the one who answers says about an answer, since this crate has neither clock nor chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Name of the answer, such as `chatcmpl-…`; the dialect's usual prefix is the caller's affair.
    pub id: String,
    /// When, in seconds since 1970.
    pub created: i64,
    /// The model's public name.
    pub model: String,
}

/// An error as a dialect sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after_seconds: Option<u32>,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads an upstream's stream. Its framing is its own affair: server-sent events, or a JSON array.
pub trait ReadStream {
    /// Takes the next bytes, cut anywhere, and appends the events they complete. What can't be read becomes an
    /// [`Event::Error`], after which nothing more is appended.
    fn read(&mut self, bytes: &[u8], events: &mut Vec<Event>);

    /// The connection ended. Appends `End`, or an error where the answer was not whole.
    fn finish(&mut self, events: &mut Vec<Event>);
}

/// Writes a stream for a client.
pub trait WriteStream {
    /// Appends the bytes of `event`, which may be none.
    ///
    /// # Errors
    /// Where the dialect can't say it and the caller did not say to drop. The stream is then broken off with an
    /// [`Event::Error`] of [`Inexpressible::to_failure`].
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible>;

    /// What was dropped so far.
    fn dropped(&self) -> &[String];
}
