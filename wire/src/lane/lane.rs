//! What is kept of a request until its answer comes.

use super::cloud::Cloud;
use super::{Inbound, Operation};
use crate::canonical::{Dialect, Envelope, ErrorAnswer, Failure, Field, Mint, Took, Unsupported};
use crate::openai::embedding::EncodingFormat;
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::responses::Echo;
use crate::{anthropic, bedrock, eventstream, gemini, openai, provider};

/// The way of one answer: how it is read, and how its client gets it.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(super) door: Operation,
    pub(super) upstream: Operation,
    /// The name that the caller used, which the answer repeats.
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// The cloud that the upstream is in, where it is in one.
    pub(super) cloud: Option<Cloud>,
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
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Unique to the answer, such as the request's own id; the dialect's prefix goes before it.
    pub unique: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// How long the request has taken so far, for answers that say it.
    pub took: Took,
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
    pub(super) fn raw(inbound: &Inbound<'_>, cloud: Option<Cloud>) -> Self {
        Self::new(inbound, inbound.operation(), cloud, None)
    }

    pub(super) fn translated(
        inbound: &Inbound<'_>,
        upstream: Operation,
        cloud: Option<Cloud>,
        translation: Translation,
    ) -> Self {
        Self::new(inbound, upstream, cloud, Some(translation))
    }

    fn new(
        inbound: &Inbound<'_>,
        upstream: Operation,
        cloud: Option<Cloud>,
        translation: Option<Translation>,
    ) -> Self {
        Self {
            door: inbound.operation(),
            upstream,
            model: inbound.model().to_owned(),
            stream: inbound.stream(),
            include_usage: inbound.include_usage(),
            cloud,
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

    /// Media type that the upstream's stream has.
    pub fn upstream_media_type(&self) -> &'static str {
        if self.unwraps() { eventstream::MEDIA_TYPE } else { self.upstream.stream_media_type() }
    }

    /// Media type of the client's stream; `None` where it is the upstream's own.
    pub fn client_media_type(&self) -> Option<&'static str> {
        (self.translates() || self.unwraps()).then(|| self.door.stream_media_type())
    }

    /// Whether the upstream wraps the events of its dialect's stream.
    pub(super) fn unwraps(&self) -> bool {
        self.cloud == Some(Cloud::Bedrock) && self.upstream.dialect() != Dialect::Converse
    }

    /// Reads an error answer of the upstream's.
    pub fn failure(&self, refusal: &Refusal<'_>) -> Failure {
        self.in_the_doors_names(refusal.of(self.cloud, self.upstream.dialect()))
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
            // Its answers have no name.
            Dialect::Gemini | Dialect::Converse => "",
        };
        let Stamp { unique, created, took: _, prompt_tokens: _ } = stamp;
        Envelope { id: format!("{prefix}{unique}"), created: *created, model: self.model.clone() }
    }

    pub(super) fn mint(stamp: &Stamp) -> Mint {
        Mint::new(&stamp.unique)
    }
}

/// An error answer, as an upstream gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Its status.
    pub status: u16,
    /// What [`crate::bedrock::error::TYPE_HEADER`] says that it is, which only AWS sends.
    pub kind: Option<&'a str>,
    /// How long its headers ask to wait; its body may say more.
    pub retry_after_seconds: Option<u32>,
    /// Its body.
    pub body: &'a [u8],
}

impl Refusal<'_> {
    /// What it comes to, said by a provider of this kind.
    pub fn by(&self, provider: provider::Kind) -> Failure {
        // All dialects of one kind have one error.
        let dialect = provider.profile().dialects.first().copied().unwrap_or(Dialect::OpenAiChat);
        self.of(Cloud::of(provider), dialect)
    }

    fn of(&self, cloud: Option<Cloud>, dialect: Dialect) -> Failure {
        let Self { status, kind, retry_after_seconds: wait, body } = *self;
        match (cloud, dialect) {
            (Some(Cloud::Bedrock), _) | (None, Dialect::Converse) => {
                bedrock::error::to_canonical(status, kind, wait, body)
            }
            // Google's own, or Claude's, which passes as its maker says it.
            (Some(Cloud::Vertex), _) if anthropic::error::is_one(body) => {
                anthropic::error::to_canonical(status, wait, body)
            }
            (Some(Cloud::Vertex), _) | (None, Dialect::Gemini) => {
                gemini::error::to_canonical(status, wait, body)
            }
            (None, Dialect::Anthropic) => anthropic::error::to_canonical(status, wait, body),
            (None, Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses) => {
                openai::translate::error::to_canonical(status, wait, body)
            }
        }
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
        Dialect::Converse => bedrock::error::from_canonical(failure),
    }
}
