//! Reading events from bytes that arrive in any pieces.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a byte stream into frames, each ended by a blank line (WHATWG "event stream interpretation").
///
/// Guarantees: the frames depend on the bytes only, not on how they were cut; the frames' bytes, one after
/// the other, are the stream's bytes up to [`Decoder::finish`]; no more than the frame limit is kept.
///
/// Caveat: a lone CR at the end of what has arrived may be half of a CR LF, so it waits for the next byte.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of `buffer` that hold whole lines of the frame under way.
    scanned: usize,
    /// Bytes of `buffer` known to hold no further line end, so that a dripped line is scanned once.
    searched: usize,
    at_start: bool,
    max_frame_bytes: usize,
}

/// A frame could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No blank line within the limit.
    #[error("an event is larger than {limit} bytes")]
    FrameTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// The bytes up to and with a blank line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    raw: Bytes,
    name: Option<Range<usize>>,
    data: Option<Range<usize>>,
    /// Further lines of data; nearly every event has one line, and an empty list costs no memory.
    more: Vec<Range<usize>>,
}

impl Decoder {
    /// A decoder that refuses frames of more than `max_frame_bytes` bytes.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, searched: 0, at_start: true, max_frame_bytes }
    }

    /// Adds bytes; call [`Decoder::next_frame`] until it returns `None` before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// Where the frame under way is larger than the limit. The stream can't be read any further.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        while let Some(line) = self.next_line() {
            if line.content.is_empty() {
                return self.take(line.next).map(Some);
            }
            self.scanned = line.next;
        }
        if self.buffer.len() > self.max_frame_bytes {
            return Err(self.too_large());
        }
        Ok(None)
    }

    /// The end of the stream: what is left, as a frame that no blank line ended. By the standard it is
    /// no event; a caller may still accept a last `[DONE]` that came without its blank line.
    pub fn finish(mut self) -> Option<Frame> {
        if self.buffer.is_empty() {
            return None;
        }
        let all = self.buffer.len();
        self.take(all).ok()
    }

    fn next_line(&mut self) -> Option<Line> {
        let from = self.searched.max(self.scanned);
        let rest = self.buffer.get(from..)?;
        let Some(length) = memchr2(b'\r', b'\n', rest) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = from + length;
        let bom = self.at_start && self.scanned == 0 && self.buffer.starts_with(BOM);
        let start = if bom { BOM.len() } else { self.scanned };
        let ending = match (self.buffer.get(end)?, self.buffer.get(end + 1)) {
            (b'\r', Some(b'\n')) => 2,
            (b'\r', None) => return None,
            _ => 1,
        };
        Some(Line { content: start..end, next: end + ending })
    }

    fn take(&mut self, length: usize) -> Result<Frame, DecodeError> {
        if length > self.max_frame_bytes {
            return Err(self.too_large());
        }
        let raw = self.buffer.split_to(length).freeze();
        let skip = if self.at_start && raw.starts_with(BOM) { BOM.len() } else { 0 };
        self.at_start = false;
        (self.scanned, self.searched) = (0, 0);
        Ok(Frame::read(raw, skip))
    }

    fn too_large(&self) -> DecodeError {
        DecodeError::FrameTooLarge { limit: self.max_frame_bytes }
    }
}

struct Line {
    content: Range<usize>,
    next: usize,
}

impl Frame {
    fn read(raw: Bytes, skip: usize) -> Self {
        let (mut name, mut data, mut more) = (None, None, Vec::new());
        let mut start = skip;
        while let Some(rest) = raw.get(start..).filter(|rest| !rest.is_empty()) {
            let length = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let end = start + length;
            let line = raw.get(start..end).unwrap_or_default();
            if let Some(offset) = value_offset(line, b"data") {
                let range = start + offset..end;
                if data.is_none() {
                    data = Some(range);
                } else {
                    more.push(range);
                }
            } else if let Some(offset) = value_offset(line, b"event") {
                name = Some(start + offset..end);
            }
            let crlf = raw.get(end) == Some(&b'\r') && raw.get(end + 1) == Some(&b'\n');
            start = end + if crlf { 2 } else { 1 };
        }
        Self { raw, name, data, more }
    }

    /// The frame's bytes, comments and line ends included.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The event's name, where the frame has one that is UTF-8.
    pub fn name(&self) -> Option<&str> {
        let name = self.raw.get(self.name.clone()?)?;
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// The event's data, its lines joined by LF. `None` where the frame has no `data` line: a comment or
    /// a lone blank line, which is no event.
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        let first = self.data.as_ref()?;
        let line = |range: &Range<usize>| self.raw.get(range.clone()).unwrap_or_default();
        if self.more.is_empty() {
            return Some(Cow::Borrowed(line(first)));
        }
        let mut joined = line(first).to_vec();
        for range in &self.more {
            joined.push(b'\n');
            joined.extend_from_slice(line(range));
        }
        Some(Cow::Owned(joined))
    }

    /// Where the data lies in [`Frame::raw`], if it is on one line.
    pub fn data_span(&self) -> Option<Range<usize>> {
        self.data.clone().filter(|_| self.more.is_empty())
    }
}

/// Where the value of `field` starts in `line`, or `None` if the line is another field's.
fn value_offset(line: &[u8], field: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(field)?;
    match rest {
        [] => Some(line.len()),
        [b':', b' ', ..] => Some(field.len() + 2),
        [b':', ..] => Some(field.len() + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 16;

    fn decode(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = Decoder::new(LIMIT);
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().expect("within the limit") {
                frames.push(frame);
            }
        }
        frames.extend(decoder.finish());
        frames
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        let text = |frame: &Frame| frame.data().map(|data| String::from_utf8_lossy(&data).into_owned());
        decode(&[bytes]).iter().filter_map(text).collect()
    }

    #[test]
    fn line_ends_comments_and_several_data_lines() {
        assert_eq!(data(b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata:d\n\n"), ["a", "b", "c", "d"]);
        assert_eq!(data(b": ping\n\ndata: x\n: note\ndata: y\n\n"), ["x\ny"]);
        assert_eq!(data(b"data:  two spaces\n\ndata\n\n"), [" two spaces", ""]);
        assert_eq!(data(b"datax: no\nid: 1\nretry: 5\n\n"), [] as [&str; 0]);
    }

    #[test]
    fn a_byte_order_mark_counts_only_at_the_start() {
        assert_eq!(data(b"\xEF\xBB\xBFdata: a\n\n"), ["a"]);
        assert_eq!(data(b"data: a\n\n\xEF\xBB\xBFdata: b\n\n"), ["a"]);
        assert_eq!(decode(&[b"\xEF", b"\xBB", b"\xBF\n\ndata: a\n\n"]).len(), 3);
    }

    #[test]
    fn names_are_kept() {
        let frames = decode(&[b"event: error\ndata: {}\n\n"]);
        assert_eq!(frames.first().and_then(Frame::name), Some("error"));
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        let mut decoder = Decoder::new(16);
        decoder.push(b"data: 0123456789abcdef");
        assert_eq!(decoder.next_frame(), Err(DecodeError::FrameTooLarge { limit: 16 }));
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"event: x".to_vec()),
            Just(b": c".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(BOM.to_vec()),
            "[a-z€😀]{0,6}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(bytes in stream(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let whole = decode(&[&bytes]);
            prop_assert_eq!(&decode(&pieces), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&decode(&single), &whole);
        }

        #[test]
        fn frames_are_the_stream(bytes in stream()) {
            let raw: Vec<u8> = decode(&[&bytes]).iter().flat_map(|frame| frame.raw().to_vec()).collect();
            prop_assert_eq!(raw, bytes);
        }

        #[test]
        fn encoding_then_decoding_is_the_identity(text in "[a-z \n]{0,40}") {
            let mut bytes = Vec::new();
            super::super::event(&text, &mut bytes);
            prop_assert_eq!(data(&bytes), vec![text]);
        }
    }
}
