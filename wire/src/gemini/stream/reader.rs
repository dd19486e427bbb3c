//! An upstream's stream.

use super::json_pieces::{JsonPieces, Piece};
use crate::canonical::{Dialect, Event, Failure, FailureClass, Mint, ReadStream};
use crate::gemini::proto_json::parse;
use crate::gemini::response::AnswerReader;
use crate::sse::{Decoder, Frame};

/// The largest piece: a picture comes in one, in base64.
const MAX_PIECE_BYTES: usize = 64 << 20;

/// Reads a stream. How it is framed is seen from its first byte, since some servers ignore what was asked for.
#[derive(Debug)]
pub struct StreamReader {
    answer: AnswerReader,
    framing: Reading,
    max_piece_bytes: usize,
}

#[derive(Debug)]
enum Reading {
    /// Nothing but white space came.
    Unknown,
    Events(Decoder),
    /// An array, or a lone error.
    Json(JsonPieces),
    /// The stream has ended.
    Over,
}

impl StreamReader {
    /// A reader; `mint` makes the ids of calls that have none.
    pub fn new(mint: Mint) -> Self {
        Self { answer: AnswerReader::new(mint), framing: Reading::Unknown, max_piece_bytes: MAX_PIECE_BYTES }
    }

    /// The same, refusing pieces of more bytes than this.
    #[must_use]
    pub fn limited(self, max_piece_bytes: usize) -> Self {
        Self { max_piece_bytes, ..self }
    }

    fn piece(answer: &mut AnswerReader, json: &[u8], events: &mut Vec<Event>) {
        match parse(json) {
            Ok(piece) => answer.read(piece, events),
            Err(error) => {
                answer.fail(unreadable(format!("a piece of the upstream's stream: {error}")), events)
            }
        }
    }

    fn frame(answer: &mut AnswerReader, frame: &Frame, events: &mut Vec<Event>) {
        match frame.data() {
            Some(data) if data.trim_ascii().is_empty() => {}
            Some(data) => Self::piece(answer, &data, events),
            None => {
                // An error within a stream is plain JSON, in lines that are no event's.
                let raw = frame.raw().trim_ascii();
                if raw.starts_with(b"{") {
                    Self::piece(answer, raw, events);
                } else if raw.starts_with(b":") {
                    events.push(Event::Ping);
                }
            }
        }
    }
}

fn unreadable(problem: String) -> Failure {
    let mut failure = Failure::new(FailureClass::Upstream, problem);
    failure.origin = Some(Dialect::Gemini);
    failure
}

impl ReadStream for StreamReader {
    fn read(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let bytes = match self.framing {
            Reading::Unknown => bytes.trim_ascii_start(),
            Reading::Events(_) | Reading::Json(_) | Reading::Over => bytes,
        };
        let Some(first) = bytes.first() else { return };
        if matches!(self.framing, Reading::Unknown) {
            self.framing = match first {
                b'[' | b'{' => Reading::Json(JsonPieces::new(self.max_piece_bytes)),
                _ => Reading::Events(Decoder::new(self.max_piece_bytes)),
            };
        }
        match &mut self.framing {
            Reading::Unknown | Reading::Over => {}
            Reading::Events(decoder) => {
                decoder.push(bytes);
                while !self.answer.has_failed() {
                    match decoder.next_frame() {
                        Ok(Some(frame)) => Self::frame(&mut self.answer, &frame, events),
                        Ok(None) => break,
                        Err(error) => self.answer.fail(unreadable(error.to_string()), events),
                    }
                }
            }
            Reading::Json(pieces) => {
                pieces.push(bytes);
                while !self.answer.has_failed() {
                    match pieces.next() {
                        Ok(Some(Piece::Object(object))) => Self::piece(&mut self.answer, &object, events),
                        Ok(Some(Piece::Between(_))) => {}
                        Ok(None) => break,
                        Err(_) => {
                            let limit = self.max_piece_bytes;
                            let problem = format!("an element of the array is larger than {limit} bytes");
                            self.answer.fail(unreadable(problem), events);
                        }
                    }
                }
            }
        }
        if self.answer.has_failed() {
            self.framing = Reading::Over;
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        match std::mem::replace(&mut self.framing, Reading::Over) {
            Reading::Over => return,
            Reading::Unknown => {}
            Reading::Json(pieces) if pieces.is_within() => {
                return self.answer.fail(Failure::truncated(Dialect::Gemini), events);
            }
            Reading::Json(_) => {}
            Reading::Events(decoder) => {
                // The last event may lack its blank line, and an error within a stream has none.
                if let Some(frame) = decoder.finish() {
                    let cut = frame
                        .data()
                        .is_some_and(|data| serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_err());
                    if cut {
                        return self.answer.fail(Failure::truncated(Dialect::Gemini), events);
                    }
                    Self::frame(&mut self.answer, &frame, events);
                }
            }
        }
        self.answer.finish(events);
    }
}
