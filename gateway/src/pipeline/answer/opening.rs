//! What is held back before the commit point, counted as it comes. A network may hand on each byte alone, so that only the
//! framing tells events.

use weighbridge_wire::eventstream;
use weighbridge_wire::lane::Lane;

/// Events of the upstream's and bytes for the caller. With more than that the answer begins without it: comments and
/// openings are signs of life, and must not fill memory.
const EVENTS: u32 = 64;
const BYTES: usize = 256 << 10;

/// Until the commit point.
pub(super) struct Opening {
    events: u32,
    framing: Framing,
}

/// Where in an event a stream is.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// Of server-sent events and comments, each of which a blank line ends: bytes of the present line.
    Lines { line: usize },
    /// Of AWS's messages, each of which begins with its length in four bytes: the length, and bytes that came of it.
    Messages { length: u32, came: u32 },
    /// Of objects in an array: how deep in braces, and whether within a string and after its escape.
    Elements { depth: u32, quoted: bool, escaped: bool },
}

impl Opening {
    /// Of an upstream's stream in this lane.
    pub(super) fn new(lane: &Lane) -> Self {
        Self::of_type(lane.upstream_media_type())
    }

    fn of_type(media_type: &str) -> Self {
        let framing = match media_type {
            eventstream::MEDIA_TYPE => Framing::Messages { length: 0, came: 0 },
            "application/json" => Framing::Elements { depth: 0, quoted: false, escaped: false },
            _ => Framing::Lines { line: 0 },
        };
        Self { events: 0, framing }
    }

    /// Whether the answer begins without it, `held` bytes for the caller being there.
    pub(super) fn is_full(&self, held: usize) -> bool {
        self.events >= EVENTS || held >= BYTES
    }

    pub(super) fn count(&mut self, data: &[u8]) {
        let ended = data.iter().filter(|byte| self.framing.ends_with(**byte)).count();
        self.events = self.events.saturating_add(u32::try_from(ended).unwrap_or(u32::MAX));
    }
}

impl Framing {
    /// Whether `byte`, the next, ends an event.
    fn ends_with(&mut self, byte: u8) -> bool {
        match self {
            Self::Lines { line } => match byte {
                b'\n' => std::mem::take(line) == 0,
                b'\r' => false,
                _ => {
                    *line += 1;
                    false
                }
            },
            Self::Messages { length, came } => {
                if *came < 4 {
                    *length = (*length << 8) | u32::from(byte);
                }
                *came += 1;
                let ends = *came >= 4 && *came >= *length;
                if ends {
                    (*length, *came) = (0, 0);
                }
                ends
            }
            Self::Elements { quoted: true, escaped: escaped @ true, .. } => {
                *escaped = false;
                false
            }
            Self::Elements { quoted: quoted @ true, escaped, .. } => {
                (*quoted, *escaped) = (byte != b'"', byte == b'\\');
                false
            }
            Self::Elements { depth, quoted, .. } => {
                match byte {
                    b'"' => *quoted = true,
                    b'{' => *depth = depth.saturating_add(1),
                    b'}' => *depth = depth.saturating_sub(1),
                    _ => {}
                }
                byte == b'}' && *depth == 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_wire::sse;

    use super::*;

    #[test]
    fn events_are_told_by_their_framing_however_they_are_cut() {
        let mut message = Vec::new();
        eventstream::event("messageStart", "{\"role\":\"assistant\"}", &mut message);
        let element = br#"{"x":{"y":"}\"}\\"},"z":[{}]},"#.to_vec();
        for (media_type, event) in [
            (sse::MEDIA_TYPE, b": here\r\n\r\n".to_vec()),
            (sse::MEDIA_TYPE, b"event: ping\ndata: {}\n\n".to_vec()),
            (eventstream::MEDIA_TYPE, message),
            ("application/json", element),
        ] {
            let stream = event.repeat(EVENTS as usize);
            let (all_but_one, last) = stream.split_at(stream.len() - event.len());
            for size in [1, 7, stream.len()] {
                let mut opening = Opening::of_type(media_type);
                all_but_one.chunks(size).for_each(|piece| opening.count(piece));
                assert!(!opening.is_full(BYTES - 1), "{media_type} in pieces of {size}");
                assert!(opening.is_full(BYTES));
                last.chunks(size).for_each(|piece| opening.count(piece));
                assert!(opening.is_full(0), "{media_type} in pieces of {size}");
            }
        }
    }
}
