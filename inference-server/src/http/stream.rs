//! Answers as server-sent events: each token leaves at once, an error never leaves in silence.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use tokio::time::timeout;
use weighbridge_wire::openai::{ApiError, PROMPT_TOKENS_HEADER, Usage};
use weighbridge_wire::sse;

use super::choices::{ChoiceEvent, Choices};
use super::error;
use super::record::Record;
use crate::engine::{Event, Finished, TokenEvent};
use crate::sampling::TokenLogprobs;

/// Silence after which a comment keeps the connection open: ingresses close idle ones from 30 s on.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How an endpoint writes its chunks, each a JSON text.
pub(super) trait Dialect: Send + 'static {
    /// What comes before a choice's first token.
    fn begin(&mut self, choice: usize, prompt: Option<Vec<Option<TokenLogprobs>>>) -> Option<String>;
    /// A token; `None` if it has nothing to show yet.
    fn token(&mut self, choice: usize, token: &TokenEvent) -> Option<String>;
    /// A choice's end: its last text, if any, and its reason.
    fn finish(&mut self, choice: usize, finished: &Finished) -> Vec<String>;
    /// The usage of all choices.
    fn usage(&mut self, usage: Usage) -> String;
}

/// A stream that has its first event, and with it a right to the status 200.
pub(super) struct BegunStream<D> {
    dialect: D,
    first: ChoiceEvent,
    choices: Choices,
    of: Asked,
}

/// What was asked for, as far as a stream has to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Choices of the answer.
    pub(super) choices: usize,
    /// Tokens of all prompts, each counted once.
    pub(super) prompt_tokens: usize,
    /// Whether a usage chunk ends the stream.
    pub(super) include_usage: bool,
}

/// Waits for the first event, so that an early failure still has its own status.
///
/// # Errors
/// When the first event is a failure.
pub(super) async fn begin<D: Dialect>(
    dialect: D,
    mut choices: Choices,
    of: Asked,
) -> Result<BegunStream<D>, ApiError> {
    match choices.next().await {
        Some((_, Event::Failed(failure))) => Err(error::from_generate(&failure)),
        None => Err(ApiError::internal("The engine has stopped.")),
        Some(first) => Ok(BegunStream { dialect, first, choices, of }),
    }
}

/// A begun stream of either dialect.
pub(super) trait Begun {
    /// The response, whose body notes in `record` how it ends.
    fn into_response(self: Box<Self>, record: Record) -> Response;
}

impl<D: Dialect> Begun for BegunStream<D> {
    fn into_response(self: Box<Self>, mut record: Record) -> Response {
        record.streaming();
        let BegunStream { dialect, first, choices, of } = *self;
        let begun = vec![false; of.choices];
        let mut writer = Writer { dialect, choices, record, of, begun, completion_tokens: 0, done: false };
        let opening = writer.write(Some(first));
        let frames = futures::stream::unfold((writer, Some(opening)), |(mut writer, opening)| async {
            let frame = match opening {
                Some(opening) if !opening.is_empty() => opening,
                _ => writer.next_frame().await?,
            };
            Some((Ok::<_, Infallible>(frame), (writer, None)))
        });
        let mut response = Response::new(Body::from_stream(frames));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        // Whoever meters may never see the usage, if its client leaves early.
        headers.insert(HeaderName::from_static(PROMPT_TOKENS_HEADER), HeaderValue::from(of.prompt_tokens));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx buffers whole answers without it.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }
}

struct Writer<D> {
    dialect: D,
    choices: Choices,
    record: Record,
    of: Asked,
    begun: Vec<bool>,
    completion_tokens: usize,
    done: bool,
}

impl<D: Dialect> Writer<D> {
    /// The bytes of the next event; `None` after the last. Never empty, for an empty frame ends a body.
    async fn next_frame(&mut self) -> Option<Bytes> {
        while !self.done {
            let frame = match timeout(KEEP_ALIVE, self.choices.next()).await {
                Ok(event) => self.write(event),
                Err(_) => {
                    let mut frame = Vec::new();
                    sse::comment("keep-alive", &mut frame);
                    Bytes::from(frame)
                }
            };
            if !frame.is_empty() {
                return Some(frame);
            }
        }
        None
    }

    fn write(&mut self, event: Option<ChoiceEvent>) -> Bytes {
        let mut frame = Vec::new();
        let Some((choice, event)) = event else {
            self.end(&mut frame);
            return Bytes::from(frame);
        };
        let chunks = match event {
            Event::Prompt(rows) => self.begin(choice, Some(rows)).into_iter().collect(),
            Event::Token(token) => {
                self.record.token(choice);
                self.begin(choice, None).into_iter().chain(self.dialect.token(choice, &token)).collect()
            }
            Event::Finished(finished) => {
                self.record.finished(choice, &finished);
                self.completion_tokens += finished.completion_tokens;
                let mut chunks: Vec<String> = self.begin(choice, None).into_iter().collect();
                chunks.extend(self.dialect.finish(choice, &finished));
                chunks
            }
            Event::Failed(failure) => {
                let error = error::from_generate(&failure);
                self.record.end(error.status);
                self.done = true;
                vec![String::from_utf8(error.to_json()).unwrap_or_default()]
            }
        };
        for chunk in chunks {
            sse::event(&chunk, &mut frame);
        }
        Bytes::from(frame)
    }

    fn begin(&mut self, choice: usize, prompt: Option<Vec<Option<TokenLogprobs>>>) -> Option<String> {
        let begun = self.begun.get_mut(choice)?;
        if std::mem::replace(begun, true) {
            return None;
        }
        self.dialect.begin(choice, prompt)
    }

    fn end(&mut self, frame: &mut Vec<u8>) {
        if self.of.include_usage {
            let usage = Usage::new(self.of.prompt_tokens as u64, self.completion_tokens as u64);
            sse::event(&self.dialect.usage(usage), frame);
        }
        sse::event(sse::DONE, frame);
        self.record.end(200);
        self.done = true;
    }
}
