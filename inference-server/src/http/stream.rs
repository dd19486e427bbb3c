//! Answers as server-sent events: each token leaves at once, an error never leaves in silence.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use tokio::time::timeout;
use weighbridge_wire::openai::{ApiError, Usage};
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

/// What is left to do at the end of a stream.
pub(super) struct Ending {
    /// Tokens of all prompts, each counted once.
    pub(super) prompt_tokens: usize,
    pub(super) include_usage: bool,
}

struct Writer<D> {
    dialect: D,
    choices: Choices,
    record: Record,
    ending: Ending,
    begun: Vec<bool>,
    completion_tokens: usize,
    done: bool,
}

/// Waits for the first event, so that an early failure still has its own status, then streams.
///
/// # Errors
/// When the first event is a failure.
pub(super) async fn respond(
    dialect: impl Dialect,
    mut choices: Choices,
    count: usize,
    mut record: Record,
    ending: Ending,
) -> Result<Response, (ApiError, Record)> {
    let first = match choices.next().await {
        Some((_, Event::Failed(failure))) => return Err((error::from_generate(&failure), record)),
        None => return Err((ApiError::internal("The engine has stopped."), record)),
        Some(first) => first,
    };
    record.streaming();
    let begun = vec![false; count];
    let mut writer = Writer { dialect, choices, record, ending, begun, completion_tokens: 0, done: false };
    let opening = writer.write(Some(first));
    let frames = futures::stream::unfold((writer, Some(opening)), |(mut writer, opening)| async {
        if let Some(opening) = opening {
            return Some((Ok::<_, Infallible>(opening), (writer, None)));
        }
        let frame = writer.next_frame().await?;
        Some((Ok(frame), (writer, None)))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx buffers whole answers without it.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
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
        if self.ending.include_usage {
            let usage = Usage::new(self.ending.prompt_tokens as u64, self.completion_tokens as u64);
            sse::event(&self.dialect.usage(usage), frame);
        }
        sse::event(sse::DONE, frame);
        self.record.end(200);
        self.done = true;
    }
}
