//! A stream that is read in one dialect and written in another.

use std::fmt;
use std::sync::Arc;

use super::{Observed, StreamBounds};
use crate::canonical::{
    Delta, Dialect, Event, Failure, Image, MediaSource, Opening, Part, ReadStream, WriteStream,
};
use crate::gemini::Framing;
use crate::lane::raw::unreadable;
use crate::lane::{Lane, Operation, Stamp, Translation};
use crate::openai::translate::{chat, completions, responses};
use crate::{anthropic, bedrock, gemini};

pub(super) struct Translated {
    reader: Box<dyn ReadStream + Send>,
    writer: Box<dyn WriteStream + Send>,
    /// Kept between calls for its room.
    events: Vec<Event>,
    /// About the bytes that the writer keeps: some dialects say a whole answer once more at its end.
    kept: usize,
    most: usize,
    upstream: Dialect,
}

impl fmt::Debug for Translated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translated").finish_non_exhaustive()
    }
}

impl Translated {
    pub(super) fn new(lane: &Lane, translation: &Translation, stamp: &Stamp, bounds: StreamBounds) -> Self {
        Self {
            reader: reader(lane.upstream.dialect(), stamp, bounds.event_bytes),
            writer: writer(lane, translation, stamp),
            events: Vec::new(),
            kept: 0,
            most: bounds.answer_bytes,
            upstream: lane.upstream.dialect(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>, observed: &mut Observed) {
        self.reader.read(bytes, &mut self.events);
        self.write(out, observed);
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>, observed: &mut Observed) {
        self.reader.finish(&mut self.events);
        self.write(out, observed);
    }

    pub(super) fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        // A failure can be said in every dialect.
        let _ = self.writer.write(&Event::Error(failure.clone()), out);
    }

    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn dropped(&self) -> &[String] {
        self.writer.dropped()
    }

    fn write(&mut self, out: &mut Vec<u8>, observed: &mut Observed) {
        for event in self.events.drain(..) {
            if observed.ended.is_some() {
                break;
            }
            let event = match event {
                Event::Error(failure) => {
                    observed.end(Err(failure));
                    break;
                }
                event => event,
            };
            observe(&event, observed);
            self.kept = self.kept.saturating_add(weight(&event));
            if self.kept > self.most {
                let problem = format!("it is larger than {} bytes", self.most);
                observed.end(Err(unreadable(self.upstream, &problem)));
                break;
            }
            match self.writer.write(&event, out) {
                Ok(()) if event == Event::End => observed.end(Ok(())),
                Ok(()) => {}
                Err(lost) => observed.end(Err(lost.to_failure())),
            }
        }
    }
}

/// What an event costs beside its text.
const EVENT_BYTES: usize = 16;

/// About the bytes of an event that may be kept.
fn weight(event: &Event) -> usize {
    let text = match event {
        Event::BlockDelta { choice: _, block: _, delta } => match delta {
            Delta::Text(text)
            | Delta::Arguments(text)
            | Delta::Input(text)
            | Delta::Thinking(text)
            | Delta::Refusal(text) => text.len(),
            Delta::Signature(signature) => signature.data.len(),
            Delta::Citation(_) => 16 * EVENT_BYTES,
        },
        Event::BlockStart { choice: _, block: _, opening } => match opening {
            Opening::Text | Opening::Thinking { id: _ } | Opening::Refusal => 16 * EVENT_BYTES,
            Opening::ToolCall { id, name, signature: _ } | Opening::CustomCall { id, name } => {
                id.len() + name.len() + 16 * EVENT_BYTES
            }
            Opening::RedactedThinking { provider: _, data } => data.len(),
            Opening::Whole(part) => of_part(part),
        },
        Event::Logprobs { choice: _, logprobs } => {
            16 * EVENT_BYTES * (logprobs.content.len() + logprobs.refusal.len())
        }
        // Nothing is kept of them, or once.
        Event::Usage(_) | Event::Ping | Event::Start(_) | Event::End | Event::Error(_) => return 0,
        Event::BlockStop { choice: _, block: _ } | Event::Stop { choice: _, stop: _ } => 0,
    };
    text + EVENT_BYTES
}

fn of_part(part: &Part) -> usize {
    match part {
        Part::Image(Image { source: MediaSource::Inline { media_type: _, data }, .. }) => data.len(),
        Part::Text(text) => text.text.len(),
        Part::Foreign(foreign) => foreign.value.to_string().len(),
        Part::Image(_)
        | Part::Audio(_)
        | Part::Document(_)
        | Part::ToolCall(_)
        | Part::CustomCall(_)
        | Part::ToolResult(_)
        | Part::Thinking(_)
        | Part::RedactedThinking(_)
        | Part::Refusal(_) => 16 * EVENT_BYTES,
    }
}

fn observe(event: &Event, observed: &mut Observed) {
    let (meaningful, speaks) = match event {
        Event::BlockStart { choice: _, block: _, opening } => match opening {
            // They begin with their first words.
            Opening::Text | Opening::Thinking { id: _ } | Opening::Refusal => (false, false),
            Opening::ToolCall { .. } | Opening::CustomCall { .. } => (true, true),
            Opening::RedactedThinking { .. } | Opening::Whole(_) => (true, false),
        },
        Event::BlockDelta { choice: _, block: _, delta } => match delta {
            Delta::Text(text)
            | Delta::Arguments(text)
            | Delta::Input(text)
            | Delta::Thinking(text)
            | Delta::Refusal(text) => (!text.is_empty(), !text.is_empty()),
            Delta::Signature(_) | Delta::Citation(_) => (false, false),
        },
        Event::Stop { choice: _, stop: _ } | Event::End => (true, false),
        Event::Usage(usage) => {
            observed.usage = Some(*usage);
            (false, false)
        }
        Event::Start(start) => {
            observed.place = anthropic::usage::inference_geo(&start.foreign).map(Arc::from);
            (false, false)
        }
        Event::BlockStop { choice: _, block: _ }
        | Event::Logprobs { choice: _, logprobs: _ }
        | Event::Ping
        | Event::Error(_) => (false, false),
    };
    observed.meaningful |= meaningful;
    observed.pieces = observed.pieces.saturating_add(u32::from(speaks));
}

fn reader(upstream: Dialect, stamp: &Stamp, limit: usize) -> Box<dyn ReadStream + Send> {
    let mint = Lane::mint(stamp);
    match upstream {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            Box::new(chat::StreamReader::new(mint).limited(limit))
        }
        Dialect::OpenAiResponses => Box::new(responses::StreamReader::new().limited(limit)),
        Dialect::Anthropic => Box::new(anthropic::StreamReader::new(mint).limited(limit)),
        Dialect::Gemini => Box::new(gemini::StreamReader::new(mint).limited(limit)),
        Dialect::Converse => Box::new(bedrock::StreamReader::new(mint).limited(limit)),
    }
}

fn writer(lane: &Lane, translation: &Translation, stamp: &Stamp) -> Box<dyn WriteStream + Send> {
    let (envelope, policy) = (lane.envelope(stamp), translation.policy);
    match lane.door.dialect() {
        Dialect::OpenAiChat => Box::new(chat::StreamWriter::new(envelope, lane.include_usage, policy)),
        Dialect::OpenAiCompletions => {
            Box::new(completions::StreamWriter::new(envelope, lane.include_usage, policy))
        }
        Dialect::OpenAiResponses => {
            Box::new(responses::StreamWriter::new(envelope, translation.echo(), policy))
        }
        Dialect::Anthropic => {
            let input_tokens = stamp.prompt_tokens.unwrap_or(translation.estimated_input_tokens);
            Box::new(anthropic::StreamWriter::new(envelope, policy, input_tokens))
        }
        Dialect::Gemini => {
            let framing = match lane.door {
                Operation::StreamGenerateContent { framing } => framing,
                _ => Framing::default(),
            };
            Box::new(gemini::StreamWriter::new(envelope, policy, framing))
        }
        Dialect::Converse => Box::new(bedrock::StreamWriter::new(policy).timed(stamp.took.clone())),
    }
}
