//! The framing of AWS's event streams: lengths, headers, payload, and a checksum of each half.
//!
//! https://smithy.io/2.0/aws/amazon-eventstream.html

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use crate::simulator::asked::Method;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Damage {
    /// A bit of its payload changed on the way.
    Flipped,
    /// Its second half is not there.
    Half,
    /// Its payload ends in mid-object.
    HalfJson,
}

/// An event as `method` frames it: `data: JSON` of Anthropic's for InvokeModel, or `TYPE JSON` for Converse.
pub(in crate::simulator) fn framed(method: Method, event: &str) -> Bytes {
    match method {
        Method::InvokeStream => {
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
            let payload = json!({"bytes": STANDARD.encode(data), "p": "abcdef"});
            message("event", ":event-type", "chunk", payload.to_string().as_bytes())
        }
        Method::ConverseStream => {
            let (kind, payload) = event.split_once(' ').unwrap_or((event, "{}"));
            message("event", ":event-type", kind, payload.as_bytes())
        }
        _ => Bytes::from(event.to_owned()),
    }
}

/// The exception that ends a stream.
pub(in crate::simulator) fn exception(status: u16, said: &str) -> Bytes {
    let kind = match status {
        429 => "throttlingException",
        424 => "modelStreamErrorException",
        503 => "serviceUnavailableException",
        500.. => "internalServerException",
        _ => "validationException",
    };
    message("exception", ":exception-type", kind, json!({"message": said}).to_string().as_bytes())
}

/// An event with something wrong.
pub(in crate::simulator) fn damaged(method: Method, damage: Damage) -> Bytes {
    let event = match method {
        Method::InvokeStream => "data: {\"type\":\"content_block_delta\",\"index\":0}",
        _ => "contentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"x\"}}",
    };
    let whole = framed(method, event);
    match damage {
        Damage::Flipped => {
            let mut bytes = whole.to_vec();
            let middle = bytes.len() - 8;
            bytes[middle] ^= 1;
            Bytes::from(bytes)
        }
        Damage::Half => whole.slice(..whole.len() / 2),
        Damage::HalfJson => message("event", ":event-type", "contentBlockDelta", b"{\"half\":"),
    }
}

/// The beginning of a message that is longer than any.
pub(in crate::simulator) fn endless() -> Bytes {
    let mut bytes = Vec::new();
    bytes.extend(u32::MAX.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(checksum(&bytes).to_be_bytes());
    Bytes::from(bytes)
}

fn message(kind: &str, name: &str, value: &str, payload: &[u8]) -> Bytes {
    let mut headers = Vec::new();
    for (name, value) in [(name, value), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(u8::try_from(name.len()).unwrap_or_default());
        headers.extend(name.as_bytes());
        // The type of a text.
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = Vec::new();
    bytes.extend(length(headers.len() + payload.len() + 16));
    bytes.extend(length(headers.len()));
    bytes.extend(checksum(&bytes).to_be_bytes());
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(checksum(&bytes).to_be_bytes());
    Bytes::from(bytes)
}

/// CRC-32 (ISO 3309), bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
    }
}
