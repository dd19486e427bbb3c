//! The event stream of an upstream, read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::super::responses::{Item, ItemPart, ResponseObject};
use super::super::error;
use super::items_in::SUMMARY_SEAM;
use super::markers::{self, Carried};
use super::response::{ending, logprobs_of, remarks, seconds, unreadable};
use super::{annotations, usage};
use crate::canonical::{
    Delta, Dialect, Event, Failure, ForeignPart, Logprobs, Opening, Part, ReadStream, RedactedThinking,
    Start, Stop, seal,
};
use crate::sse::{Decoder, Frame};

/// The largest event: the last one holds the whole answer. Bounded, since a server may never end a line.
const MAX_FRAME_BYTES: usize = 8 << 20;

const ORIGIN: Dialect = Dialect::OpenAiResponses;

/// Reads the stream of an upstream that speaks Responses.
#[derive(Debug)]
pub struct StreamReader {
    /// `None` once the stream has ended.
    decoder: Option<Decoder>,
    started: bool,
    /// Blocks that are open, by the item and the part of it.
    open: BTreeMap<Key, Open>,
    /// Ids of reasoning items, which their blocks begin with once there is something to say.
    reasoning: BTreeMap<u32, String>,
    next: u32,
    calls_tools: bool,
}

/// An item, and the part of it where it is a message.
type Key = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Open {
    block: u32,
    /// Whether it has said anything.
    said: bool,
    /// The part of a summary that is under way.
    summary: u32,
}

/// An event, of any type. Which fields there are depends on `type`.
#[derive(Default, Deserialize)]
struct WireEvent {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    output_index: u32,
    #[serde(default)]
    content_index: u32,
    #[serde(default)]
    summary_index: u32,
    #[serde(default, deserialize_with = "text")]
    delta: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
    #[serde(default)]
    input: Option<String>,
    #[serde(default)]
    item: Option<Value>,
    #[serde(default)]
    part: Option<ItemPart>,
    #[serde(default)]
    annotation: Option<Value>,
    #[serde(default)]
    response: Option<ResponseObject>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default, deserialize_with = "text")]
    code: Option<String>,
    #[serde(default, deserialize_with = "text")]
    message: Option<String>,
    #[serde(default, deserialize_with = "text")]
    param: Option<String>,
}

impl Default for StreamReader {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamReader {
    /// A reader.
    pub fn new() -> Self {
        Self {
            decoder: Some(Decoder::new(MAX_FRAME_BYTES)),
            started: false,
            open: BTreeMap::new(),
            reasoning: BTreeMap::new(),
            next: 0,
            calls_tools: false,
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
        // Servers that imitate OpenAI's end so; the last event has said it already.
        if data.is_empty() || crate::sse::is_done(data) {
            return;
        }
        let read =
            serde_json::from_slice::<WireEvent>(data).map_err(|problem| unreadable(&problem.to_string()));
        if let Err(failure) = read.and_then(|event| self.event(event, events)) {
            self.decoder = None;
            events.push(Event::Error(failure));
        }
    }

    fn event(&mut self, event: WireEvent, events: &mut Vec<Event>) -> Result<(), Failure> {
        let key = (event.output_index, event.content_index);
        let item_key = (event.output_index, 0);
        match event.kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(event.response.unwrap_or_default(), events);
            }
            "response.output_item.added" => {
                self.item_added(item_key, event.item.unwrap_or_default(), events)?
            }
            "response.content_part.added" => self.part_added(key, event.part, events),
            "response.output_text.delta" => {
                self.say(key, Opening::Text, event.delta.map(Delta::Text), events)
            }
            "response.refusal.delta" => {
                self.say(key, Opening::Refusal, event.delta.map(Delta::Refusal), events)
            }
            "response.output_text.annotation.added" => {
                let citation = event.annotation.map(|annotation| Box::new(annotations::read(annotation)));
                self.say(key, Opening::Text, citation.map(Delta::Citation), events);
            }
            "response.function_call_arguments.delta" => {
                self.grow(item_key, event.delta.map(Delta::Arguments), events)?;
            }
            "response.custom_tool_call_input.delta" => {
                self.grow(item_key, event.delta.map(Delta::Input), events)?;
            }
            "response.reasoning_summary_text.delta" => {
                self.summary(item_key, event.summary_index, event.delta, events);
            }
            "response.reasoning_text.delta" => {
                let opening = self.thinking(item_key);
                self.say(item_key, opening, event.delta.map(Delta::Thinking), events);
            }
            // Servers that do not stream a part say it here for the first time.
            "response.output_text.done" => {
                self.whole(key, Opening::Text, event.text.map(Delta::Text), events)
            }
            "response.refusal.done" => {
                self.whole(key, Opening::Refusal, event.refusal.map(Delta::Refusal), events)
            }
            "response.function_call_arguments.done" => {
                if self.open.get(&item_key).is_some_and(|open| !open.said) {
                    self.grow(item_key, event.arguments.map(Delta::Arguments), events)?;
                }
            }
            "response.custom_tool_call_input.done" => {
                if self.open.get(&item_key).is_some_and(|open| !open.said) {
                    self.grow(item_key, event.input.map(Delta::Input), events)?;
                }
            }
            "response.content_part.done" => self.close(key, events),
            "response.output_item.done" => {
                self.item_done(event.output_index, event.item.unwrap_or_default(), events)?;
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.end(event.response.unwrap_or_default(), events)?;
            }
            "error" => return Err(stated(event)),
            // Progress of hosted tools; what they come to is in their item.
            _ if event.kind.starts_with("response.") => {}
            _ => {
                if let Some(error) = event.error.filter(|error| !error.is_null()) {
                    return Err(error::in_answer(error, ORIGIN));
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, response: ResponseObject, events: &mut Vec<Event>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let ResponseObject { id, created_at, model, extra, .. } = response;
        let (created, foreign) = (created_at.and_then(seconds), remarks(extra));
        events.push(Event::Start(Start { origin: ORIGIN, id, created, model, foreign }));
    }

    fn item_added(&mut self, key: Key, item: Value, events: &mut Vec<Event>) -> Result<(), Failure> {
        let item = read_item(item)?;
        if item.kind.as_deref() == Some("reasoning") {
            self.reasoning.extend(item.id.map(|id| (key.0, id)));
        } else if item.kind.as_deref() == Some("function_call") {
            let call_id = item.call_id.unwrap_or_default();
            let (id, signature) = seal::open_call_id(&call_id);
            let name = item.name.unwrap_or_default();
            if id.is_empty() || name.is_empty() {
                return Err(unreadable("a function_call has no `call_id` or no `name`"));
            }
            self.calls_tools = true;
            self.begin(key, Opening::ToolCall { id, name, signature }, events);
            if let Some(arguments) = item.arguments.filter(|arguments| !arguments.is_empty()) {
                self.grow(key, Some(Delta::Arguments(arguments)), events)?;
            }
        } else if item.kind.as_deref() == Some("custom_tool_call") {
            let (id, name) = (item.call_id.unwrap_or_default(), item.name.unwrap_or_default());
            if id.is_empty() || name.is_empty() {
                return Err(unreadable("a custom_tool_call has no `call_id` or no `name`"));
            }
            self.calls_tools = true;
            self.begin(key, Opening::CustomCall { id, name }, events);
            self.grow(key, item.input.map(Delta::Input), events)?;
        }
        Ok(())
    }

    fn part_added(&mut self, key: Key, part: Option<ItemPart>, events: &mut Vec<Event>) {
        let Some(part) = part else { return };
        match part.kind.as_str() {
            "output_text" => {
                self.say(
                    key,
                    Opening::Text,
                    part.text.filter(|text| !text.is_empty()).map(Delta::Text),
                    events,
                );
            }
            "refusal" => {
                let said = part.refusal.filter(|text| !text.is_empty());
                self.say(key, Opening::Refusal, said.map(Delta::Refusal), events);
            }
            _ => {}
        }
    }

    /// A summary's later parts are paragraphs of one text, as they are in an answer that was not streamed.
    fn summary(&mut self, key: Key, index: u32, delta: Option<String>, events: &mut Vec<Event>) {
        let Some(mut text) = delta else { return };
        match self.open.get_mut(&key) {
            Some(open) if open.summary != index => {
                open.summary = index;
                text.insert_str(0, SUMMARY_SEAM);
            }
            Some(_) | None => {}
        }
        self.say(key, self.thinking(key), Some(Delta::Thinking(text)), events);
    }

    fn item_done(&mut self, index: u32, value: Value, events: &mut Vec<Event>) -> Result<(), Failure> {
        let item = read_item(value.clone())?;
        let key = (index, 0);
        match item.kind.as_deref().unwrap_or("message") {
            "message" => {}
            "function_call" => match self.open.get(&key) {
                Some(open) if !open.said => self.grow(key, item.arguments.map(Delta::Arguments), events)?,
                Some(_) => {}
                None => self.item_added(key, value, events)?,
            },
            "custom_tool_call" => match self.open.get(&key) {
                Some(open) if !open.said => self.grow(key, item.input.map(Delta::Input), events)?,
                Some(_) => {}
                None => self.item_added(key, value, events)?,
            },
            "reasoning" => self.reasoning_done(key, item, events),
            kind => {
                let part = ForeignPart { dialect: ORIGIN, kind: kind.to_owned(), value };
                self.begin(key, Opening::Whole(Box::new(Part::Foreign(part))), events);
            }
        }
        let keys: Vec<Key> = self.open.range((index, 0)..=(index, u32::MAX)).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.close(key, events));
        Ok(())
    }

    fn reasoning_done(&mut self, key: Key, item: Item, events: &mut Vec<Event>) {
        if !self.open.contains_key(&key) {
            let mut said = Vec::new();
            let summary = item.summary.unwrap_or_default();
            let text: Vec<String> = summary.into_iter().map(|part| part.text).collect();
            let carried = item.encrypted_content.as_deref().map(markers::open);
            markers::place(&mut said, text.join(SUMMARY_SEAM), carried, item.id);
            for part in &said {
                self.whole_part(key, part, events);
            }
            return;
        }
        if let Some(Carried::Thinking(signature)) = item.encrypted_content.as_deref().map(markers::open) {
            self.say(key, self.thinking(key), Some(Delta::Signature(signature)), events);
        }
    }

    /// A part of a reasoning item that said nothing until it was whole.
    fn whole_part(&mut self, key: Key, part: &Part, events: &mut Vec<Event>) {
        match part {
            Part::Thinking(thinking) => {
                let opening = || Opening::Thinking { id: thinking.id.clone() };
                self.begin(key, opening(), events);
                let text = Some(&thinking.text).filter(|text| !text.is_empty()).cloned();
                for delta in [text.map(Delta::Thinking), thinking.signature.clone().map(Delta::Signature)] {
                    if delta.is_some() {
                        self.say(key, opening(), delta, events);
                    }
                }
            }
            Part::RedactedThinking(RedactedThinking { provider, data }) => {
                self.begin(
                    key,
                    Opening::RedactedThinking { provider: *provider, data: data.clone() },
                    events,
                );
            }
            Part::Text(text) => {
                self.say(key, Opening::Text, text.signature.clone().map(Delta::Signature), events);
            }
            Part::Image(_)
            | Part::Audio(_)
            | Part::Document(_)
            | Part::ToolCall(_)
            | Part::CustomCall(_)
            | Part::ToolResult(_)
            | Part::Refusal(_)
            | Part::Foreign(_) => {}
        }
    }

    fn end(&mut self, response: ResponseObject, events: &mut Vec<Event>) -> Result<(), Failure> {
        let reason = response.incomplete_details.as_ref().map(|details| details.reason.as_str());
        let reason = ending(response.status.as_deref(), reason, response.error.clone())?;
        self.start(response.clone(), events);
        let keys: Vec<Key> = self.open.keys().copied().collect();
        keys.into_iter().for_each(|key| self.close(key, events));
        let content = logprobs_of(response.output);
        if !content.is_empty() {
            events.push(Event::Logprobs { choice: 0, logprobs: Logprobs { content, refusal: Vec::new() } });
        }
        let stop = Stop::new(reason.with_calls(self.calls_tools));
        events.push(Event::Stop { choice: 0, stop });
        events.extend(response.usage.as_ref().map(|usage| Event::Usage(usage::to_canonical(usage))));
        events.push(Event::End);
        self.decoder = None;
        Ok(())
    }

    fn thinking(&self, key: Key) -> Opening {
        Opening::Thinking { id: self.reasoning.get(&key.0).cloned() }
    }

    fn begin(&mut self, key: Key, opening: Opening, events: &mut Vec<Event>) {
        // A server that never said `response.created` begins here.
        self.start(ResponseObject::default(), events);
        self.close(key, events);
        let block = self.next;
        self.next += 1;
        self.open.insert(key, Open { block, said: false, summary: 0 });
        events.push(Event::BlockStart { choice: 0, block, opening });
    }

    /// Adds to a block, which begins where it has not. A text that says nothing never begins.
    fn say(&mut self, key: Key, opening: Opening, delta: Option<Delta>, events: &mut Vec<Event>) {
        let Some(delta) = delta.filter(|delta| !is_empty(delta)) else { return };
        if !self.open.contains_key(&key) {
            self.begin(key, opening, events);
        }
        if let Some(open) = self.open.get_mut(&key) {
            // A citation may come before the text that it is of.
            open.said |= !matches!(delta, Delta::Citation(_) | Delta::Signature(_));
            events.push(Event::BlockDelta { choice: 0, block: open.block, delta });
        }
    }

    fn whole(&mut self, key: Key, opening: Opening, delta: Option<Delta>, events: &mut Vec<Event>) {
        if !self.open.get(&key).is_some_and(|open| open.said) {
            self.say(key, opening, delta, events);
        }
    }

    fn grow(&mut self, key: Key, delta: Option<Delta>, events: &mut Vec<Event>) -> Result<(), Failure> {
        let Some(delta) = delta.filter(|delta| !is_empty(delta)) else { return Ok(()) };
        let open = self.open.get_mut(&key);
        let open = open.ok_or_else(|| unreadable("arguments came for a call that never began"))?;
        open.said = true;
        events.push(Event::BlockDelta { choice: 0, block: open.block, delta });
        Ok(())
    }

    fn close(&mut self, key: Key, events: &mut Vec<Event>) {
        if let Some(Open { block, .. }) = self.open.remove(&key) {
            events.push(Event::BlockStop { choice: 0, block });
        }
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
                Err(problem) => {
                    self.decoder = None;
                    events.push(Event::Error(unreadable(&problem.to_string())));
                }
            }
        }
    }

    /// By the standard what no blank line ended is no event, so the answer is not whole.
    fn finish(&mut self, events: &mut Vec<Event>) {
        if self.decoder.take().is_some() {
            events.push(Event::Error(Failure::truncated(ORIGIN)));
        }
    }
}

fn is_empty(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text)
        | Delta::Arguments(text)
        | Delta::Input(text)
        | Delta::Thinking(text)
        | Delta::Refusal(text) => text.is_empty(),
        Delta::Signature(_) | Delta::Citation(_) => false,
    }
}

fn read_item(value: Value) -> Result<Item, Failure> {
    serde_json::from_value(value).map_err(|problem| unreadable(&problem.to_string()))
}

/// The failure that the data of an `error` event states.
pub(crate) fn failure_of_event(data: &[u8]) -> Failure {
    match serde_json::from_slice::<WireEvent>(data) {
        Ok(event) => stated(event),
        Err(problem) => unreadable(&problem.to_string()),
    }
}

/// The failure that an `error` event states: its fields are at the top, or in `error`.
fn stated(event: WireEvent) -> Failure {
    let WireEvent { code, message, param, error, .. } = event;
    let error = error.filter(|error| !error.is_null());
    let error =
        error.unwrap_or_else(|| serde_json::json!({"code": code, "message": message, "param": param}));
    error::in_answer(error, ORIGIN)
}

/// A text, or a number as its text. What else stands there is of an event that is not read.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}
