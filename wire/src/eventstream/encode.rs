//! Writing messages.

use super::{PRELUDE, TRAILER};

/// What a header's value is: text.
const TEXT: u8 = 7;

/// Appends a message with these headers, whose names fit into 255 bytes and whose values into 65,535: longer ones are
/// cut, since nothing of ours is.
pub fn message(headers: &[(&str, &str)], payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE]);
    for (name, value) in headers {
        let name = name.as_bytes().get(..name.len().min(u8::MAX.into())).unwrap_or_default();
        let value = value.as_bytes().get(..value.len().min(u16::MAX.into())).unwrap_or_default();
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out.push(TEXT);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(value);
    }
    let headers = out.len() - start - PRELUDE;
    out.extend_from_slice(payload);
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let mut prelude = [number(out.len() - start + TRAILER), number(headers)].concat();
    prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
    if let Some(place) = out.get_mut(start..start + PRELUDE) {
        place.copy_from_slice(&prelude);
    }
    let checksum = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Appends an event of this type.
pub fn event(kind: &str, json: &str, out: &mut Vec<u8>) {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, json.as_bytes(), out);
}

/// Appends an exception of this type, which is a stream's last message.
pub fn exception(kind: &str, json: &str, out: &mut Vec<u8>) {
    let headers =
        [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    message(&headers, json.as_bytes(), out);
}
