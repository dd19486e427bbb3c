//! A message's events.

use serde_json::{Value, json};

use super::answer::{begun, stop};
use crate::simulator::Behaviour;
use crate::simulator::asked::Asked;
use crate::simulator::model::{Turn, Usage, fragments};

/// All events of an answer with these blocks.
pub(super) fn events(asked: &Asked, turn: &Turn, usage: Usage, content: &[Value]) -> Vec<String> {
    let mut events = vec![event("message_start", &json!({"message": begun(asked, usage)}))];
    for (index, block) in content.iter().enumerate() {
        let opened = json!({"index": index, "content_block": opened(block)});
        events.push(event("content_block_start", &opened));
        if index == 0 {
            events.push(event("ping", &json!({})));
        }
        events.extend(
            deltas(block, turn)
                .into_iter()
                .map(|delta| event("content_block_delta", &json!({"index": index, "delta": delta}))),
        );
        events.push(event("content_block_stop", &json!({"index": index})));
    }
    let stopped: serde_json::Map<String, Value> =
        stop(turn).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // Counts are from the beginning, the input's too: who adds them up counts twice.
    let mut used = json!({
        "input_tokens": usage.uncached,
        "cache_creation_input_tokens": usage.cache_write(),
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output(),
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    });
    if asked.behaviour == Behaviour::ElsewhereLate {
        used["inference_geo"] = json!("global");
    }
    events.push(event("message_delta", &json!({"delta": stopped, "usage": used})));
    events.push(event("message_stop", &json!({})));
    events
}

fn event(kind: &str, fields: &Value) -> String {
    let mut event = json!({"type": kind});
    for (name, value) in fields.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    format!("event: {kind}\ndata: {event}\n\n")
}

/// A block as it is opened: with nothing in it, but redacted thinking, which comes at once.
fn opened(block: &Value) -> Value {
    let mut block = block.clone();
    for (name, empty) in
        [("thinking", json!("")), ("signature", json!("")), ("text", json!("")), ("input", json!({}))]
    {
        if block.get(name).is_some() {
            block[name] = empty;
        }
    }
    block
}

fn deltas(block: &Value, turn: &Turn) -> Vec<Value> {
    match block["type"].as_str() {
        Some("thinking") => {
            let shown = block["thinking"] != "";
            let thoughts = turn.thoughts.iter().filter(|_| shown);
            let thoughts = thoughts.map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            thoughts.chain([json!({"type": "signature_delta", "signature": block["signature"]})]).collect()
        }
        Some("text") => turn.text.iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect(),
        Some("tool_use") => {
            let input = match &block["input"] {
                // The API says nothing of an empty input.
                Value::Object(fields) if fields.is_empty() => Vec::new(),
                input => fragments(&input.to_string()),
            };
            let pieces = std::iter::once(String::new()).chain(input);
            pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect()
        }
        Some(_) | None => Vec::new(),
    }
}
