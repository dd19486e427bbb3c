//! Writing a stream for a client.

use std::collections::BTreeSet;

use super::event::{MessageEnd, Written, WrittenDelta};
use crate::anthropic::block::{Block, PlainBlock, TextBlock};
use crate::anthropic::part::{PartWriter, Receiver};
use crate::anthropic::response::{MessagesResponse, own_fields};
use crate::anthropic::usage::{self, own_extra};
use crate::anthropic::{citation, error, stop_reason};
use crate::canonical::{
    CustomCall, Delta, Dialect, Envelope, Event, Inexpressible, Losses, Opening, Part, Provider,
    RedactedThinking, Sequencer, Start, Stop, Thinking, ToolCall, Unsupported, Usage, WriteStream, seal,
};
use crate::sse::named_event;

/// Writes a stream, one open block at a time, numbered without gaps.
///
/// `message_start` waits for the first event after the start, which may say what was read: clients bill by it. Where
/// the upstream says it at the end only, the start carries the caller's estimate and `message_delta` the truth.
#[derive(Debug)]
pub struct StreamWriter {
    envelope: Envelope,
    policy: Unsupported,
    estimated_input_tokens: u64,
    losses: Losses,
    sequencer: Sequencer,
    phase: Phase,
    open: Option<OpenBlock>,
    next_index: u32,
    usage: Option<Usage>,
    /// What the start said was written to a cache for an hour.
    told_cache_write_1h: u64,
    stop: Option<Stop>,
    calls_tools: bool,
    refuses: bool,
    logprobs_waived: bool,
    choices_lost: BTreeSet<u32>,
}

#[derive(Debug)]
enum Phase {
    /// Nothing came.
    Before,
    /// The start came, and is not written.
    Held(Start),
    /// The start is written.
    Open,
    /// The end or an error is written.
    Ended,
}

/// The block under way.
#[derive(Debug)]
struct OpenBlock {
    block: u32,
    /// `None` for a block that is dropped, or that has not said anything.
    index: Option<u32>,
    /// A text that begins with its first words: one that says nothing is none, and clients would send it back to be
    /// refused.
    waits: bool,
    /// It has a place for a signature.
    thinks: bool,
}

impl StreamWriter {
    /// A writer. `estimated_input_tokens` is what the caller thinks the prompt has.
    pub fn new(envelope: Envelope, policy: Unsupported, estimated_input_tokens: u64) -> Self {
        Self {
            envelope,
            policy,
            estimated_input_tokens,
            losses: Losses::of_answer(policy, Dialect::Anthropic, Dialect::Anthropic),
            sequencer: Sequencer::new(),
            phase: Phase::Before,
            open: None,
            next_index: 0,
            usage: None,
            told_cache_write_1h: 0,
            stop: None,
            calls_tools: false,
            refuses: false,
            logprobs_waived: false,
            choices_lost: BTreeSet::new(),
        }
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        match (&self.phase, event) {
            (Phase::Ended, _) => return Ok(()),
            (Phase::Before, Event::Start(start)) => {
                self.losses = Losses::of_answer(self.policy, start.origin, Dialect::Anthropic);
                self.phase = Phase::Held(start.clone());
                return Ok(());
            }
            // One start a message, whatever comes.
            (_, Event::Start(_)) => return Ok(()),
            (_, Event::Usage(usage)) => self.usage = Some(*usage),
            _ => {}
        }
        if !matches!(event, Event::Ping | Event::Error(_)) {
            self.start(out);
        }
        match event {
            Event::Start(_) | Event::Usage(_) => Ok(()),
            Event::BlockStart { choice, block, opening } => {
                if self.takes(*choice) {
                    self.block_start(*block, opening, out)
                } else {
                    Ok(())
                }
            }
            Event::BlockDelta { choice, block, delta } => {
                if self.takes(*choice) {
                    self.block_delta(*block, delta, out);
                }
                Ok(())
            }
            Event::BlockStop { choice, block } => {
                if self.takes(*choice) && self.open.as_ref().is_some_and(|open| open.block == *block) {
                    self.close(out);
                }
                Ok(())
            }
            Event::Logprobs { choice: _, logprobs: _ } => {
                if !std::mem::replace(&mut self.logprobs_waived, true) {
                    self.losses.waive("logprobs");
                }
                Ok(())
            }
            Event::Stop { choice, stop } => {
                if self.takes(*choice) {
                    self.stop = Some(stop.clone());
                }
                Ok(())
            }
            Event::Ping => {
                send(&Written::Ping, out);
                Ok(())
            }
            Event::Error(failure) => {
                send(&Written::Error(error::body(failure)), out);
                self.phase = Phase::Ended;
                Ok(())
            }
            Event::End => {
                self.end(out);
                Ok(())
            }
        }
    }

    /// Whether an answer is the one that clients get.
    fn takes(&mut self, choice: u32) -> bool {
        // Nobody asked for more, since no request of this dialect can.
        if choice > 0 && self.choices_lost.insert(choice) {
            self.losses.waive(format!("choices[{choice}]"));
        }
        choice == 0
    }

    /// Writes the start that was held back.
    fn start(&mut self, out: &mut Vec<u8>) {
        let Phase::Held(start) = std::mem::replace(&mut self.phase, Phase::Open) else { return };
        let Start { origin, id: _, created: _, model: _, foreign } = start;
        let counts = self.usage.filter(|usage| usage.input() > 0).unwrap_or_else(|| self.estimate());
        self.told_cache_write_1h = counts.cache_write_1h;
        let mut counts = usage::from_canonical(&counts);
        counts.extra = own_extra(origin, &foreign);
        let message = MessagesResponse {
            id: self.envelope.id.clone(),
            kind: "message".to_owned(),
            role: "assistant".to_owned(),
            model: self.envelope.model.clone(),
            content: Some(Vec::new()),
            stop_reason: None,
            stop_sequence: None,
            usage: Some(counts),
            error: None,
            request_id: None,
            extra: own_fields(origin, &foreign, &mut self.losses),
        };
        send(&Written::MessageStart { message: Box::new(message) }, out);
    }

    fn estimate(&self) -> Usage {
        Usage { input_uncached: self.estimated_input_tokens, ..Usage::default() }
    }

    fn block_start(&mut self, block: u32, opening: &Opening, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        self.close(out);
        self.refuses |= matches!(opening, Opening::Refusal);
        let part = match opening {
            Opening::Text | Opening::Refusal => {
                self.open = Some(OpenBlock { block, index: None, waits: true, thinks: false });
                return Ok(());
            }
            Opening::ToolCall { id, name, signature } => {
                self.calls_tools = true;
                Part::ToolCall(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    signature: signature.clone(),
                    ..ToolCall::default()
                })
            }
            Opening::CustomCall { id, name } => {
                let call = CustomCall { id: id.clone(), name: name.clone(), input: String::new() };
                Part::CustomCall(call)
            }
            Opening::Thinking { id: _ } => Part::Thinking(Thinking::default()),
            Opening::RedactedThinking { provider, data } => {
                Part::RedactedThinking(RedactedThinking { provider: *provider, data: data.clone() })
            }
            Opening::Whole(part) => part.as_ref().clone(),
        };
        let path = format!("content[{}]", self.next_index);
        let mut writer = PartWriter { receiver: Receiver::Client, losses: &mut self.losses };
        let content_block = writer.block(&part, &path)?;
        let index = content_block.map(|content_block| self.send_start(content_block, out));
        let thinks = matches!(opening, Opening::Thinking { id: _ });
        self.open = Some(OpenBlock { block, index, waits: false, thinks });
        Ok(())
    }

    fn send_start(&mut self, content_block: Block, out: &mut Vec<u8>) -> u32 {
        let index = self.next_index;
        self.next_index += 1;
        send(&Written::ContentBlockStart { index, content_block }, out);
        index
    }

    /// Starts the block that waits, where `delta` says something.
    fn start_text(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let says = match delta {
            Delta::Text(text) | Delta::Refusal(text) => !text.is_empty(),
            Delta::Citation(citation) => citation::from_canonical(citation).is_some(),
            Delta::Arguments(_) | Delta::Input(_) | Delta::Thinking(_) | Delta::Signature(_) => false,
        };
        if let Some(mut open) = self.open.take_if(|open| says && open.waits) {
            let block = Block::Plain(PlainBlock::Text(TextBlock::default()));
            open.index = Some(self.send_start(block, out));
            open.waits = false;
            self.open = Some(open);
        }
    }

    fn block_delta(&mut self, block: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some(open) = self.open.as_ref().filter(|open| open.block == block) else { return };
        if open.waits {
            self.start_text(delta, out);
        }
        let Some(OpenBlock { block: _, index: Some(index), waits: _, thinks }) = &self.open else {
            // A text that is there for its signature, or a block that is dropped.
            if let Delta::Signature(_) = delta {
                self.losses.waive(format!("content[{}].signature", self.next_index));
            }
            return;
        };
        let (index, thinks) = (*index, *thinks);
        let mut say = |delta| send(&Written::ContentBlockDelta { index, delta }, out);
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => say(WrittenDelta::Text { text }),
            // Its call has no block.
            Delta::Input(_) => {}
            Delta::Arguments(partial_json) => say(WrittenDelta::Input { partial_json }),
            Delta::Thinking(thinking) => say(WrittenDelta::Thinking { thinking }),
            Delta::Signature(signature) if thinks => {
                say(WrittenDelta::Signature {
                    signature: &seal::seal_signature(signature, Provider::Anthropic),
                });
            }
            // Only Gemini signs text, and it answers without that signature too.
            Delta::Signature(_) => self.losses.waive(format!("content[{index}].signature")),
            Delta::Citation(citation) => match citation::from_canonical(citation) {
                Some(citation) => say(WrittenDelta::Citation { citation }),
                None => self.losses.waive(format!("content[{index}].citations")),
            },
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(index) = self.open.take().and_then(|open| open.index) {
            send(&Written::ContentBlockStop { index }, out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        let origin = self.losses.origin();
        let (stop_reason, stop_sequence) =
            stop_reason::from_canonical(self.stop.as_ref(), origin, self.calls_tools, self.refuses);
        let extra = self.stop.as_ref().map(|stop| own_fields(origin, &stop.foreign, &mut self.losses));
        let extra = extra.unwrap_or_default();
        let delta = MessageEnd { stop_reason: Some(stop_reason), stop_sequence, extra };
        let counts = self.usage.unwrap_or_else(|| self.estimate());
        let split = counts.cache_write_1h != self.told_cache_write_1h;
        let mut counts = usage::from_canonical(&counts);
        // The end says totals. How the writes to a cache split, the start has said where it knew.
        counts.cache_creation = counts.cache_creation.filter(|_| split);
        send(&Written::MessageDelta { delta, usage: counts }, out);
        send(&Written::MessageStop, out);
        self.phase = Phase::Ended;
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

fn send(event: &Written<'_>, out: &mut Vec<u8>) {
    // Strings and numbers only, so encoding can't fail.
    let json = serde_json::to_string(event).unwrap_or_default();
    named_event(event.name(), &json, out);
}
