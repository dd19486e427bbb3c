//! `POST /model/…/invoke-with-response-stream`: the stream of another dialect, each event of it in a message of its own.
//!
//! ```text
//! :event-type: chunk    {"bytes": base64 of the event's JSON, "p": padding}
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::response::upstream;
use super::stream::named;
use crate::canonical::Failure;
use crate::eventstream::{Decoder, Message};
use crate::sse;

/// The most padding and framing that a message has beside its event.
const AROUND: usize = 64 << 10;

/// Makes server-sent events of such a stream, as the dialect's own provider would have sent them.
#[derive(Debug)]
pub struct Unwrapper {
    decoder: Decoder,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: &'a str,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

impl Unwrapper {
    /// An unwrapper that refuses events of more than `max_event_bytes` bytes.
    pub fn new(max_event_bytes: usize) -> Self {
        // Base64 takes four characters for three bytes.
        Self { decoder: Decoder::new((max_event_bytes / 3).saturating_mul(4).saturating_add(AROUND)) }
    }

    /// Takes the next bytes and appends the events that they complete.
    ///
    /// # Errors
    /// The exception that ends the stream, or that it can't be read. What came before is appended.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        self.decoder.push(bytes);
        loop {
            let next = self.decoder.next_message();
            let message =
                next.map_err(|problem| upstream(format!("the upstream's stream can't be read: {problem}")))?;
            match message {
                None => return Ok(()),
                Some(message) => event(&message, out)?,
            }
        }
    }

    /// Whether an event has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.decoder.is_within()
    }
}

fn event(message: &Message, out: &mut Vec<u8>) -> Result<(), Failure> {
    // What else Bedrock says is not the model's.
    if named(message)? != Some("chunk") {
        return Ok(());
    }
    let unreadable =
        |problem: String| upstream(format!("a piece of the upstream's stream can't be read: {problem}"));
    let Chunk { bytes } =
        serde_json::from_slice(message.payload()).map_err(|error| unreadable(error.to_string()))?;
    let bytes = STANDARD.decode(bytes).map_err(|error| unreadable(error.to_string()))?;
    let data = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    match serde_json::from_str::<Typed>(&data) {
        Ok(Typed { kind }) => sse::named_event(&kind, &data, out),
        Err(_) => sse::event(&data, out),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::FailureClass;
    use crate::eventstream;

    fn chunk(json: &str, out: &mut Vec<u8>) {
        let payload = serde_json::json!({"bytes": STANDARD.encode(json), "p": "abcdef"}).to_string();
        eventstream::event("chunk", &payload, out);
    }

    #[test]
    fn events_come_out_as_their_provider_would_have_sent_them() {
        let mut bytes = Vec::new();
        chunk(r#"{"type":"message_start","x":1}"#, &mut bytes);
        eventstream::event("somethingNew", "{}", &mut bytes);
        chunk("{\n  \"type\": \"ping\"\n}", &mut bytes);
        let expected = "event: message_start\ndata: {\"type\":\"message_start\",\"x\":1}\n\n\
                        event: ping\ndata: {\ndata:   \"type\": \"ping\"\ndata: }\n\n";
        for size in [1, 7, bytes.len()] {
            let (mut unwrapper, mut out) = (Unwrapper::new(1 << 10), Vec::new());
            for piece in bytes.chunks(size) {
                unwrapper.push(piece, &mut out).expect("read");
            }
            assert_eq!(String::from_utf8_lossy(&out), expected);
            assert!(!unwrapper.is_within());
        }
    }

    #[test]
    fn an_exception_and_damage_end_it_after_what_came_before() {
        let mut good = Vec::new();
        chunk(r#"{"type":"ping"}"#, &mut good);
        let mut thrown = good.clone();
        eventstream::exception("throttlingException", r#"{"message":"slow"}"#, &mut thrown);
        let mut damaged = [good.clone(), good.clone()].concat();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let mut no_base64 = good.clone();
        eventstream::event("chunk", r#"{"bytes":"*"}"#, &mut no_base64);
        for (bytes, class) in [
            (thrown, FailureClass::RateLimited),
            (damaged, FailureClass::Upstream),
            (no_base64, FailureClass::Upstream),
        ] {
            let mut out = Vec::new();
            let failure = Unwrapper::new(1 << 10).push(&bytes, &mut out).expect_err("it ends");
            assert_eq!(failure.class, class);
            assert_eq!(String::from_utf8_lossy(&out), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
        let mut unwrapper = Unwrapper::new(1 << 10);
        unwrapper.push(&good[..20], &mut Vec::new()).expect("half of one");
        assert!(unwrapper.is_within());
    }
}
