//! What is read of an upstream's answer that passes as it came: enough to rename the model, to meter, and to tell an
//! answer from a failure. One file a dialect; nothing is written here.

mod anthropic;
mod gemini;
mod openai;
mod responses;

use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use self::anthropic::Anthropic;
use self::gemini::Gemini;
use super::Operation;
use crate::canonical::{Dialect, Failure, FailureClass, Usage};
use crate::edit::span;

/// What an event or a whole answer says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Where the model's name lies in the text.
    pub model: Option<Range<usize>>,
    /// It says something that a client acts on.
    pub meaningful: bool,
    /// It brings text, thinking or a piece of a call.
    pub speaks: bool,
    /// What was used so far.
    pub usage: Option<Usage>,
    /// Where the answer is made.
    pub place: Option<Arc<str>>,
    /// It says the usage and nothing else.
    pub only_usage: bool,
    /// It ends the answer.
    pub ends: bool,
}

/// Reads the events of one stream.
#[derive(Debug)]
pub(super) enum Reader {
    /// Chat completions and completions.
    OpenAi(Dialect),
    Responses,
    Anthropic(Anthropic),
    Gemini(Gemini),
}

impl Reader {
    pub(super) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiCompletions => Self::OpenAi(dialect),
            Dialect::OpenAiResponses => Self::Responses,
            Dialect::Anthropic => Self::Anthropic(Anthropic::default()),
            Dialect::Gemini => Self::Gemini(Gemini::default()),
        }
    }

    /// Reads an event.
    ///
    /// # Errors
    /// The failure that it states, or that it can't be read.
    pub(super) fn event(&mut self, name: Option<&str>, data: &str) -> Result<Seen, Failure> {
        match self {
            Self::OpenAi(dialect) => openai::event(data, *dialect),
            Self::Responses => responses::event(name, data),
            Self::Anthropic(anthropic) => anthropic.event(name, data),
            Self::Gemini(gemini) => gemini.event(data),
        }
    }

    /// Whether the answer is whole though no event ended it: Gemini's ends with its connection.
    pub(super) fn is_whole_at_close(&self) -> bool {
        match self {
            Self::OpenAi(_) | Self::Responses | Self::Anthropic(_) => false,
            Self::Gemini(gemini) => gemini.is_whole(),
        }
    }
}

/// Reads a whole answer that came with a status of success.
///
/// # Errors
/// The failure that it states in spite of its status, or that it is no answer.
pub(super) fn whole(operation: Operation, body: &[u8]) -> Result<Seen, Failure> {
    let dialect = operation.dialect();
    let text = std::str::from_utf8(body).map_err(|error| unreadable(dialect, &error.to_string()))?;
    match operation {
        Operation::ChatCompletions | Operation::Completions | Operation::Embeddings | Operation::Rerank => {
            openai::whole(operation, text)
        }
        Operation::Responses => responses::whole(text),
        Operation::Messages | Operation::CountMessageTokens => anthropic::whole(operation, text),
        Operation::GenerateContent
        | Operation::StreamGenerateContent { .. }
        | Operation::CountTokens
        | Operation::EmbedContent
        | Operation::BatchEmbedContents => gemini::whole(operation, text),
    }
}

/// An upstream's answer that makes no sense. It is we who say so, and so the failure has no origin.
pub(super) fn unreadable(dialect: Dialect, problem: &str) -> Failure {
    let message = format!("The upstream's answer is no {dialect}: {problem}.");
    let code = Some("upstream_invalid_response".to_owned());
    Failure { code, ..Failure::new(FailureClass::Upstream, message) }
}

/// Whether a field is there and says something.
fn says(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| !matches!(value.get(), "null" | r#""""#))
}

/// Where a name lies that is a string.
fn name_span(text: &str, name: Option<&RawValue>) -> Option<Range<usize>> {
    name.filter(|name| name.get().starts_with('"')).map(|name| span(text, name))
}
