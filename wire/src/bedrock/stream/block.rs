//! A block that is being read.

use serde_json::{Value, json};

use super::event::{Delta as WireDelta, ReasoningDelta, ToolUseDelta, ToolUseStart};
use crate::bedrock::citation;
use crate::canonical::{Delta, Dialect, Event, Extra, ForeignPart, Mint, Opening, Part, Provider, Signature};

/// A block between its first event and its stop.
#[derive(Debug)]
pub(super) struct OpenBlock {
    /// Its canonical number; `None` while a block that is told whole is not whole.
    number: Option<u32>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Text,
    Thinking,
    /// Thinking that only its provider can read, as far as it came.
    Redacted(String),
    Call {
        any_delta: bool,
    },
    /// A block that only Bedrock has, such as the call of a system tool.
    Foreign {
        kind: String,
        value: Value,
        input: String,
    },
}

impl OpenBlock {
    /// A call begins.
    pub(super) fn call(
        call: ToolUseStart,
        next: &mut u32,
        mint: &mut Mint,
        events: &mut Vec<Event>,
    ) -> Result<Self, String> {
        let ToolUseStart { tool_use_id, name, kind } = call;
        if let Some(kind) = kind {
            let value =
                json!({"toolUse": {"toolUseId": tool_use_id, "name": name, "type": kind, "input": {}}});
            return Ok(Self::foreign("toolUse".to_owned(), value));
        }
        if name.is_empty() {
            return Err("it does not say which tool is called".to_owned());
        }
        let id = if tool_use_id.is_empty() { mint.call_id() } else { tool_use_id };
        let number = open(Opening::ToolCall { id, name, signature: None }, next, events);
        Ok(Self { number: Some(number), kind: Kind::Call { any_delta: false } })
    }

    /// A block begins that only Bedrock has.
    pub(super) fn started(start: Extra) -> Self {
        let kind = start.keys().next().cloned().unwrap_or_default();
        Self::foreign(kind, Value::Object(start))
    }

    fn foreign(kind: String, value: Value) -> Self {
        Self { number: None, kind: Kind::Foreign { kind, value, input: String::new() } }
    }

    /// A block that began with `delta`: only calls are started in so many words.
    pub(super) fn begun_by(
        delta: &WireDelta,
        next: &mut u32,
        events: &mut Vec<Event>,
    ) -> Result<Self, String> {
        let WireDelta { text, tool_use, reasoning_content, citation, extra } = delta;
        let (opening, kind) = match (text, reasoning_content) {
            (None, Some(ReasoningDelta { redacted_content: Some(_), .. })) => {
                return Ok(Self { number: None, kind: Kind::Redacted(String::new()) });
            }
            (None, Some(_)) => (Opening::Thinking { id: None }, Kind::Thinking),
            (None, None) if tool_use.is_some() => return Err("a call goes on that never began".to_owned()),
            (None, None) if citation.is_none() && !extra.is_empty() => {
                return Ok(Self::started(extra.clone()));
            }
            (Some(_), _) | (None, None) => (Opening::Text, Kind::Text),
        };
        Ok(Self { number: Some(open(opening, next, events)), kind })
    }

    /// Appends what `delta` adds.
    ///
    /// # Errors
    /// Says which delta does not fit the block.
    pub(super) fn grow(&mut self, delta: WireDelta, events: &mut Vec<Event>) -> Result<(), String> {
        let WireDelta { text, tool_use, reasoning_content, citation, extra: _ } = delta;
        let mut say = |delta: Delta| {
            events.extend(self.number.map(|block| Event::BlockDelta { choice: 0, block, delta }));
        };
        let misfit = |what: &str| Err(format!("{what} came for another kind of block"));
        match (&mut self.kind, text, tool_use, reasoning_content) {
            (Kind::Text, text, None, None) => {
                text.filter(|text| !text.is_empty()).map(Delta::Text).into_iter().for_each(&mut say);
                let citation = citation.map(|citation| Box::new(citation::to_canonical(citation)));
                citation.map(Delta::Citation).into_iter().for_each(say);
            }
            (Kind::Call { any_delta }, None, Some(ToolUseDelta { input }), None) => {
                *any_delta |= !input.is_empty();
                if !input.is_empty() {
                    say(Delta::Arguments(input));
                }
            }
            (
                Kind::Thinking,
                None,
                None,
                Some(ReasoningDelta { text, signature, redacted_content: None }),
            ) => {
                text.filter(|text| !text.is_empty()).map(Delta::Thinking).into_iter().for_each(&mut say);
                let signature = signature.filter(|data| !data.is_empty());
                let own = |data| Delta::Signature(Signature { provider: Provider::Bedrock, data });
                signature.map(own).into_iter().for_each(say);
            }
            (Kind::Redacted(data), None, None, Some(ReasoningDelta { redacted_content: Some(more), .. })) => {
                data.push_str(&more);
            }
            (Kind::Foreign { input, .. }, None, Some(ToolUseDelta { input: more }), None) => {
                input.push_str(&more)
            }
            (Kind::Foreign { .. }, ..) | (_, None, None, None) => {}
            (_, Some(_), _, _) => return misfit("a text"),
            (_, _, Some(_), _) => return misfit("a tool's input"),
            (_, _, _, Some(_)) => return misfit("thinking"),
        }
        Ok(())
    }

    /// Appends the end of the block.
    ///
    /// # Errors
    /// Where the input of a system tool's call is broken.
    pub(super) fn end(self, next: &mut u32, events: &mut Vec<Event>) -> Result<(), String> {
        let block = match self.kind {
            Kind::Redacted(data) => {
                Some(open(Opening::RedactedThinking { provider: Provider::Bedrock, data }, next, events))
            }
            Kind::Foreign { kind, mut value, input } => {
                if let (false, Some(slot)) = (input.is_empty(), value.pointer_mut("/toolUse/input")) {
                    *slot = serde_json::from_str(&input)
                        .map_err(|error| format!("the input of a system tool is broken: {error}"))?;
                }
                let part = Part::Foreign(ForeignPart { dialect: Dialect::Converse, kind, value });
                Some(open(Opening::Whole(Box::new(part)), next, events))
            }
            Kind::Call { any_delta: false } => {
                if let Some(block) = self.number {
                    // A tool without arguments is called with `{}` in every dialect.
                    let delta = Delta::Arguments("{}".to_owned());
                    events.push(Event::BlockDelta { choice: 0, block, delta });
                }
                self.number
            }
            Kind::Call { any_delta: true } | Kind::Text | Kind::Thinking => self.number,
        };
        events.extend(block.map(|block| Event::BlockStop { choice: 0, block }));
        Ok(())
    }
}

fn open(opening: Opening, next: &mut u32, events: &mut Vec<Event>) -> u32 {
    let block = *next;
    *next += 1;
    events.push(Event::BlockStart { choice: 0, block, opening });
    block
}
