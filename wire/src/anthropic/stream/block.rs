//! A block that is being read.

use serde_json::Value;

use super::event::ReadDelta;
use crate::anthropic::block::{
    Block, OtherBlock, PlainBlock, RedactedThinkingBlock, TextBlock, ThinkingBlock, ToolUseBlock,
};
use crate::anthropic::citation;
use crate::anthropic::part::{PartReader, Sender};
use crate::canonical::{
    Delta, Dialect, Event, ForeignPart, Mint, Opening, Part, Provider, Signature, Unreadable,
};

/// A block between its start and its stop.
#[derive(Debug)]
pub(super) struct OpenBlock {
    /// Its canonical number; `None` while a block that is told whole is not whole.
    number: Option<u32>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Thinking,
    ToolUse {
        /// The input that came with the start: `{}` in Anthropic's streams, all of it in some others.
        started_with: String,
        any_delta: bool,
    },
    /// Nothing is added to it.
    Still,
    /// A block that only Anthropic has. It may grow by input, as a hosted tool's call does.
    Foreign {
        part: ForeignPart,
        input: String,
    },
}

impl OpenBlock {
    /// Begins the block and appends its first events. `next` is the next canonical number.
    pub(super) fn begin(
        block: Block,
        next: &mut u32,
        mint: &mut Mint,
        events: &mut Vec<Event>,
    ) -> Result<Self, Unreadable> {
        let mut started = Started { number: *next, events };
        let kind = match block {
            Block::Plain(PlainBlock::Text(TextBlock { text, citations, cache_control: _, extra: _ })) => {
                started.open(Opening::Text);
                started.say(text, Delta::Text);
                for citation in citations.unwrap_or_default() {
                    started.delta(Delta::Citation(Box::new(citation::to_canonical(citation))));
                }
                Kind::Text
            }
            Block::Thinking(ThinkingBlock { thinking, signature, extra: _ }) => {
                started.open(Opening::Thinking { id: None });
                started.say(thinking, Delta::Thinking);
                started.say(signature, own_signature);
                Kind::Thinking
            }
            Block::RedactedThinking(RedactedThinkingBlock { data, extra: _ }) => {
                started.open(Opening::RedactedThinking { provider: Provider::Anthropic, data });
                Kind::Still
            }
            Block::ToolUse(ToolUseBlock { id, name, input, cache_control: _, extra: _ }) => {
                if name.is_empty() {
                    return Err(Unreadable::new(
                        "content_block.name",
                        "it does not say which tool is called",
                    ));
                }
                let id = if id.is_empty() { mint.call_id() } else { id };
                started.open(Opening::ToolCall { id, name, signature: None });
                Kind::ToolUse { started_with: input.get().to_owned(), any_delta: false }
            }
            Block::Plain(PlainBlock::Other(OtherBlock { kind, value })) => {
                let part = ForeignPart { dialect: Dialect::Anthropic, kind, value };
                return Ok(Self { number: None, kind: Kind::Foreign { part, input: String::new() } });
            }
            Block::Plain(PlainBlock::Image(_) | PlainBlock::Document(_)) | Block::ToolResult(_) => {
                let mut reader = PartReader { sender: Sender::Upstream, foreign: &mut Vec::new() };
                let part = reader.block(block, "content_block")?;
                started.open(Opening::Whole(Box::new(part)));
                Kind::Still
            }
        };
        *next += 1;
        Ok(Self { number: Some(started.number), kind })
    }

    /// Appends what `delta` adds. A kind of delta that is not known here adds nothing.
    ///
    /// # Errors
    /// Says which delta does not fit the block.
    pub(super) fn grow(&mut self, delta: ReadDelta, events: &mut Vec<Event>) -> Result<(), String> {
        let ReadDelta { kind, text, partial_json, thinking, signature, citation } = delta;
        let new = match (&mut self.kind, kind.as_str()) {
            (Kind::Text, "text_delta") => some(text, Delta::Text),
            (Kind::Text, "citations_delta") => {
                citation.map(|citation| Delta::Citation(Box::new(citation::to_canonical(citation))))
            }
            (Kind::Thinking, "thinking_delta") => some(thinking, Delta::Thinking),
            (Kind::Thinking, "signature_delta") => some(signature, own_signature),
            (Kind::ToolUse { started_with: _, any_delta }, "input_json_delta") => {
                *any_delta |= !partial_json.is_empty();
                some(partial_json, Delta::Arguments)
            }
            (Kind::Foreign { part: _, input }, "input_json_delta") => {
                input.push_str(&partial_json);
                None
            }
            (
                _,
                "text_delta" | "citations_delta" | "thinking_delta" | "signature_delta" | "input_json_delta",
            ) => return Err(format!("a `{kind}` came for another kind of block")),
            (_, _) => None,
        };
        if let (Some(block), Some(delta)) = (self.number, new) {
            events.push(Event::BlockDelta { choice: 0, block, delta });
        }
        Ok(())
    }

    /// Appends the end of the block.
    ///
    /// # Errors
    /// Where the input of a hosted tool's call is broken.
    pub(super) fn end(self, next: &mut u32, events: &mut Vec<Event>) -> Result<(), String> {
        let block = match self.kind {
            Kind::Foreign { mut part, input } => {
                if !input.is_empty()
                    && let Value::Object(fields) = &mut part.value
                {
                    let input = serde_json::from_str(&input)
                        .map_err(|error| format!("the input of `{}` is broken: {error}", part.kind))?;
                    fields.insert("input".to_owned(), input);
                }
                let block = *next;
                *next += 1;
                let opening = Opening::Whole(Box::new(Part::Foreign(part)));
                events.push(Event::BlockStart { choice: 0, block, opening });
                Some(block)
            }
            Kind::ToolUse { started_with, any_delta: false } => {
                if let Some(block) = self.number {
                    // A tool without arguments is called with `{}` in every dialect.
                    let delta = Delta::Arguments(started_with);
                    events.push(Event::BlockDelta { choice: 0, block, delta });
                }
                self.number
            }
            Kind::ToolUse { started_with: _, any_delta: true }
            | Kind::Text
            | Kind::Thinking
            | Kind::Still => self.number,
        };
        events.extend(block.map(|block| Event::BlockStop { choice: 0, block }));
        Ok(())
    }
}

/// A block's first events.
struct Started<'a> {
    number: u32,
    events: &'a mut Vec<Event>,
}

impl Started<'_> {
    fn open(&mut self, opening: Opening) {
        self.events.push(Event::BlockStart { choice: 0, block: self.number, opening });
    }

    fn delta(&mut self, delta: Delta) {
        self.events.push(Event::BlockDelta { choice: 0, block: self.number, delta });
    }

    fn say(&mut self, text: String, delta: impl Fn(String) -> Delta) {
        if let Some(delta) = some(text, delta) {
            self.delta(delta);
        }
    }
}

/// An empty delta says nothing.
fn some(text: String, delta: impl Fn(String) -> Delta) -> Option<Delta> {
    (!text.is_empty()).then(|| delta(text))
}

fn own_signature(data: String) -> Delta {
    Delta::Signature(Signature { provider: Provider::Anthropic, data })
}
