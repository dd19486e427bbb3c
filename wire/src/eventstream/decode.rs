//! Reading messages from bytes that arrive in any pieces.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::{PRELUDE, TRAILER};

/// The most that the headers of one message may take, by AWS's own word.
const MAX_HEADER_BYTES: usize = 128 << 10;

/// Cuts a byte stream into messages.
///
/// Guarantees: the messages depend on the bytes only, not on how they were cut; a length is believed only once its
/// checksum is right, so damage never makes it wait for bytes that will not come; no more than one message of the limit is kept.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Length of the message under way, once its prelude is known to be right.
    length: Option<usize>,
    max_message_bytes: usize,
}

/// A message could not be read, and neither can what comes after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is larger than the limit.
    #[error("an event is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Its bytes are not those that were sent.
    #[error("an event came damaged: {0}")]
    Damaged(&'static str),
}

/// One message: its bytes, and where its texts lie in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    raw: Bytes,
    /// Headers whose value is text; nobody reads the others.
    headers: Vec<(Range<usize>, Range<usize>)>,
    payload: Range<usize>,
}

impl Decoder {
    /// A decoder that refuses messages of more than `max_message_bytes` bytes.
    pub fn new(max_message_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), length: None, max_message_bytes }
    }

    /// Adds bytes; call [`Decoder::next_message`] until it returns `None` before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// Where it is damaged or too large.
    pub fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.prelude()? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        self.length = Some(length);
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.length = None;
        Message::read(self.buffer.split_to(length).freeze()).map(Some)
    }

    /// Whether a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn prelude(&self) -> Result<Option<usize>, DecodeError> {
        let Some(prelude) = self.buffer.get(..PRELUDE) else { return Ok(None) };
        let (numbers, mut checksum) = prelude.split_at(PRELUDE - 4);
        if crc32fast::hash(numbers) != checksum.get_u32() {
            return Err(DecodeError::Damaged("the checksum of its length is wrong"));
        }
        let mut numbers = numbers;
        let (length, headers) = (size(numbers.get_u32()), size(numbers.get_u32()));
        if length > self.max_message_bytes {
            return Err(DecodeError::TooLarge { limit: self.max_message_bytes });
        }
        let fits = headers <= MAX_HEADER_BYTES && PRELUDE + headers + TRAILER <= length;
        if fits { Ok(Some(length)) } else { Err(DecodeError::Damaged("its lengths make no sense")) }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Message {
    fn read(raw: Bytes) -> Result<Self, DecodeError> {
        let nonsense = || DecodeError::Damaged("its lengths make no sense");
        let end = raw.len().checked_sub(TRAILER).ok_or_else(nonsense)?;
        let (message, mut checksum) = raw.split_at_checked(end).ok_or_else(nonsense)?;
        if crc32fast::hash(message) != checksum.get_u32() {
            return Err(DecodeError::Damaged("its checksum is wrong"));
        }
        let headers_end = message.get(4..8).map(|mut bytes| PRELUDE + size(bytes.get_u32()));
        let headers_end = headers_end.filter(|headers_end| *headers_end <= end).ok_or_else(nonsense)?;
        let mut cursor = Cursor { bytes: &raw, at: PRELUDE, end: headers_end };
        let mut headers = Vec::new();
        while cursor.at < cursor.end {
            let header = cursor.header().ok_or(DecodeError::Damaged("its headers make no sense"))?;
            headers.extend(header);
        }
        Ok(Self { headers, payload: headers_end..end, raw })
    }

    /// The text of a header; `None` where it is not there, or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| self.slice(key) == name.as_bytes())?;
        std::str::from_utf8(self.slice(value)).ok()
    }

    /// What it carries.
    pub fn payload(&self) -> &[u8] {
        self.slice(&self.payload)
    }

    /// All of it, as it came.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.raw.get(range.clone()).unwrap_or_default()
    }
}

/// A place among the headers.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Cursor<'_> {
    /// The next header, where it is text; `None` where it runs over the end, or its type is none.
    #[expect(clippy::option_option, reason = "whether it can be read, and whether it is text")]
    fn header(&mut self) -> Option<Option<(Range<usize>, Range<usize>)>> {
        let length = self.number(1)?;
        let name = self.take(length)?;
        let value = match self.number(1)? {
            // True and false.
            0 | 1 => self.take(0)?,
            2 => self.take(1)?,
            3 => self.take(2)?,
            4 => self.take(4)?,
            // A long, and a time.
            5 | 8 => self.take(8)?,
            6 => {
                let length = self.number(2)?;
                self.take(length)?
            }
            7 => {
                let length = self.number(2)?;
                return Some(Some((name, self.take(length)?)));
            }
            // A UUID.
            9 => self.take(16)?,
            _ => return None,
        };
        let _ = value;
        Some(None)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        let range = self.take(width)?;
        self.bytes.get(range).map(|mut bytes| usize::try_from(bytes.get_uint(width)).unwrap_or(usize::MAX))
    }

    fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        Some(std::mem::replace(&mut self.at, end)..end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{event, message};
    use super::*;

    /// Reads all that `pieces` hold.
    fn read(pieces: &[&[u8]], limit: usize) -> Result<(Vec<Message>, bool), DecodeError> {
        let mut decoder = Decoder::new(limit);
        let mut messages = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(message) = decoder.next_message()? {
                messages.push(message);
            }
        }
        Ok((messages, decoder.is_within()))
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex");
        digits.chunks(2).map(byte).collect()
    }

    /// AWS's own test vectors (`aws-c-event-stream`).
    #[test]
    fn awss_own_vectors_are_read_and_written() {
        let empty = hex("00000010 00000000 05c248eb 7d98c8ff");
        let (messages, within) = read(&[&empty], 1 << 10).expect("a message");
        assert_eq!((messages[0].payload(), messages[0].raw(), within), (&b""[..], &empty[..], false));
        let mut written = Vec::new();
        message(&[], b"", &mut written);
        assert_eq!(written, empty);

        let number = hex(
            "0000002d 00000010 41c424b8 0a6576656e742d74797065 04 0000a00c 7b27666f6f273a27626172277d 36f480a0",
        );
        let (messages, _) = read(&[&number], 1 << 10).expect("a message");
        assert_eq!((messages[0].header("event-type"), messages[0].payload()), (None, &b"{'foo':'bar'}"[..]));

        let text = hex(
            "0000003d 00000020 07fd8396 0c636f6e74656e742d74797065 07 0010 6170706c69636174696f6e2f6a736f6e \
             7b27666f6f273a27626172277d 8d9c08b1",
        );
        let (messages, _) = read(&[&text], 1 << 10).expect("a message");
        assert_eq!(messages[0].header("content-type"), Some("application/json"));
        let mut written = Vec::new();
        message(&[("content-type", "application/json")], b"{'foo':'bar'}", &mut written);
        assert_eq!(written, text);
    }

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        event("messageStart", "{}", &mut bytes);
        message(&[], &[0; 40], &mut bytes);
        event("contentBlockDelta", r#"{"delta":{"text":"€"}}"#, &mut bytes);
        bytes
    }

    #[test]
    fn a_cut_at_every_byte_changes_nothing_and_an_end_within_is_known() {
        let bytes = stream();
        let (whole, within) = read(&[&bytes], 1 << 10).expect("messages");
        assert_eq!((whole.len(), within), (3, false));
        assert_eq!(whole.iter().map(Message::raw).collect::<Vec<_>>().concat(), bytes);
        let ends: Vec<usize> = whole
            .iter()
            .scan(0, |at, message| {
                *at += message.raw().len();
                Some(*at)
            })
            .collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single, 1 << 10), Ok((whole.clone(), false)));
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read(&[first, second], 1 << 10), Ok((whole.clone(), false)));
            let (cut, within) = read(&[first], 1 << 10).expect("messages");
            assert_eq!(cut, whole[..cut.len()]);
            assert_eq!(within, at > 0 && !ends.contains(&at), "at {at}");
        }
    }

    /// Each bit of each byte: no damage is taken for what was sent, and none makes the decoder wait for ever.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = stream();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(matches!(read(&[&damaged], 1 << 10), Err(DecodeError::Damaged(_))), "bit {at}");
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused_by_its_prelude_alone() {
        let mut bytes = Vec::new();
        message(&[], &[b' '; 100], &mut bytes);
        assert_eq!(read(&[&bytes[..PRELUDE]], 64), Err(DecodeError::TooLarge { limit: 64 }));
        assert!(read(&[&bytes], bytes.len()).is_ok());
    }

    /// Checksums that are right over what makes no sense.
    #[test]
    fn lengths_and_headers_that_make_no_sense_are_refused() {
        let framed = |length: u32, headers: u32, rest: &[u8]| {
            let mut bytes = [length.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            bytes.extend(rest);
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            bytes
        };
        for (bytes, what) in [
            (framed(15, 0, b""), "shorter than its frame"),
            (framed(0, 0, b""), "nothing at all"),
            (framed(20, 5, b"abcd"), "headers over the end"),
            (framed(20, u32::MAX, b"abcd"), "headers beyond every end"),
            (framed(20, 4, &[1, b'a', 10, 0]), "a type that is none"),
            (framed(20, 4, &[9, b'a', 7, 0]), "a name over the end"),
            (framed(22, 6, &[1, b'a', 7, 0, 9, b'x']), "a value over the end"),
            (framed(19, 3, &[1, b'a', 5]), "a number over the end"),
        ] {
            assert!(matches!(read(&[&bytes], 1 << 10), Err(DecodeError::Damaged(_))), "{what}");
        }
        let every = [
            &[1, b'a', 0, 1, b'b', 1, 1, b'c', 2, 0, 1, b'd', 3, 0, 0, 1, b'e', 6, 0, 1, 9][..],
            &[1, b't', 8],
            &[0; 8],
            &[1, b'u', 9],
            &[0; 16],
        ]
        .concat();
        let length = u32::try_from(every.len()).expect("short");
        assert!(
            read(&[&framed(16 + length, length, &every)], 1 << 10).is_ok(),
            "every other type is passed over"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[&bytes], 1 << 10);
        }

        #[test]
        fn a_message_comes_back(name in "[:a-z-]{1,20}", value in "\\PC{0,20}", payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = Vec::new();
            message(&[(&name, &value)], &payload, &mut bytes);
            let (messages, _) = read(&[&bytes], 1 << 10).expect("a message");
            prop_assert_eq!(messages[0].header(&name), Some(value.as_str()));
            prop_assert_eq!(messages[0].payload(), payload.as_slice());
        }
    }
}
