//! Streamed answers: bytes of an upstream in, cut anywhere, and bytes for the client out.

mod raw;
mod translated;

use std::sync::Arc;

use self::raw::Raw;
use self::translated::Translated;
use super::{Lane, Operation, Stamp};
use crate::bedrock;
use crate::bedrock::invoke::Unwrapper;
use crate::canonical::{Dialect, Failure, Usage};
use crate::sse;

/// The stream of one answer, in either lane.
#[derive(Debug)]
pub struct Stream {
    way: Way,
    /// Where a cloud wraps the events of its upstream's dialect.
    wrapped: Option<Wrapped>,
    observed: Observed,
}

#[derive(Debug)]
struct Wrapped {
    unwrapper: Unwrapper,
    /// Kept between calls for its room.
    events: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Raw(Box<Raw>),
    Translated(Box<Translated>),
}

/// What a stream may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamBounds {
    /// Of one event of the upstream's.
    pub event_bytes: usize,
    /// Of an answer that is translated, for some dialects say it once more at its end.
    pub answer_bytes: usize,
}

/// What a stream has come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Something came that a client acts on: text, thinking, a call, a refusal or a reason to end. Before that another
    /// upstream may be asked without anyone noticing. Opening chunks, pings and comments are no such thing.
    pub meaningful: bool,
    /// Events that brought text, thinking or a piece of a call since the last look: about one token each.
    pub pieces: u32,
    /// What was used, by the latest that the upstream said.
    pub usage: Option<Usage>,
    /// Where the answer is made, by the latest that the upstream said.
    pub place: Option<Arc<str>>,
    /// How it ended, once it has. Whatever comes after that is ignored.
    pub ended: Option<Ended>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With the answer.
    Whole,
    /// Without it. Nothing was written of the failure: [`Stream::fail`] tells the client, in words of the caller's
    /// choice.
    Failed(Failure),
}

impl Lane {
    /// The stream of the answer. What goes beyond `bounds` is its end.
    pub fn stream(self, stamp: &Stamp, bounds: StreamBounds) -> Stream {
        let way = match &self.translation {
            None => Way::Raw(Box::new(Raw::new(&self, bounds.event_bytes))),
            Some(translation) => {
                Way::Translated(Box::new(Translated::new(&self, translation, stamp, bounds)))
            }
        };
        let wrapped = self
            .unwraps()
            .then(|| Wrapped { unwrapper: Unwrapper::new(bounds.event_bytes), events: Vec::new() });
        Stream { way, wrapped, observed: Observed::default() }
    }
}

impl Stream {
    /// Takes the next bytes of the upstream's and appends what they come to for the client.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Observed {
        self.observed.pieces = 0;
        if self.observed.ended.is_none() {
            let Self { way, wrapped, observed } = self;
            let (bytes, thrown) = match wrapped {
                None => (bytes, None),
                Some(Wrapped { unwrapper, events }) => {
                    events.clear();
                    let thrown = unwrapper.push(bytes, events).err();
                    (events.as_slice(), thrown)
                }
            };
            match way {
                Way::Raw(raw) => raw.push(bytes, out, observed),
                Way::Translated(translated) => translated.push(bytes, out, observed),
            }
            if let Some(failure) = thrown {
                observed.end(Err(failure));
            }
        }
        self.observed.clone()
    }

    /// The upstream closed the connection, or it broke. A stream always has an end after this.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Observed {
        self.observed.pieces = 0;
        if self.observed.ended.is_none() {
            match &mut self.way {
                Way::Raw(raw) => raw.finish(out, &mut self.observed),
                Way::Translated(translated) => translated.finish(out, &mut self.observed),
            }
        }
        self.observed.clone()
    }

    /// Ends the client's stream with `failure`, in its dialect's shape.
    pub fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        match &mut self.way {
            Way::Raw(raw) => raw.fail(failure, out),
            Way::Translated(translated) => translated.fail(failure, out),
        }
        self.observed.ended.get_or_insert_with(|| Ended::Failed(failure.clone()));
    }

    /// About the bytes of the answer that are kept until its end, as some dialects say it once more there; none of a stream
    /// that passes as it comes.
    pub fn kept(&self) -> usize {
        match &self.way {
            Way::Raw(_) => 0,
            Way::Translated(translated) => translated.kept(),
        }
    }

    /// What was left out so far, by the upstream's names.
    pub fn dropped(&self) -> &[String] {
        match &self.way {
            Way::Raw(_) => &[],
            Way::Translated(translated) => translated.dropped(),
        }
    }
}

impl Observed {
    fn end(&mut self, how: Result<(), Failure>) {
        let how = how.map_or_else(Ended::Failed, |()| Ended::Whole);
        self.ended.get_or_insert(how);
    }
}

/// Appends what a client of `door` skips, to keep its connection open between events.
pub fn keep_alive(door: Operation, out: &mut Vec<u8>) {
    match door.dialect() {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => {
            sse::comment("ping", out);
        }
        Dialect::Anthropic => sse::named_event("ping", r#"{"type":"ping"}"#, out),
        // Between the elements of an array as between events. Google's Python client takes a comment for an error.
        Dialect::Gemini => out.push(b'\n'),
        Dialect::Converse => bedrock::stream::keep_alive(out),
    }
}
