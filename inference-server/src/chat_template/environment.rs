//! The sandbox: what a template may call, and how long.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};

use super::{filters, json};

/// The one template's name, as error messages show it.
pub(super) const NAME: &str = "chat_template";

/// Steps a render may take: templates seen in the wild take some tens a message, so this serves
/// conversations of ten thousand messages and ends a loop that would not in about a second.
const FUEL: u64 = 10_000_000;

/// Bytes a render may write: the largest request body and as much again.
pub(crate) const MAX_OUTPUT: usize = 64 << 20;

/// Marks errors that the template raised itself.
const RAISED: &str = "raise_exception";

/// An environment in which templates written for `transformers` run, and nothing outside it can be had.
pub(super) fn sandbox() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    set_clock(&mut environment, jiff::Timestamp::now);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("indent", filters::indent);
    // In Python `none` is not iterable, and templates ask before they take the length of `tools`.
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    // What transformers sets; templates count on it for their line breaks.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment
}

/// `source` without the statements that mark an answer for training. They write what is between them and
/// nothing else, which is what the `if true` in their place does, white space control included.
pub(super) fn without_training_marks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        plain.push_str(before);
        plain.push_str("{%");
        let Some((statement, tail)) = after.split_once("%}") else {
            rest = after;
            break;
        };
        let replaced = match statement.trim_matches(['-', '+']).trim() {
            "generation" => statement.replace("generation", "if true"),
            "endgeneration" => statement.replace("endgeneration", "endif"),
            _ => statement.to_owned(),
        };
        plain.push_str(&replaced);
        plain.push_str("%}");
        rest = tail;
    }
    plain + rest
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, RAISED).with_source(Raised(message)))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// What the template said when it raised an exception.
pub(super) fn raised(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(Raised(words)) = inner.downcast_ref() {
            return Some(words.clone());
        }
        source = inner.source();
    }
    None
}

/// Has templates ask `now` for the date, in UTC: a server's own time zone would only tell where it stands.
pub(super) fn set_clock(
    environment: &mut Environment<'static>,
    now: impl Fn() -> jiff::Timestamp + Send + Sync + 'static,
) {
    environment.add_function("strftime_now", move |format: String| {
        jiff::fmt::strtime::format(&format, now())
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
    });
}

/// Takes what a template writes, up to the limit.
#[derive(Debug, Default)]
pub(super) struct LimitedOutput(Vec<u8>);

impl LimitedOutput {
    /// The text; `None` only if the template's bytes were no text, which minijinja rules out.
    pub(super) fn into_text(self) -> Option<String> {
        String::from_utf8(self.0).ok()
    }
}

impl io::Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("too much output"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
