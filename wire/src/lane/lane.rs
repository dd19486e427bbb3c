//! What is kept of a request until its answer comes.

use super::{Inbound, Operation};
use crate::canonical::{Dialect, Envelope, ErrorAnswer, Failure, Field, Mint, Unsupported};
use crate::openai::embedding::EncodingFormat;
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::responses::Echo;
use crate::{anthropic, gemini, openai};

/// The way of one answer: how it is read, and how its client gets it.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(super) door: Operation,
    pub(super) upstream: Operation,
    /// The name that the caller used, which the answer repeats.
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// `None` where the answer passes as it came.
    pub(super) translation: Option<Translation>,
}

/// What an answer in another dialect needs of its request.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    pub(super) policy: Unsupported,
    /// What a Responses answer repeats.
    pub(super) echo: Option<Echo>,
    /// How an OpenAI client wants its vectors.
    pub(super) encoding: EncodingFormat,
    pub(super) estimated_input_tokens: u64,
}

/// What the gateway knows of an answer and this crate can't, having neither clock nor chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Unique to the answer, such as the request's own id; the dialect's prefix goes before it.
    pub unique: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Tokens of the prompt, where the upstream says so before it answers. Anthropic's clients are told at the start.
    pub prompt_tokens: Option<u64>,
}

impl Translation {
    pub(super) fn new(policy: Unsupported) -> Self {
        Self { policy, echo: None, encoding: EncodingFormat::default(), estimated_input_tokens: 0 }
    }

    pub(super) fn echo(&self) -> Echo {
        self.echo.clone().unwrap_or_else(|| Echo::of(&ResponsesRequest::default()))
    }
}

impl Lane {
    pub(super) fn raw(inbound: &Inbound<'_>) -> Self {
        Self::new(inbound, inbound.operation(), None)
    }

    pub(super) fn translated(inbound: &Inbound<'_>, upstream: Operation, translation: Translation) -> Self {
        Self::new(inbound, upstream, Some(translation))
    }

    fn new(inbound: &Inbound<'_>, upstream: Operation, translation: Option<Translation>) -> Self {
        Self {
            door: inbound.operation(),
            upstream,
            model: inbound.model().to_owned(),
            stream: inbound.stream(),
            include_usage: inbound.include_usage(),
            translation,
        }
    }

    /// What the client asked.
    pub fn door(&self) -> Operation {
        self.door
    }

    /// What the upstream was asked.
    pub fn upstream(&self) -> Operation {
        self.upstream
    }

    /// Whether the client asked for a stream.
    pub fn streams(&self) -> bool {
        self.stream
    }

    /// Whether the answer is translated; else it passes as it came.
    pub fn translates(&self) -> bool {
        self.translation.is_some()
    }

    /// Reads an error answer of the upstream's. `retry_after_seconds` is what its headers say; a body may say more.
    pub fn failure(&self, status: u16, retry_after_seconds: Option<u32>, body: &[u8]) -> Failure {
        self.in_the_doors_names(self::failure(self.upstream.dialect(), status, retry_after_seconds, body))
    }

    /// Names the field at fault as the caller knows it, where the upstream knows it by another name.
    fn in_the_doors_names(&self, failure: Failure) -> Failure {
        let (upstream, door) = (self.upstream.dialect(), self.door.dialect());
        let field = failure.param.as_deref().and_then(|param| Field::named(upstream, param));
        let Some(name) = field.map(|field| field.name(door)).filter(|_| upstream != door) else {
            return failure;
        };
        let own = failure.param.as_deref() == Some(name);
        let message =
            if own { failure.message } else { format!("{} (It is your `{name}`.)", failure.message) };
        Failure { message, param: Some(name.to_owned()), ..failure }
    }

    pub(super) fn envelope(&self, stamp: &Stamp) -> Envelope {
        let prefix = match self.door.dialect() {
            Dialect::OpenAiChat => "chatcmpl-",
            Dialect::OpenAiCompletions => "cmpl-",
            Dialect::OpenAiResponses => "resp_",
            Dialect::Anthropic => "msg_",
            Dialect::Gemini => "",
        };
        let Stamp { unique, created, prompt_tokens: _ } = stamp;
        Envelope { id: format!("{prefix}{unique}"), created: *created, model: self.model.clone() }
    }

    pub(super) fn mint(stamp: &Stamp) -> Mint {
        Mint::new(&stamp.unique)
    }
}

/// Reads an error answer of an upstream that speaks `dialect`. `retry_after_seconds` is what its headers say; a body may
/// say more.
pub fn failure(dialect: Dialect, status: u16, retry_after_seconds: Option<u32>, body: &[u8]) -> Failure {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => {
            openai::translate::error::to_canonical(status, retry_after_seconds, body)
        }
        Dialect::Anthropic => anthropic::error::to_canonical(status, retry_after_seconds, body),
        Dialect::Gemini => gemini::error::to_canonical(status, retry_after_seconds, body),
    }
}

/// The error answer for a client of `dialect`.
pub fn error(dialect: Dialect, failure: &Failure) -> ErrorAnswer {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => {
            openai::translate::error::from_canonical(failure)
        }
        Dialect::Anthropic => anthropic::error::from_canonical(failure),
        Dialect::Gemini => gemini::error::from_canonical(failure),
    }
}
