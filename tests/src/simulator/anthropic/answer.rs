//! A message, and the blocks in it.

use serde_json::{Value, json};

use super::{REDACTED, THINKING};
use crate::simulator::Behaviour;
use crate::simulator::asked::Asked;
use crate::simulator::model::{Finish, Turn, Usage};

/// In a question, it makes the thinking be redacted: the real API has such a word for tests.
const REDACT: &str = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_\
                      46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB";

/// The blocks of the answer, whole.
pub(super) fn content(asked: &Asked, turn: &Turn) -> Vec<Value> {
    let number = asked.number;
    let mut blocks = Vec::new();
    if !turn.thoughts.is_empty() {
        blocks.push(if asked.body["messages"].to_string().contains(REDACT) {
            json!({"type": "redacted_thinking", "data": REDACTED.sign(number, "")})
        } else {
            let shown = asked.body["thinking"]["display"] != "omitted";
            let text = if shown { turn.thoughts.concat() } else { String::new() };
            json!({"type": "thinking", "thinking": text, "signature": THINKING.sign(number, &text)})
        });
    }
    if !turn.text.is_empty() {
        blocks.push(json!({"type": "text", "text": turn.text.concat()}));
    }
    blocks.extend(turn.calls.iter().enumerate().map(|(index, call)| {
        json!({"type": "tool_use", "id": format!("toolu_sim{number}x{index}"), "name": call.name,
               "input": call.arguments})
    }));
    blocks
}

/// The message at its end.
pub(super) fn whole(asked: &Asked, turn: &Turn, usage: Usage, content: &[Value]) -> Value {
    let mut message = begun(asked, usage);
    message["content"] = json!(content);
    for (name, value) in stop(turn) {
        message[name] = value;
    }
    message["usage"]["output_tokens"] = json!(usage.output());
    message["usage"]["output_tokens_details"] = json!({"thinking_tokens": usage.reasoning});
    message
}

/// The message before anything was written.
pub(super) fn begun(asked: &Asked, usage: Usage) -> Value {
    let geo = match asked.behaviour {
        Behaviour::Elsewhere => json!("global"),
        Behaviour::Nowhere => json!(null),
        _ => json!(asked.body["inference_geo"].as_str().unwrap_or("global")),
    };
    json!({
        "id": format!("msg_sim{}", asked.number),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": usage.uncached,
            "cache_creation_input_tokens": usage.cache_write(),
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write_5m,
                               "ephemeral_1h_input_tokens": usage.cache_write_1h},
            // Of a stream it is what was written when it began.
            "output_tokens": 1,
            "service_tier": "standard",
            "inference_geo": geo,
        },
    })
}

/// Why it ended.
pub(super) fn stop(turn: &Turn) -> [(&'static str, Value); 2] {
    let (reason, sequence) = match &turn.finish {
        Finish::End => ("end_turn", None),
        Finish::Stopped(stop) => ("stop_sequence", Some(stop)),
        Finish::Limit => ("max_tokens", None),
        Finish::Calls => ("tool_use", None),
        Finish::Blocked => ("refusal", None),
    };
    [("stop_reason", json!(reason)), ("stop_sequence", json!(sequence))]
}
