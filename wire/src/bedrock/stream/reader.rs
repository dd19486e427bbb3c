//! Reading Bedrock's stream.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::block::OpenBlock;
use super::event::{
    BLOCK_DELTA, BLOCK_START, BLOCK_STOP, BlockDelta, BlockStart, BlockStop, MESSAGE_START, MESSAGE_STOP,
    METADATA, MessageStop, Metadata, Start as BlockOpening, named,
};
use crate::bedrock::response::upstream;
use crate::bedrock::{stop_reason, usage};
use crate::canonical::{
    Dialect, Event, Failure, Mint, Opening, ReadStream, Start, Stop, StopReason, keep_foreign,
};
use crate::eventstream::{Decoder, Message};

/// The largest event: a picture comes in one, in base64.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// Reads a stream. Events that it does not know are skipped.
#[derive(Debug)]
pub struct StreamReader {
    /// `None` once the stream ended.
    decoder: Option<Decoder>,
    mint: Mint,
    started: bool,
    /// By Bedrock's index.
    open: BTreeMap<u64, OpenBlock>,
    next_block: u32,
    calls_tools: bool,
    /// The answer is whole; what it used may still come.
    stopped: bool,
}

impl StreamReader {
    /// A reader. `mint` gives the ids that some models leave out.
    pub fn new(mint: Mint) -> Self {
        Self {
            decoder: Some(Decoder::new(MAX_EVENT_BYTES)),
            mint,
            started: false,
            open: BTreeMap::new(),
            next_block: 0,
            calls_tools: false,
            stopped: false,
        }
    }

    /// The same, refusing events of more bytes than this.
    #[must_use]
    pub fn limited(self, max_event_bytes: usize) -> Self {
        Self { decoder: Some(Decoder::new(max_event_bytes)), ..self }
    }

    fn message(&mut self, message: &Message, events: &mut Vec<Event>) -> Result<(), Failure> {
        let Some(name) = named(message)? else { return Ok(()) };
        let data = message.payload();
        match name {
            MESSAGE_START => self.start(events),
            METADATA => self.metadata(parse(name, data)?, events),
            // What only the end may follow.
            _ if self.stopped => {}
            BLOCK_START | BLOCK_DELTA | BLOCK_STOP | MESSAGE_STOP if !self.started => {
                return Err(upstream(format!("the upstream's stream began with `{name}`")));
            }
            BLOCK_START => {
                let BlockStart { content_block_index: index, start } = parse(name, data)?;
                if self.open.contains_key(&index) {
                    return Err(upstream(format!("the upstream started block {index} twice")));
                }
                let block = self.begin(start, events).map_err(|problem| misfit(index, &problem))?;
                if let Some(block) = block {
                    self.open.insert(index, block);
                }
            }
            BLOCK_DELTA => {
                let BlockDelta { content_block_index: index, delta } = parse(name, data)?;
                let block = match self.open.entry(index) {
                    std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                    std::collections::btree_map::Entry::Vacant(slot) => {
                        let begun = OpenBlock::begun_by(&delta, &mut self.next_block, events);
                        slot.insert(begun.map_err(|problem| misfit(index, &problem))?)
                    }
                };
                block.grow(delta, events).map_err(|problem| misfit(index, &problem))?;
            }
            BLOCK_STOP => {
                let BlockStop { content_block_index: index } = parse(name, data)?;
                // A block of which nothing came has said nothing.
                if let Some(block) = self.open.remove(&index) {
                    block.end(&mut self.next_block, events).map_err(|problem| misfit(index, &problem))?;
                }
            }
            MESSAGE_STOP => self.stop(parse(name, data)?, events)?,
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            events.push(Event::Start(Start {
                origin: Dialect::Converse,
                id: String::new(),
                created: None,
                model: String::new(),
                foreign: Vec::new(),
            }));
        }
    }

    /// `None` for a block that begins with its first delta.
    fn begin(&mut self, start: BlockOpening, events: &mut Vec<Event>) -> Result<Option<OpenBlock>, String> {
        let BlockOpening { tool_use, extra } = start;
        let before = events.len();
        let block = match tool_use {
            Some(call) => Some(OpenBlock::call(call, &mut self.next_block, &mut self.mint, events)?),
            None if extra.is_empty() => None,
            None => Some(OpenBlock::started(extra)),
        };
        let calls =
            |event: &Event| matches!(event, Event::BlockStart { opening: Opening::ToolCall { .. }, .. });
        self.calls_tools |= events.iter().skip(before).any(calls);
        Ok(block)
    }

    fn stop(&mut self, stop: MessageStop, events: &mut Vec<Event>) -> Result<(), Failure> {
        // Some models forget to stop the last block.
        for (index, block) in std::mem::take(&mut self.open) {
            block.end(&mut self.next_block, events).map_err(|problem| misfit(index, &problem))?;
        }
        let MessageStop { stop_reason, extra } = stop;
        let mut stop = match stop_reason {
            Some(word) => stop_reason::to_canonical(&word, self.calls_tools)?,
            None => Stop::new(StopReason::EndTurn.with_calls(self.calls_tools)),
        };
        keep_foreign("", extra, &mut stop.foreign);
        events.push(Event::Stop { choice: 0, stop });
        self.stopped = true;
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata, events: &mut Vec<Event>) {
        // What it says beside the counts comes after the answer, where no dialect has a place for it.
        let Metadata { usage, extra: _ } = metadata;
        if self.started {
            events.extend(usage.as_ref().map(usage::to_canonical).map(Event::Usage));
        }
        if self.stopped {
            events.push(Event::End);
            self.decoder = None;
        }
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
            let read = match decoder.next_message() {
                Ok(None) => return,
                Ok(Some(message)) => self.message(&message, events),
                Err(error) => Err(upstream(format!("the upstream's stream can't be read: {error}"))),
            };
            if let Err(failure) = read {
                self.fail(failure, events);
            }
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let Some(decoder) = self.decoder.take() else { return };
        // The counts come last, and an answer is whole without them.
        if self.stopped && !decoder.is_within() {
            events.push(Event::End);
        } else {
            events.push(Event::Error(Failure::truncated(Dialect::Converse)));
        }
    }
}

fn parse<T: DeserializeOwned>(name: &str, data: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(data)
        .map_err(|error| upstream(format!("the upstream's event `{name}` can't be read: {error}")))
}

fn misfit(index: u64, problem: &str) -> Failure {
    upstream(format!("the upstream's block {index}: {problem}"))
}
