//! What both ways of the translation promise together.

mod answers;
mod properties;
mod requests;
mod streams;

use crate::canonical::{Assembler, Envelope, Event, Mint, ReadStream, Response};
use crate::openai::translate::chat::StreamReader;

pub(super) fn envelope() -> Envelope {
    Envelope { id: "chatcmpl-1".into(), created: 7, model: "m".into() }
}

pub(super) fn mint() -> Mint {
    Mint::new("test")
}

/// Reads a stream that comes in `pieces`.
pub(super) fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut reader, mut events) = (StreamReader::new(mint()), Vec::new());
    for piece in pieces {
        reader.read(piece, &mut events);
    }
    reader.finish(&mut events);
    events
}

pub(super) fn assembled(events: &[Event]) -> Response {
    let mut assembler = Assembler::new();
    for event in events {
        assembler.push(event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    }
    assembler.finish().expect("whole")
}
