//! Writing a stream for a client.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::event::{
    BLOCK_DELTA, BLOCK_START, BLOCK_STOP, BlockDelta, BlockStart, BlockStop, Delta as WireDelta,
    MESSAGE_START, MESSAGE_STOP, METADATA, MessageStop, Metadata, ReasoningDelta, Start as BlockOpening,
    ToolUseDelta, ToolUseStart,
};
use crate::bedrock::content::ContentBlock;
use crate::bedrock::part::{NO_CUSTOM_TOOLS, PartWriter, Receiver};
use crate::bedrock::response::{own_fields, timed};
use crate::bedrock::{citation, error, stop_reason, usage};
use crate::canonical::{
    Delta, Dialect, Event, Extra, Inexpressible, Losses, Opening, Part, Place, Provider, RedactedThinking,
    Sequencer, Stop, Took, Unsupported, Usage, WriteStream, seal,
};
use crate::eventstream;

/// Writes a stream, one open block at a time, numbered without gaps.
#[derive(Debug)]
pub struct StreamWriter {
    policy: Unsupported,
    losses: Losses,
    sequencer: Sequencer,
    started: bool,
    ended: bool,
    open: Option<OpenBlock>,
    next_index: u64,
    usage: Option<Usage>,
    stop: Option<Stop>,
    calls_tools: bool,
    logprobs_waived: bool,
    choices_lost: BTreeSet<u32>,
    took: Option<Took>,
}

/// The block under way.
#[derive(Debug)]
struct OpenBlock {
    block: u32,
    index: u64,
    /// Something of it is written, so it must be stopped.
    begun: bool,
    thinks: bool,
}

impl StreamWriter {
    /// The same, which says at its end how long the answer `took`.
    #[must_use]
    pub fn timed(self, took: Took) -> Self {
        Self { took: Some(took), ..self }
    }

    /// A writer.
    pub fn new(policy: Unsupported) -> Self {
        Self {
            policy,
            losses: Losses::of_answer(policy, Dialect::Converse, Dialect::Converse),
            sequencer: Sequencer::new(),
            started: false,
            ended: false,
            open: None,
            next_index: 0,
            usage: None,
            stop: None,
            calls_tools: false,
            logprobs_waived: false,
            choices_lost: BTreeSet::new(),
            took: None,
        }
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        if self.ended {
            return Ok(());
        }
        match event {
            // One start a message, whatever comes.
            Event::Start(start) => {
                if !std::mem::replace(&mut self.started, true) {
                    self.losses = Losses::of_answer(self.policy, start.origin, Dialect::Converse);
                    // A stream's start has no place for them.
                    self.losses.waive_all(&start.foreign);
                    send(MESSAGE_START, &json!({"role": "assistant"}), out);
                }
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::BlockStart { choice, block, opening } => {
                if self.takes(*choice) {
                    self.block_start(*block, opening, out)?;
                }
            }
            Event::BlockDelta { choice, block, delta } => {
                if self.takes(*choice) {
                    self.block_delta(*block, delta, out);
                }
            }
            Event::BlockStop { choice, block } => {
                if self.takes(*choice) && self.open.as_ref().is_some_and(|open| open.block == *block) {
                    self.close(out);
                }
            }
            Event::Logprobs { choice: _, logprobs: _ } => {
                if !std::mem::replace(&mut self.logprobs_waived, true) {
                    self.losses.waive("logprobs");
                }
            }
            Event::Stop { choice, stop } => {
                if self.takes(*choice) {
                    self.stop = Some(stop.clone());
                }
            }
            // AWS's clients know no such event: it is for a silence that lasts ([`keep_alive`]).
            Event::Ping => {}
            Event::Error(failure) => {
                error::write_exception(failure, out);
                self.ended = true;
            }
            Event::End => self.end(out),
        }
        Ok(())
    }

    /// Whether an answer is the one that clients get.
    fn takes(&mut self, choice: u32) -> bool {
        // Nobody asked for more, since no request of this dialect can.
        if choice > 0 && self.choices_lost.insert(choice) {
            self.losses.waive(format!("choices[{choice}]"));
        }
        choice == 0
    }

    fn path(&self) -> String {
        let part = usize::try_from(self.next_index).unwrap_or(usize::MAX);
        Place::Answer { choice: 0, part }.path(Dialect::Converse)
    }

    fn block_start(&mut self, block: u32, opening: &Opening, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        self.close(out);
        let index = self.next_index;
        let thinks = matches!(opening, Opening::Thinking { id: _ });
        match opening {
            Opening::Text | Opening::Refusal | Opening::Thinking { id: _ } => {
                self.open = Some(OpenBlock { block, index, begun: false, thinks });
            }
            Opening::ToolCall { id, name, signature } => {
                self.calls_tools = true;
                self.open = Some(OpenBlock { block, index, begun: true, thinks });
                let tool_use_id = seal::seal_call_id(id, signature.as_ref());
                let tool_use = Some(ToolUseStart { tool_use_id, name: name.clone(), kind: None });
                let start = BlockOpening { tool_use, extra: Extra::new() };
                send(BLOCK_START, &BlockStart { content_block_index: index, start }, out);
            }
            Opening::CustomCall { id: _, name: _ } => {
                let path = self.path();
                self.losses.lose(path, NO_CUSTOM_TOOLS)?;
            }
            Opening::RedactedThinking { provider, data } => {
                let thinking = RedactedThinking { provider: *provider, data: data.clone() };
                self.whole(&Part::RedactedThinking(thinking), block, out)?;
            }
            Opening::Whole(part) => self.whole(part, block, out)?,
        }
        Ok(())
    }

    /// A part that comes whole: what of it is a delta is written, and the rest as a start that says all.
    fn whole(&mut self, part: &Part, block: u32, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        let (path, index) = (self.path(), self.next_index);
        let mut writer = PartWriter { receiver: Receiver::Client, losses: &mut self.losses };
        for written in writer.blocks(part, &path)? {
            self.open = Some(OpenBlock { block, index, begun: true, thinks: false });
            let ContentBlock { reasoning_content, .. } = &written;
            if let Some(reasoning) = reasoning_content {
                let delta = Some(ReasoningDelta::from(reasoning.clone()));
                let delta = WireDelta { reasoning_content: delta, ..WireDelta::default() };
                send(BLOCK_DELTA, &BlockDelta { content_block_index: index, delta }, out);
            } else {
                send_whole(index, &written, out);
            }
        }
        Ok(())
    }

    fn block_delta(&mut self, block: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some(OpenBlock { block: _, index, begun: _, thinks }) =
            self.open.as_ref().filter(|open| open.block == block)
        else {
            return;
        };
        let (index, thinks) = (*index, *thinks);
        let delta = match delta {
            Delta::Text(text) | Delta::Refusal(text) if !text.is_empty() => {
                WireDelta { text: Some(text.clone()), ..WireDelta::default() }
            }
            Delta::Arguments(input) => {
                WireDelta { tool_use: Some(ToolUseDelta { input: input.clone() }), ..WireDelta::default() }
            }
            Delta::Thinking(text) if !text.is_empty() => {
                reasoning(ReasoningDelta { text: Some(text.clone()), ..ReasoningDelta::default() })
            }
            Delta::Signature(signature) if thinks => {
                let signature = Some(seal::seal_signature(signature, Provider::Bedrock));
                reasoning(ReasoningDelta { signature, ..ReasoningDelta::default() })
            }
            // Only Gemini signs text, and it answers without that signature too.
            Delta::Signature(_) => {
                let path = self.path();
                return self.losses.waive(format!("{path}.signature"));
            }
            Delta::Citation(citation) => match citation::from_canonical(citation) {
                Some(citation) => WireDelta { citation: Some(citation), ..WireDelta::default() },
                None => {
                    let path = self.path();
                    return self.losses.waive(format!("{path}.citations"));
                }
            },
            Delta::Text(_) | Delta::Refusal(_) | Delta::Thinking(_) | Delta::Input(_) => return,
        };
        if let Some(open) = &mut self.open {
            open.begun = true;
        }
        send(BLOCK_DELTA, &BlockDelta { content_block_index: index, delta }, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(OpenBlock { index, .. }) = self.open.take().filter(|open| open.begun) {
            send(BLOCK_STOP, &BlockStop { content_block_index: index }, out);
            self.next_index += 1;
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        let origin = self.losses.origin();
        let stop_reason = Some(stop_reason::from_canonical(self.stop.as_ref(), origin, self.calls_tools));
        let extra = self.stop.as_ref().map(|stop| own_fields(origin, &stop.foreign, &mut self.losses));
        send(MESSAGE_STOP, &MessageStop { stop_reason, extra: extra.unwrap_or_default() }, out);
        let usage = Some(usage::from_canonical(&self.usage.unwrap_or_default()));
        let extra = self.took.as_ref().map(timed).unwrap_or_default();
        send(METADATA, &Metadata { usage, extra }, out);
        self.ended = true;
    }
}

impl WriteStream for StreamWriter {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        let mut ready = Vec::new();
        self.sequencer.push(event.clone(), &mut ready);
        ready.iter().try_for_each(|event| self.event(event, out))
    }

    fn dropped(&self) -> &[String] {
        self.losses.dropped()
    }
}

/// Appends an event that no client knows, and all skip.
pub(crate) fn keep_alive(out: &mut Vec<u8>) {
    eventstream::event("ping", "{}", out);
}

fn reasoning(delta: ReasoningDelta) -> WireDelta {
    WireDelta { reasoning_content: Some(delta), ..WireDelta::default() }
}

/// A block whose start is all of it.
fn send_whole(index: u64, block: &ContentBlock, out: &mut Vec<u8>) {
    let block = serde_json::to_string(block).unwrap_or_default();
    let event = format!(r#"{{"contentBlockIndex":{index},"start":{block}}}"#);
    eventstream::event(BLOCK_START, &event, out);
}

fn send<T: Serialize>(kind: &str, event: &T, out: &mut Vec<u8>) {
    // Strings and numbers only, so encoding can't fail.
    let json = serde_json::to_string(event).unwrap_or_default();
    eventstream::event(kind, &json, out);
}
