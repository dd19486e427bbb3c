//! A stream of chunks, read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::super::chat::{CustomDelta, FunctionDelta, ReasoningDetail, ToolCallDelta};
use super::super::super::{ChatLogprobs, Extra, FinishReason, Usage};
use super::super::view::take;
use super::super::{error, finish, logprobs, usage};
use super::annotations;
use super::calls_in::{Called, Calls};
use super::reasoning::{self, Piece};
use super::remarks;
use super::response::unreadable;
use crate::canonical::{
    Delta, Dialect, Event, Failure, ForeignField, Mint, Opening, ReadStream, Start, Stop, Unreadable,
    keep_foreign,
};
use crate::sse::{Decoder, Frame, is_done};

/// The largest event: one that holds a whole answer, twice over. Bounded, since a server may never end a line.
const MAX_FRAME_BYTES: usize = 8 << 20;

/// Reads the stream of an upstream that speaks chat completions, and is lenient with those that only imitate it:
/// absent indexes, ids and created times, and usage in every chunk, are all met in the wild.
#[derive(Debug)]
pub struct StreamReader {
    /// `None` once the stream has ended.
    decoder: Option<Decoder>,
    mint: Mint,
    started: bool,
    /// What the start said beside what is known here: most servers repeat it in every chunk.
    told: Extra,
    choices: BTreeMap<u32, Reading>,
}

/// A chunk, as much of it as every server has.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: String,
    #[serde(default)]
    created: Option<serde_json::Number>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    choices: Vec<ChunkChoice>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<WireDelta>,
    #[serde(default)]
    logprobs: Option<ChatLogprobs>,
    #[serde(default)]
    finish_reason: Option<FinishReason>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Default, Deserialize)]
struct WireDelta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(flatten)]
    extra: Extra,
}

/// One answer under way.
#[derive(Debug, Default)]
struct Reading {
    /// The number of the next block.
    next: u32,
    /// The block that is not a call and is open, and whether it has said anything.
    open: Option<(Kind, u32, bool)>,
    calls: Calls,
    /// What is said of the answer beside what is known here.
    remarks: Vec<ForeignField>,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
}

impl StreamReader {
    /// A reader; calls without an id get one from `mint`.
    pub fn new(mint: Mint) -> Self {
        Self {
            decoder: Some(Decoder::new(MAX_FRAME_BYTES)),
            mint,
            started: false,
            told: Extra::new(),
            choices: BTreeMap::new(),
        }
    }

    /// The same, refusing events of more bytes than this.
    #[must_use]
    pub fn limited(self, max_event_bytes: usize) -> Self {
        Self { decoder: Some(Decoder::new(max_event_bytes)), ..self }
    }

    fn frame(&mut self, frame: &Frame, events: &mut Vec<Event>) {
        let Some(data) = frame.data() else {
            events.push(Event::Ping);
            return;
        };
        let data = data.trim_ascii();
        if is_done(data) {
            self.end(events);
            return;
        }
        if let Err(failure) = self.chunk(data, events) {
            self.fail(failure, events);
        }
    }

    fn chunk(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        let chunk: Chunk =
            serde_json::from_slice(data).map_err(|problem| unreadable(&problem.to_string()))?;
        let Chunk { id, created, model, choices, usage, error, mut extra } = chunk;
        if let Some(error) = error {
            return Err(error::in_answer(error, Dialect::OpenAiChat));
        }
        // The type's name, and padding against those who read along.
        extra.retain(|name, _| name != "object" && name != "obfuscation");
        if !self.started {
            self.started = true;
            let mut foreign = Vec::new();
            self.told = extra.clone();
            keep_foreign("", std::mem::take(&mut extra), &mut foreign);
            let created = created.and_then(|created| created.as_i64());
            events.push(Event::Start(Start { origin: Dialect::OpenAiChat, id, created, model, foreign }));
        }
        extra.retain(|name, value| self.told.get(name) != Some(value));
        for choice in choices {
            let ChunkChoice { index, delta, logprobs, finish_reason, extra: of_choice } = choice;
            let reading = self.choices.entry(index).or_default();
            if reading.stopped {
                // Some servers say what their filters found after the end.
                continue;
            }
            remarks::keep("", std::mem::take(&mut extra), &mut reading.remarks);
            remarks::keep(&remarks::of_choice(index), of_choice, &mut reading.remarks);
            let mut says = Says { choice: index, reading, mint: &mut self.mint, events: &mut *events };
            says.delta(delta.unwrap_or_default()).map_err(|problem| unreadable(&problem.to_string()))?;
            if let Some(logprobs) = logprobs {
                let logprobs = logprobs::to_canonical(logprobs);
                says.events.push(Event::Logprobs { choice: index, logprobs });
            }
            if let Some(reason) = finish_reason {
                says.stop(reason).map_err(|problem| unreadable(&problem.to_string()))?;
            }
        }
        // Figures that make no sense do not spoil the answer.
        let usage = usage.and_then(|usage| serde_json::from_value::<Usage>(usage).ok());
        events.extend(usage.map(|usage| Event::Usage(usage::to_canonical(&usage))));
        Ok(())
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        if !self.started || self.choices.values().any(|reading| !reading.stopped) {
            self.fail(Failure::truncated(Dialect::OpenAiChat), events);
            return;
        }
        self.decoder = None;
        events.push(Event::End);
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.decoder = None;
        events.push(Event::Error(failure));
    }
}

impl ReadStream for StreamReader {
    fn read(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if let Some(decoder) = &mut self.decoder {
            decoder.push(bytes);
        }
        while let Some(decoder) = &mut self.decoder {
            match decoder.next_frame() {
                Ok(Some(frame)) => self.frame(&frame, events),
                Ok(None) => return,
                Err(problem) => self.fail(unreadable(&problem.to_string()), events),
            }
        }
    }

    /// Without `[DONE]` the stream is whole if every answer said why it ended, as OpenAI's client sees it.
    fn finish(&mut self, events: &mut Vec<Event>) {
        let last = self.decoder.take();
        let Some(decoder) = last else { return };
        // A last event may lack its blank line; one that is cut is none.
        let last = decoder.finish().filter(|frame| {
            let data = frame.data().unwrap_or_default();
            is_done(&data) || serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok()
        });
        if let Some(frame) = last {
            // It takes a decoder to be under way; this one has nothing left in it.
            self.decoder = Some(Decoder::new(MAX_FRAME_BYTES));
            self.frame(&frame, events);
            if self.decoder.take().is_none() {
                return;
            }
        }
        self.end(events);
    }
}

/// Turns one choice's delta into events.
struct Says<'a> {
    choice: u32,
    reading: &'a mut Reading,
    mint: &'a mut Mint,
    events: &'a mut Vec<Event>,
}

impl Says<'_> {
    fn delta(&mut self, delta: WireDelta) -> Result<(), Unreadable> {
        let WireDelta { content, refusal, mut extra } = delta;
        // Who speaks is the model.
        extra.shift_remove("role");
        self.thinking(&mut extra)?;
        if let Some(text) = content.filter(|text| !text.is_empty()) {
            self.say(Kind::Text, Delta::Text(text));
        }
        for citation in annotations::take_annotations(&mut extra, "delta")? {
            self.say(Kind::Text, Delta::Citation(Box::new(citation)));
        }
        if let Some(text) = refusal.filter(|text| !text.is_empty()) {
            self.say(Kind::Refusal, Delta::Refusal(text));
        }
        let calls: Option<Vec<ToolCallDelta>> = take(&mut extra, "delta", "tool_calls")?;
        for call in calls.unwrap_or_default() {
            self.call(call)?;
        }
        // Content that would be lost; other unknown fields are the server's remarks.
        match ["audio", "function_call", "images"]
            .iter()
            .find(|name| extra.get(**name).is_some_and(|v| !v.is_null()))
        {
            Some(name) => Err(Unreadable::new(format!("delta.{name}"), "can't be translated")),
            None => {
                remarks::keep(&remarks::of_message(self.choice), extra, &mut self.reading.remarks);
                Ok(())
            }
        }
    }

    fn thinking(&mut self, extra: &mut Extra) -> Result<(), Unreadable> {
        let content: Option<String> = take(extra, "delta", "reasoning_content")?;
        let content = content.or(take(extra, "delta", "reasoning")?).filter(|text| !text.is_empty());
        let details: Vec<ReasoningDetail> = take(extra, "delta", "reasoning_details")?.unwrap_or_default();
        let told = content.is_some();
        if let Some(text) = content {
            self.say(Kind::Thinking, Delta::Thinking(text));
        }
        for detail in details {
            match reasoning::piece(detail) {
                Piece::Thinking { text, signature, id: _ } => {
                    // Its words are in `reasoning_content` too, now or before.
                    let said = matches!(self.reading.open, Some((Kind::Thinking, _, true)));
                    let repeats = told || (said && signature.is_some());
                    if let Some(text) = text.filter(|text| !text.is_empty() && !repeats) {
                        self.say(Kind::Thinking, Delta::Thinking(text));
                    }
                    if let Some(signature) = signature {
                        self.say(Kind::Thinking, Delta::Signature(signature));
                        self.close();
                    }
                }
                Piece::Redacted { provider, data } => {
                    self.close();
                    let block = self.begin(Opening::RedactedThinking { provider, data });
                    self.events.push(Event::BlockStop { choice: self.choice, block });
                }
                Piece::TextSignature(signature) => self.say(Kind::Text, Delta::Signature(signature)),
                Piece::Nothing => {}
            }
        }
        Ok(())
    }

    fn call(&mut self, call: ToolCallDelta) -> Result<(), Unreadable> {
        let ToolCallDelta { index, id, kind, function, custom, extra } = call;
        let called = match (function, custom, kind.as_deref()) {
            (None, Some(CustomDelta { name, input, extra: _ }), _) => {
                Called::Custom { name, input: input.unwrap_or_default() }
            }
            (None, None, Some("custom")) => Called::Custom { name: None, input: String::new() },
            (function, _, _) => {
                let FunctionDelta { name, arguments, extra: _ } = function.unwrap_or_default();
                Called::Function { name, arguments: arguments.unwrap_or_default() }
            }
        };
        self.close();
        let call = self.reading.calls.piece(super::calls_in::Piece {
            choice: self.choice,
            index,
            id,
            called,
            next: &mut self.reading.next,
            mint: self.mint,
            events: self.events,
        })?;
        remarks::keep(&remarks::of_call(self.choice, call), extra, &mut self.reading.remarks);
        Ok(())
    }

    fn stop(&mut self, reason: FinishReason) -> Result<(), Unreadable> {
        self.close();
        self.reading.calls.close_all(self.choice, self.events)?;
        self.reading.stopped = true;
        let reason = finish::to_canonical(reason).with_calls(!self.reading.calls.is_empty());
        let foreign = std::mem::take(&mut self.reading.remarks);
        self.events.push(Event::Stop { choice: self.choice, stop: Stop { foreign, ..Stop::new(reason) } });
        Ok(())
    }

    fn say(&mut self, kind: Kind, delta: Delta) {
        let block = match self.reading.open {
            Some((open, block, _)) if open == kind => block,
            Some(_) | None => {
                self.close();
                self.begin(match kind {
                    Kind::Text => Opening::Text,
                    Kind::Thinking => Opening::Thinking { id: None },
                    Kind::Refusal => Opening::Refusal,
                })
            }
        };
        self.reading.open = Some((kind, block, true));
        self.events.push(Event::BlockDelta { choice: self.choice, block, delta });
    }

    fn begin(&mut self, opening: Opening) -> u32 {
        self.reading.calls.close_complete(self.choice, self.events);
        let block = self.reading.next;
        self.reading.next += 1;
        self.events.push(Event::BlockStart { choice: self.choice, block, opening });
        block
    }

    fn close(&mut self) {
        if let Some((_, block, _)) = self.reading.open.take() {
            self.events.push(Event::BlockStop { choice: self.choice, block });
        }
    }
}
