//! A conversation's answer, whole and as events.

use serde_json::{Value, json};

use super::REASONING;
use crate::simulator::asked::Asked;
use crate::simulator::model::{Finish, Turn, Usage, fragments};

/// The blocks of the answer, whole.
pub(super) fn content(asked: &Asked, turn: &Turn) -> Vec<Value> {
    let number = asked.number;
    let mut blocks = Vec::new();
    if !turn.thoughts.is_empty() {
        let text = turn.thoughts.concat();
        let signature = REASONING.sign(number, &text);
        blocks.push(json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}));
    }
    if !turn.text.is_empty() {
        blocks.push(json!({"text": turn.text.concat()}));
    }
    blocks.extend(turn.calls.iter().enumerate().map(|(index, call)| {
        json!({"toolUse": {"toolUseId": format!("tooluse_sim{number}x{index}"), "name": call.name,
                           "input": call.arguments}})
    }));
    blocks
}

/// The one body.
pub(super) fn whole(turn: &Turn, used: Usage, content: &[Value]) -> Value {
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop(turn),
        "usage": usage(used),
        "metrics": {"latencyMs": 7},
    })
}

/// All events, each its type and its JSON.
pub(super) fn events(turn: &Turn, used: Usage, content: &[Value]) -> Vec<String> {
    let mut events = vec![event("messageStart", &json!({"role": "assistant"}))];
    for (index, block) in content.iter().enumerate() {
        if let Some(call) = block.get("toolUse") {
            let start = json!({"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}});
            events.push(event("contentBlockStart", &json!({"contentBlockIndex": index, "start": start})));
        }
        let delta = |delta| event("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}));
        events.extend(deltas(block, turn).into_iter().map(delta));
        events.push(event("contentBlockStop", &json!({"contentBlockIndex": index})));
    }
    events.push(event("messageStop", &json!({"stopReason": stop(turn)})));
    events.push(event("metadata", &json!({"usage": usage(used), "metrics": {"latencyMs": 7}})));
    events
}

/// What `p` holds hides how long a piece of text is.
fn event(kind: &str, fields: &Value) -> String {
    let mut fields = fields.clone();
    fields["p"] = json!("abcdefgh");
    format!("{kind} {fields}")
}

fn deltas(block: &Value, turn: &Turn) -> Vec<Value> {
    if block.get("text").is_some() {
        return turn.text.iter().map(|piece| json!({"text": piece})).collect();
    }
    if let Some(call) = block.get("toolUse") {
        let pieces = match &call["input"] {
            Value::Object(fields) if fields.is_empty() => vec![String::new()],
            input => fragments(&input.to_string()),
        };
        return pieces.into_iter().map(|piece| json!({"toolUse": {"input": piece}})).collect();
    }
    let signature = &block["reasoningContent"]["reasoningText"]["signature"];
    let thoughts = turn.thoughts.iter().map(|piece| json!({"reasoningContent": {"text": piece}}));
    thoughts.chain([json!({"reasoningContent": {"signature": signature}})]).collect()
}

fn usage(used: Usage) -> Value {
    let mut usage = json!({
        "inputTokens": used.uncached,
        "outputTokens": used.output(),
        "totalTokens": used.input() + used.output(),
        "cacheReadInputTokens": used.cache_read,
        "cacheWriteInputTokens": used.cache_write(),
    });
    if used.cache_write() > 0 {
        let details = [("1h", used.cache_write_1h), ("5m", used.cache_write_5m)];
        let details = details.into_iter().filter(|(_, tokens)| *tokens > 0);
        let details: Vec<Value> =
            details.map(|(ttl, tokens)| json!({"ttl": ttl, "inputTokens": tokens})).collect();
        usage["cacheDetails"] = json!(details);
    }
    usage
}

fn stop(turn: &Turn) -> &'static str {
    match turn.finish {
        Finish::End => "end_turn",
        Finish::Stopped(_) => "stop_sequence",
        Finish::Limit => "max_tokens",
        Finish::Calls => "tool_use",
        Finish::Blocked => "content_filtered",
    }
}
