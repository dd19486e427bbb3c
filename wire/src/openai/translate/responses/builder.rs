//! The event machine: canonical events in, Responses' events out, with the answer as far as it is there. A whole
//! answer is what the machine holds at the end, so streamed and unstreamed are one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::responses::{IncompleteDetails, ResponseObject, ResponsesRequest};
use super::super::error::api_error;
use super::super::logprobs;
use super::super::shared::takes_foreign;
use super::open_item::OpenItem;
use super::usage;
use crate::canonical::{
    Delta, Dialect, Envelope, Event, Failure, FailureClass, Field, Inexpressible, Logprobs, Losses, Mint,
    Opening, Place, Signature, Start, Stop, StopReason, Unsupported, Usage,
};

pub(super) const TARGET: Dialect = Dialect::OpenAiResponses;
const SERVER_ERROR: &str = "server_error";

/// What an answer repeats of its request.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo(Extra);

impl Echo {
    /// The fields of `request`, with OpenAI's defaults where it says nothing.
    pub fn of(request: &ResponsesRequest) -> Self {
        let given = |name: &str| request.extra.get(name).filter(|value| !value.is_null()).cloned();
        let or = |name: &str, default: Value| given(name).unwrap_or(default);
        let mut echo = Extra::new();
        let mut put = |name: &str, value: Value| echo.insert(name.to_owned(), value);
        put("background", json!(false));
        put("instructions", json!(request.instructions));
        put("max_output_tokens", json!(request.max_output_tokens));
        put("metadata", or("metadata", json!({})));
        put("parallel_tool_calls", or("parallel_tool_calls", json!(true)));
        put("previous_response_id", Value::Null);
        put("reasoning", or("reasoning", json!({"effort": null, "summary": null})));
        put("temperature", json!(request.temperature));
        put("text", or("text", json!({"format": {"type": "text"}})));
        put("tool_choice", or("tool_choice", json!("auto")));
        put("tools", or("tools", json!([])));
        put("top_p", json!(request.top_p));
        put("truncation", or("truncation", json!("disabled")));
        put("user", or("user", Value::Null));
        Self(echo)
    }

    /// Whether `name` is a field that an answer repeats, and so no news from an upstream.
    pub(super) fn holds(name: &str) -> bool {
        Self::of(&ResponsesRequest::default()).0.contains_key(name)
            || matches!(name, "max_tool_calls" | "prompt_cache_key" | "safety_identifier" | "top_logprobs")
    }
}

/// Collects events that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    sequence: u64,
    /// Type and data of each.
    pub events: Vec<(&'static str, Value)>,
}

impl Outbox {
    /// Adds an event; `fields` is an object.
    pub(super) fn send(&mut self, kind: &'static str, fields: Value) {
        let mut data = Extra::new();
        data.insert("type".into(), json!(kind));
        data.insert("sequence_number".into(), json!(self.sequence));
        if let Value::Object(fields) = fields {
            data.extend(fields);
        }
        self.sequence += 1;
        self.events.push((kind, Value::Object(data)));
    }
}

/// A block that begins with its first words.
#[derive(Debug)]
struct Waiting {
    block: u32,
    opening: Opening,
    signature: Option<Signature>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Builder {
    envelope: Envelope,
    echo: Extra,
    policy: Unsupported,
    pub losses: Losses,
    pub outbox: Outbox,
    mint: Mint,
    started: bool,
    /// Items that are whole.
    output: Vec<Value>,
    open: Option<OpenItem>,
    /// A text or refusal that has not said anything: one that never does is no part of a message.
    waiting: Option<Waiting>,
    /// Further answers, which were reported.
    choices_lost: BTreeSet<u32>,
    stop: Option<Stop>,
    usage: Option<Usage>,
}

impl Builder {
    pub(super) fn new(envelope: Envelope, echo: Echo, policy: Unsupported) -> Self {
        Self {
            mint: Mint::new(&envelope.id),
            envelope,
            echo: echo.0,
            policy,
            losses: Losses::of_answer(policy, TARGET, TARGET),
            outbox: Outbox::default(),
            started: false,
            output: Vec::new(),
            open: None,
            waiting: None,
            choices_lost: BTreeSet::new(),
            stop: None,
            usage: None,
        }
    }

    /// Takes the next event; blocks come one at a time.
    pub(super) fn take(&mut self, event: &Event) -> Result<(), Inexpressible> {
        match event {
            Event::Start(start) => self.start(start),
            Event::BlockStart { choice: 0, block, opening: opening @ (Opening::Text | Opening::Refusal) } => {
                self.waiting = Some(Waiting { block: *block, opening: opening.clone(), signature: None });
            }
            Event::BlockStart { choice: 0, block, opening } => self.begin(*block, opening)?,
            Event::BlockDelta { choice: 0, block: _, delta } => self.grow(delta)?,
            Event::BlockStop { choice: 0, block } => self.close_block(*block),
            Event::Logprobs { choice: 0, logprobs } => self.logprobs(logprobs),
            Event::Stop { choice: 0, stop } => {
                self.close_item();
                self.losses.waive_all(&stop.foreign);
                self.stop = Some(stop.clone());
            }
            // Nobody asked for another answer, since no request of this dialect can.
            Event::BlockStart { choice, .. }
            | Event::BlockDelta { choice, .. }
            | Event::BlockStop { choice, .. }
            | Event::Logprobs { choice, .. }
            | Event::Stop { choice, .. } => {
                if self.choices_lost.insert(*choice) {
                    self.losses.waive(format!("choices[{choice}]"));
                }
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => {}
            Event::Error(failure) => self.fail(failure),
            Event::End => {
                let (kind, status) = match self.incomplete() {
                    Some(_) => ("response.incomplete", "incomplete"),
                    None => ("response.completed", "completed"),
                };
                let response = self.response(status);
                self.outbox.send(kind, json!({"response": response}));
            }
        }
        Ok(())
    }

    fn start(&mut self, start: &Start) {
        let Start { origin, id: _, created: _, model: _, foreign } = start;
        self.losses = Losses::of_answer(self.policy, *origin, TARGET);
        let remarks = self.losses.remarks(foreign, |origin, name| takes_foreign(TARGET, origin, name));
        self.echo.extend(remarks);
        self.started = true;
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress");
            self.outbox.send(kind, json!({"response": response}));
        }
    }

    /// The answer as far as it is there.
    pub(super) fn response(&self, status: &str) -> ResponseObject {
        let ended = self.stop.is_some();
        ResponseObject {
            id: self.envelope.id.clone(),
            object: ResponseObject::OBJECT.to_owned(),
            created_at: Some(self.envelope.created.into()),
            status: Some(status.to_owned()),
            error: None,
            incomplete_details: self.incomplete(),
            model: self.envelope.model.clone(),
            output: self.output.clone(),
            usage: self.usage.filter(|_| ended).as_ref().map(usage::from_canonical),
            extra: self.echo.clone(),
        }
    }

    /// The whole answer.
    pub(super) fn into_response(self) -> (ResponseObject, Vec<String>) {
        let status = if self.incomplete().is_some() { "incomplete" } else { "completed" };
        (self.response(status), self.losses.into_dropped())
    }

    fn incomplete(&self) -> Option<IncompleteDetails> {
        let reason = match &self.stop.as_ref()?.reason {
            StopReason::MaxTokens | StopReason::ContextFull => "max_output_tokens",
            StopReason::ContentFilter | StopReason::Refusal => "content_filter",
            StopReason::EndTurn
            | StopReason::StopSequence
            | StopReason::ToolUse
            | StopReason::Pause
            | StopReason::Other(_) => return None,
        };
        Some(IncompleteDetails { reason: reason.to_owned() })
    }

    fn begin(&mut self, block: u32, opening: &Opening) -> Result<(), Inexpressible> {
        let speaks = matches!(opening, Opening::Text | Opening::Refusal);
        if !(speaks && matches!(self.open, Some(OpenItem::Message(_)))) {
            self.close_item();
        }
        let index = self.output.len();
        let place = Place::Answer { choice: 0, part: usize::try_from(block).unwrap_or_default() };
        let path = place.path(self.losses.origin());
        OpenItem::begin(
            &mut self.open,
            opening,
            index,
            &path,
            &mut self.mint,
            &mut self.outbox,
            &mut self.losses,
        )
    }

    fn grow(&mut self, delta: &Delta) -> Result<(), Inexpressible> {
        if let Some(Waiting { block, opening, mut signature }) = self.waiting.take() {
            let says = match delta {
                Delta::Text(text) | Delta::Refusal(text) => !text.is_empty(),
                Delta::Citation(_) => true,
                Delta::Signature(new) => {
                    signature = Some(new.clone());
                    false
                }
                Delta::Arguments(_) | Delta::Input(_) | Delta::Thinking(_) => false,
            };
            if !says {
                self.waiting = Some(Waiting { block, opening, signature });
                return Ok(());
            }
            self.begin(block, &opening)?;
            if let Some(signature) = signature {
                self.grow(&Delta::Signature(signature))?;
            }
        }
        let index = self.output.len();
        if let Some(open) = &mut self.open {
            open.grow(delta, index, &mut self.outbox);
        }
        Ok(())
    }

    fn close_block(&mut self, block: u32) {
        if let Some(Waiting { block: _, opening: _, signature }) = self.waiting.take() {
            self.text_signature(signature);
            return;
        }
        let place = Place::Answer { choice: 0, part: usize::try_from(block).unwrap_or_default() };
        let path = place.path(self.losses.origin());
        let index = self.output.len();
        let Some(open) = &mut self.open else { return };
        let signature = match open {
            OpenItem::Message(message) => {
                message.close_part(index, &path, &mut self.outbox, &mut self.losses)
            }
            OpenItem::Call(_) | OpenItem::Custom(_) | OpenItem::Own(_) | OpenItem::Reasoning(_) => {
                self.close_item();
                None
            }
        };
        self.text_signature(signature);
    }

    /// A text's signature has no place in a message: it follows in an item that a client sends back unread.
    fn text_signature(&mut self, signature: Option<Signature>) {
        if let Some(signature) = signature {
            self.close_item();
            self.open = Some(OpenItem::text_signature(
                &signature,
                self.output.len(),
                &mut self.mint,
                &mut self.outbox,
            ));
            self.close_item();
        }
    }

    fn close_item(&mut self) {
        if let Some(open) = self.open.take() {
            let item = open.close(self.output.len(), &mut self.outbox);
            self.output.push(item);
        }
    }

    fn logprobs(&mut self, new: &Logprobs) {
        // Responses has none for refusals.
        let Logprobs { content, refusal: _ } = new;
        let tokens: Vec<Value> = content.iter().map(|token| json!(logprobs::wire_token(token))).collect();
        let index = self.output.len();
        let tokens = match &mut self.open {
            Some(OpenItem::Message(message)) => message.logprobs(tokens, index, &mut self.outbox),
            Some(OpenItem::Call(_) | OpenItem::Custom(_) | OpenItem::Own(_) | OpenItem::Reasoning(_))
            | None => tokens,
        };
        // They came after their text, as in an answer that was not streamed.
        let texts = self.output.iter_mut().rev().filter_map(|item| item.get_mut("content")?.as_array_mut());
        let last = texts
            .flat_map(|parts| parts.iter_mut().rev())
            .find(|part| part.get("type").is_some_and(|kind| kind == "output_text"));
        match last.and_then(|part| part.get_mut("logprobs")) {
            Some(Value::Array(all)) => all.extend(tokens),
            Some(_) | None if tokens.is_empty() => {}
            Some(_) | None => self.losses.waive(Field::Logprobs.name(self.losses.origin())),
        }
    }

    /// `response.failed` has the answer's place; before there is one, it is an `error`.
    fn fail(&mut self, failure: &Failure) {
        let error = api_error(failure).body.error;
        if !self.started {
            let code = error.code.as_deref().unwrap_or(SERVER_ERROR);
            let fields = json!({"code": code, "message": error.message, "param": error.param});
            self.outbox.send("error", fields);
            return;
        }
        let mut response = self.response("failed");
        response.error = Some(json!({"code": code_of_answer(failure.class), "message": error.message}));
        response.incomplete_details = None;
        self.outbox.send("response.failed", json!({"response": response}));
    }
}

/// Of an answer that failed, the code: OpenAI has a closed list of them (`ResponseError` of its API's description), and
/// its clients hold to it.
fn code_of_answer(class: FailureClass) -> &'static str {
    match class {
        FailureClass::RateLimited | FailureClass::QuotaExhausted => "rate_limit_exceeded",
        FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::TooLarge
        | FailureClass::ContentBlocked => "invalid_prompt",
        FailureClass::ResidencyUnsatisfiable => "data_residency_mismatch",
        FailureClass::Credential
        | FailureClass::Forbidden
        | FailureClass::NotFound
        | FailureClass::Overloaded
        | FailureClass::Timeout
        | FailureClass::TruncatedStream
        | FailureClass::Upstream
        | FailureClass::Internal => SERVER_ERROR,
    }
}
