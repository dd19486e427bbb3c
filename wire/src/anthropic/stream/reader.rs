//! Reading Anthropic's stream.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::block::OpenBlock;
use super::event::{MessageEnd, ReadBlockDelta, ReadBlockStart, ReadBlockStop, ReadEnd, ReadKind, ReadStart};
use crate::anthropic::response::MessagesResponse;
use crate::anthropic::usage::{self, Usage};
use crate::anthropic::{error, stop_reason};
use crate::canonical::{
    Dialect, Event, Failure, FailureClass, Mint, Opening, ReadStream, Start, Stop, StopReason, keep_foreign,
};
use crate::sse::{Decoder, Frame};

/// The largest event: what a hosted tool found comes in one.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// Reads a stream. As Anthropic's own client does, it skips events without a name and events it does not know.
///
/// The reason to end is told when the message has ended and not before, so that an answer which breaks off after its
/// last token is no whole one.
#[derive(Debug)]
pub struct StreamReader {
    /// `None` once the stream ended.
    decoder: Option<Decoder>,
    mint: Mint,
    started: bool,
    /// By Anthropic's index.
    open: BTreeMap<u64, OpenBlock>,
    next_block: u32,
    usage: Usage,
    end: MessageEnd,
    calls_tools: bool,
}

impl StreamReader {
    /// A reader. `mint` gives the ids that some servers leave out.
    pub fn new(mint: Mint) -> Self {
        Self {
            decoder: Some(Decoder::new(MAX_EVENT_BYTES)),
            mint,
            started: false,
            open: BTreeMap::new(),
            next_block: 0,
            usage: Usage::default(),
            end: MessageEnd::default(),
            calls_tools: false,
        }
    }

    /// The same, refusing events of more bytes than this.
    #[must_use]
    pub fn limited(self, max_event_bytes: usize) -> Self {
        Self { decoder: Some(Decoder::new(max_event_bytes)), ..self }
    }

    fn frame(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Failure> {
        let (Some(name), Some(data)) = (frame.name(), frame.data()) else { return Ok(()) };
        if name == "error" {
            return Err(error::to_canonical(200, None, &data));
        }
        // Some servers name every event `message`; the data says what it is.
        let kind = serde_json::from_slice::<ReadKind>(&data).map(|kind| kind.kind);
        match kind.as_deref().unwrap_or(name) {
            "error" => Err(error::to_canonical(200, None, &data)),
            "ping" => {
                events.push(Event::Ping);
                Ok(())
            }
            "message_start" => {
                let ReadStart { message } = parse(name, &data)?;
                self.start(message, events);
                Ok(())
            }
            known @ ("content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop") => {
                if !self.started {
                    return Err(upstream(format!("the upstream's stream began with `{known}`")));
                }
                self.step(known, &data, events)
            }
            _ => Ok(()),
        }
    }

    /// A second start says nothing new but its counts.
    fn start(&mut self, message: MessagesResponse, events: &mut Vec<Event>) {
        let MessagesResponse {
            id,
            kind: _,
            role: _,
            model,
            content: _,
            stop_reason: _,
            stop_sequence: _,
            usage,
            error: _,
            request_id: _,
            extra,
        } = message;
        let usage = usage.unwrap_or_default();
        if !self.started {
            self.started = true;
            let mut foreign = Vec::new();
            keep_foreign("", extra, &mut foreign);
            keep_foreign(usage::PARENT, usage.extra.clone(), &mut foreign);
            events.push(Event::Start(Start {
                origin: Dialect::Anthropic,
                id,
                created: None,
                model,
                foreign,
            }));
        }
        self.count(usage, events);
    }

    fn step(&mut self, kind: &str, data: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        match kind {
            "content_block_start" => {
                let ReadBlockStart { index, content_block } = parse(kind, data)?;
                if self.open.contains_key(&index) {
                    return Err(upstream(format!("the upstream started block {index} twice")));
                }
                let first = events.len();
                let block = OpenBlock::begin(content_block, &mut self.next_block, &mut self.mint, events)
                    .map_err(|problem| upstream(format!("the upstream's block {index}: {problem}")))?;
                let calls = |event: &Event| {
                    matches!(event, Event::BlockStart { opening: Opening::ToolCall { .. }, .. })
                };
                self.calls_tools |= events.iter().skip(first).any(calls);
                self.open.insert(index, block);
            }
            "content_block_delta" => {
                let ReadBlockDelta { index, delta } = parse(kind, data)?;
                let block = self.open.get_mut(&index).ok_or_else(|| not_open(index))?;
                block.grow(delta, events).map_err(|problem| misfit(index, &problem))?;
            }
            "content_block_stop" => {
                let ReadBlockStop { index } = parse(kind, data)?;
                let block = self.open.remove(&index).ok_or_else(|| not_open(index))?;
                block.end(&mut self.next_block, events).map_err(|problem| misfit(index, &problem))?;
            }
            "message_delta" => {
                let ReadEnd { delta, usage } = parse(kind, data)?;
                let MessageEnd { stop_reason, stop_sequence, extra } = delta;
                if stop_reason.is_some() {
                    (self.end.stop_reason, self.end.stop_sequence) = (stop_reason, stop_sequence);
                }
                self.end.extra.extend(extra);
                if let Some(usage) = usage {
                    self.count(usage, events);
                }
            }
            _ => self.stop(events)?,
        }
        Ok(())
    }

    fn count(&mut self, usage: Usage, events: &mut Vec<Event>) {
        self.usage.update(usage);
        events.push(Event::Usage(usage::to_canonical(&self.usage)));
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        // Some servers forget to stop the last block.
        for (index, block) in std::mem::take(&mut self.open) {
            block.end(&mut self.next_block, events).map_err(|problem| misfit(index, &problem))?;
        }
        let MessageEnd { stop_reason, stop_sequence, extra } = std::mem::take(&mut self.end);
        let mut stop = match stop_reason {
            Some(reason) => stop_reason::to_canonical(&reason, stop_sequence, self.calls_tools),
            None => Stop::new(StopReason::EndTurn.with_calls(self.calls_tools)),
        };
        keep_foreign("", extra, &mut stop.foreign);
        events.push(Event::Stop { choice: 0, stop });
        events.push(Event::End);
        self.decoder = None;
        Ok(())
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
            let read = match decoder.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => self.frame(&frame, events),
                Err(error) => Err(upstream(format!("the upstream's stream can't be read: {error}"))),
            };
            if let Err(failure) = read {
                self.fail(failure, events);
            }
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let Some(decoder) = self.decoder.take() else { return };
        // A last event whose blank line is missing is still whole if it parses.
        let rest =
            decoder.finish().map(|frame| (parse::<ReadKind>("", &frame.data().unwrap_or_default()), frame));
        if let Some((Ok(_), frame)) = rest {
            self.decoder = Some(Decoder::new(MAX_EVENT_BYTES));
            if let Err(failure) = self.frame(&frame, events) {
                self.fail(failure, events);
            }
        }
        let ended = matches!(events.last(), Some(Event::End | Event::Error(_)));
        self.decoder = None;
        if !ended {
            events.push(Event::Error(Failure::truncated(Dialect::Anthropic)));
        }
    }
}

fn parse<T: DeserializeOwned>(name: &str, data: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(data)
        .map_err(|error| upstream(format!("the upstream's event `{name}` can't be read: {error}")))
}

fn not_open(index: u64) -> Failure {
    upstream(format!("the upstream's stream goes on with block {index}, which is not open"))
}

fn misfit(index: u64, problem: &str) -> Failure {
    upstream(format!("the upstream's block {index}: {problem}"))
}

fn upstream(message: String) -> Failure {
    let mut failure = Failure::new(FailureClass::Upstream, message);
    failure.origin = Some(Dialect::Anthropic);
    failure
}
