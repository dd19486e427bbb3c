//! A stream that passes as it came, but for the model's name and for a usage that nobody asked for.

use serde_json::json;

use super::Observed;
use crate::canonical::{Dialect, Failure};
use crate::edit::{quoted, splice};
use crate::gemini::{Framing, JsonPieces, Piece};
use crate::lane::raw::{Reader, Seen, unreadable};
use crate::lane::{Lane, Operation, error};
use crate::openai::translate::error::api_error;
use crate::sse::{self, Decoder, Frame, is_done};

#[derive(Debug)]
pub(super) struct Raw {
    dialect: Dialect,
    frames: Frames,
    /// Of an array: what it ended with so far.
    tail: Option<Tail>,
    reader: Reader,
    /// The model's name for the client, as a JSON string.
    model: String,
    keep_usage: bool,
    /// Events so far: Responses numbers them.
    passed: u64,
    max_event_bytes: usize,
}

#[derive(Debug)]
enum Frames {
    Events(Decoder),
    Array(JsonPieces),
    /// The connection is closed.
    Closed,
}

/// What an array ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Nothing,
    /// Its bracket, or a comma.
    Open,
    Element,
    Closed,
}

/// Whether the stream goes on.
type Step = Result<Next, Failure>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    More,
    End,
}

impl Raw {
    pub(super) fn new(lane: &Lane, max_event_bytes: usize) -> Self {
        let array = lane.upstream == Operation::StreamGenerateContent { framing: Framing::Array };
        let frames = if array {
            Frames::Array(JsonPieces::new(max_event_bytes))
        } else {
            Frames::Events(Decoder::new(max_event_bytes))
        };
        let dialect = lane.upstream.dialect();
        Self {
            dialect,
            frames,
            tail: array.then_some(Tail::Nothing),
            reader: Reader::new(dialect),
            model: quoted(&lane.model),
            keep_usage: lane.include_usage,
            passed: 0,
            max_event_bytes,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>, observed: &mut Observed) {
        let step = match std::mem::replace(&mut self.frames, Frames::Closed) {
            Frames::Events(mut decoder) => {
                decoder.push(bytes);
                let step = self.events(&mut decoder, out, observed);
                self.frames = Frames::Events(decoder);
                step
            }
            Frames::Array(mut pieces) => {
                pieces.push(bytes);
                let step = self.elements(&mut pieces, out, observed);
                self.frames = Frames::Array(pieces);
                step
            }
            Frames::Closed => Ok(Next::More),
        };
        match step {
            Ok(Next::More) => {}
            Ok(Next::End) => observed.end(Ok(())),
            Err(failure) => observed.end(Err(failure)),
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>, observed: &mut Observed) {
        let step = match std::mem::replace(&mut self.frames, Frames::Closed) {
            Frames::Events(decoder) => self.last_event(decoder, out, observed),
            Frames::Array(pieces) if pieces.is_within() => Err(Failure::truncated(self.dialect)),
            Frames::Array(_) => {
                if self.reader.is_whole_at_close() && self.tail == Some(Tail::Element) {
                    out.push(b']');
                }
                Ok(Next::More)
            }
            Frames::Closed => Ok(Next::More),
        };
        let whole = self.reader.is_whole_at_close();
        observed.end(step.and_then(|next| match next {
            Next::End => Ok(()),
            Next::More if whole => Ok(()),
            Next::More => Err(Failure::truncated(self.dialect)),
        }));
    }

    fn events(&mut self, decoder: &mut Decoder, out: &mut Vec<u8>, observed: &mut Observed) -> Step {
        loop {
            match decoder.next_frame() {
                Ok(None) => return Ok(Next::More),
                Ok(Some(frame)) => {
                    if self.frame(&frame, out, observed)? == Next::End {
                        return Ok(Next::End);
                    }
                }
                Err(problem) => return Err(unreadable(self.dialect, &problem.to_string())),
            }
        }
    }

    /// A last event without its blank line is none by the standard; some servers end their answers with one.
    fn last_event(&mut self, decoder: Decoder, out: &mut Vec<u8>, observed: &mut Observed) -> Step {
        let Some(frame) = decoder.finish() else { return Ok(Next::More) };
        let data = frame.data().unwrap_or_default();
        let json = if data.is_empty() { frame.raw().as_ref() } else { &*data };
        let all_there =
            is_done(json) || serde_json::from_slice::<serde::de::IgnoredAny>(json.trim_ascii()).is_ok();
        if !all_there {
            return Ok(Next::More);
        }
        let before = out.len();
        let next = self.frame(&frame, out, observed)?;
        if next == Next::More && !self.reader.is_whole_at_close() {
            out.truncate(before);
        } else if out.len() > before {
            let lines: &[u8] = if frame.raw().ends_with(b"\n") { b"\n" } else { b"\n\n" };
            out.extend_from_slice(lines);
        }
        Ok(next)
    }

    fn frame(&mut self, frame: &Frame, out: &mut Vec<u8>, observed: &mut Observed) -> Step {
        let Some(data) = frame.data() else { return self.no_event(frame, out) };
        if data.trim_ascii().is_empty() {
            return Ok(Next::More);
        }
        if is_done(&data) {
            // Responses end with an event; what imitates them may add this.
            let ends = matches!(self.reader, Reader::OpenAi(_));
            if ends {
                out.extend_from_slice(frame.raw());
            }
            return Ok(if ends { Next::End } else { Next::More });
        }
        let text =
            std::str::from_utf8(&data).map_err(|error| unreadable(self.dialect, &error.to_string()))?;
        let seen = self.see(frame.name(), text, observed)?;
        let next = if seen.ends { Next::End } else { Next::More };
        if seen.only_usage && !self.keep_usage {
            return Ok(next);
        }
        let renamed = seen.model.filter(|at| text.get(at.clone()) != Some(self.model.as_str()));
        match (renamed, frame.data_span()) {
            (None, _) => out.extend_from_slice(frame.raw()),
            (Some(at), Some(span)) => {
                let raw = frame.raw();
                out.extend_from_slice(raw.get(..span.start + at.start).unwrap_or_default());
                out.extend_from_slice(self.model.as_bytes());
                out.extend_from_slice(raw.get(span.start + at.end..).unwrap_or_default());
            }
            (Some(at), None) => {
                let data = splice(text, &[(at, self.model.clone())]);
                let data = String::from_utf8_lossy(&data);
                match frame.name() {
                    Some(name) => sse::named_event(name, &data, out),
                    None => sse::event(&data, out),
                }
            }
        }
        Ok(next)
    }

    /// A comment, which passes; or, in Gemini's dialect, an error, which is plain JSON between events.
    fn no_event(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Step {
        let raw = frame.raw().trim_ascii();
        if self.dialect == Dialect::Gemini && raw.starts_with(b"{") {
            let text =
                std::str::from_utf8(raw).map_err(|error| unreadable(self.dialect, &error.to_string()))?;
            self.reader.event(None, text)?;
        }
        if self.dialect == Dialect::Gemini && raw.starts_with(b"[") {
            return Err(unreadable(self.dialect, "it is an array, and events were asked for"));
        }
        out.extend_from_slice(frame.raw());
        Ok(Next::More)
    }

    fn elements(&mut self, pieces: &mut JsonPieces, out: &mut Vec<u8>, observed: &mut Observed) -> Step {
        loop {
            match pieces.next() {
                Ok(None) => return Ok(Next::More),
                Ok(Some(Piece::Between(bytes))) => {
                    for byte in bytes {
                        self.tail = match byte {
                            b'[' | b',' => Some(Tail::Open),
                            b']' => Some(Tail::Closed),
                            byte if byte.is_ascii_whitespace() => self.tail,
                            _ => return Err(unreadable(self.dialect, "it is no array of answers")),
                        };
                        out.push(byte);
                    }
                }
                Ok(Some(Piece::Object(object))) => {
                    let text = std::str::from_utf8(&object)
                        .map_err(|error| unreadable(self.dialect, &error.to_string()))?;
                    let seen = self.see(None, text, observed)?;
                    let edits: Vec<_> = seen.model.map(|at| (at, self.model.clone())).into_iter().collect();
                    out.extend_from_slice(&splice(text, &edits));
                    self.tail = Some(Tail::Element);
                }
                Err(_) => {
                    let limit = self.max_event_bytes;
                    let problem = format!("an element of the array is larger than {limit} bytes");
                    return Err(unreadable(self.dialect, &problem));
                }
            }
        }
    }

    fn see(&mut self, name: Option<&str>, text: &str, observed: &mut Observed) -> Result<Seen, Failure> {
        let seen = self.reader.event(name, text)?;
        self.passed += 1;
        observed.meaningful |= seen.meaningful;
        observed.pieces = observed.pieces.saturating_add(u32::from(seen.speaks));
        observed.usage = seen.usage.or(observed.usage);
        if seen.place.is_some() {
            observed.place.clone_from(&seen.place);
        }
        Ok(seen)
    }

    pub(super) fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        let body = || String::from_utf8_lossy(&error(self.dialect, failure).body).into_owned();
        match (self.dialect, self.tail) {
            (Dialect::OpenAiChat | Dialect::OpenAiCompletions, _) => sse::event(&body(), out),
            (Dialect::OpenAiResponses, _) => {
                let error = api_error(failure).body.error;
                let code = error.code.unwrap_or_else(|| "server_error".to_owned());
                let event = json!({
                    "type": "error",
                    "sequence_number": self.passed,
                    "code": code,
                    "message": error.message,
                    "param": error.param,
                });
                sse::named_event("error", &event.to_string(), out);
            }
            (Dialect::Anthropic, _) => sse::named_event("error", &body(), out),
            (Dialect::Gemini, Some(tail)) => {
                let before = match tail {
                    Tail::Nothing => "[",
                    Tail::Open => "",
                    Tail::Element => ",\n",
                    // Nothing fits behind an array.
                    Tail::Closed => return,
                };
                out.extend_from_slice(format!("{before}{}\n]", body()).as_bytes());
            }
            // Plain JSON and no event: so Google sends it.
            (Dialect::Gemini, None) => out.extend_from_slice(format!("{}\n\n", body()).as_bytes()),
        }
    }
}
