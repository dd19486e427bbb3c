//! An answer's chunks, and all of it as one.

use serde_json::{Value, json};

use super::THOUGHT;
use super::fields::get;
use crate::simulator::asked::Asked;
use crate::simulator::model::{Finish, Prompt, Turn, Usage};

/// The one body of the answer.
pub(super) fn whole(asked: &Asked, prompt: &Prompt, turn: &Turn, usage: Usage) -> Value {
    let mut parts = Vec::new();
    if thoughts_shown(asked) && !turn.thoughts.is_empty() {
        parts.push(json!({"text": turn.thoughts.concat(), "thought": true}));
    }
    if !turn.text.is_empty() {
        let mut part = json!({"text": turn.text.concat()});
        if prompt.thinking {
            part["thoughtSignature"] = json!(signature(asked, 0));
        }
        parts.push(part);
    }
    parts.extend(calls(asked, turn));
    chunk(asked, turn, parts, true, usage)
}

/// A stream's chunks. A text's signature comes in a part of its own, with no text in it.
pub(super) fn chunks(asked: &Asked, prompt: &Prompt, turn: &Turn, usage: Usage) -> Vec<Value> {
    if turn.finish == Finish::Blocked {
        return vec![whole(asked, prompt, turn, usage)];
    }
    let mut steps: Vec<(Vec<Value>, Usage)> = Vec::new();
    let mut told = Usage { visible: 0, reasoning: 0, ..usage };
    for piece in &turn.thoughts {
        told.reasoning += 1;
        if thoughts_shown(asked) {
            steps.push((vec![json!({"text": piece, "thought": true})], told));
        }
    }
    for piece in &turn.text {
        told.visible += 1;
        steps.push((vec![json!({"text": piece})], told));
    }
    let calls = calls(asked, turn);
    if calls.is_empty() && prompt.thinking {
        steps.push((vec![json!({"text": "", "thoughtSignature": signature(asked, 0)})], usage));
    } else if !calls.is_empty() || steps.is_empty() {
        steps.push((calls, usage));
    }
    let end = steps.len() - 1;
    let chunk = |(index, (parts, told))| chunk(asked, turn, parts, index == end, told);
    steps.into_iter().enumerate().map(chunk).collect()
}

fn thoughts_shown(asked: &Asked) -> bool {
    let config = get(&asked.body, "generationConfig");
    get(get(config, "thinkingConfig"), "includeThoughts") == true
}

fn signature(asked: &Asked, index: u64) -> String {
    THOUGHT.sign(asked.number * 2 + index, "")
}

/// The calls, without ids, as the API makes them; the first is signed, thoughts shown or not.
fn calls(asked: &Asked, turn: &Turn) -> Vec<Value> {
    let part = |(index, call): (usize, &crate::simulator::model::Call)| {
        let mut part = json!({"functionCall": {"name": call.name, "args": call.arguments}});
        if index == 0 {
            part["thoughtSignature"] = json!(signature(asked, 1));
        }
        part
    };
    turn.calls.iter().enumerate().map(part).collect()
}

fn chunk(asked: &Asked, turn: &Turn, parts: Vec<Value>, end: bool, told: Usage) -> Value {
    let mut chunk = json!({
        "usageMetadata": usage_metadata(told),
        "modelVersion": asked.model,
        "responseId": format!("sim{}", asked.number),
    });
    let reason = match turn.finish {
        // A prompt that is refused has no candidate.
        Finish::Blocked => {
            chunk["promptFeedback"] = json!({"blockReason": "PROHIBITED_CONTENT"});
            return chunk;
        }
        // There is no reason for calls.
        Finish::End | Finish::Stopped(_) | Finish::Calls => "STOP",
        Finish::Limit => "MAX_TOKENS",
    };
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if parts.is_empty() {
        candidate["content"] = json!({"role": "model"});
    }
    if end {
        candidate["finishReason"] = json!(reason);
    }
    chunk["candidates"] = json!([candidate]);
    chunk
}

/// Of the answer so far. Numbers that are zero are left out, as protobuf does.
fn usage_metadata(usage: Usage) -> Value {
    let mut counts = json!({
        "promptTokenCount": usage.input(),
        "totalTokenCount": usage.input() + usage.output(),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input()}],
    });
    for (name, count) in [
        ("candidatesTokenCount", usage.visible),
        ("thoughtsTokenCount", usage.reasoning),
        ("cachedContentTokenCount", usage.cache_read),
    ] {
        if count > 0 {
            counts[name] = json!(count);
        }
    }
    counts
}
