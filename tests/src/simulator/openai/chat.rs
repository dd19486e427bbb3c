//! Chat's answers.

use serde_json::{Value, json};

use super::chat_prompt::prompt;
use super::fields::CREATED;
use crate::simulator::Behaviour;
use crate::simulator::asked::Asked;
use crate::simulator::cache::read;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Finish, Turn, Usage, fragments};
use crate::simulator::script::Script;
use crate::simulator::state::State;

/// Whether a chat request is answered with the odd bytes that tests of faithful passing know: it asks for
/// nothing else.
pub(in crate::simulator) fn is_plain(asked: &Asked) -> bool {
    let faithful = matches!(
        asked.behaviour,
        Behaviour::Faithful
            | Behaviour::Cached
            | Behaviour::Compatible
            | Behaviour::Huge
            | Behaviour::Blocked
    );
    let asks = ["tools", "response_format"].into_iter().any(|name| !asked.body[name].is_null());
    let reports = asked.body["messages"]
        .as_array()
        .and_then(|all| all.last())
        .is_some_and(|last| last["role"] == "tool");
    !faithful && !asks && !reports
}

/// Answers a chat request.
pub(in crate::simulator) fn chat(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let prompt = prompt(asked)?;
    let turn = Turn::answering(&prompt, asked.behaviour);
    let usage = turn.usage(read(state, asked, &prompt));
    Ok(Script {
        whole: whole(asked, &turn, usage).to_string(),
        events: events(asked, &turn, usage),
        opening: 1,
        usage,
        told: 0,
        reports: asked.include_usage(),
    })
}

fn call_id(asked: &Asked, index: usize) -> String {
    format!("call_sim{}x{index}", asked.number)
}

pub(super) fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::End | Finish::Stopped(_) => "stop",
        Finish::Limit => "length",
        Finish::Calls => "tool_calls",
        Finish::Blocked => "content_filter",
    }
}

pub(super) fn usage_object(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input(),
        "completion_tokens": usage.output(),
        "total_tokens": usage.input() + usage.output(),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0,
                                  "cache_write_tokens": usage.cache_write()},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0,
                                      "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

/// Where servers that imitate OpenAI show what was thought.
const THOUGHTS: &str = "reasoning_content";

fn shows_thoughts(asked: &Asked, turn: &Turn) -> bool {
    asked.behaviour == Behaviour::Compatible && !turn.thoughts.is_empty()
}

fn whole(asked: &Asked, turn: &Turn, usage: Usage) -> Value {
    let content = if turn.calls.is_empty() { Value::String(turn.text.concat()) } else { Value::Null };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null, "annotations": []});
    if shows_thoughts(asked, turn) {
        message[THOUGHTS] = json!(turn.thoughts.concat());
    }
    if !turn.calls.is_empty() {
        let call = |(index, call): (usize, &crate::simulator::model::Call)| {
            json!({"id": call_id(asked, index), "type": "function",
                   "function": {"name": call.name, "arguments": call.arguments.to_string()}})
        };
        message["tool_calls"] = turn.calls.iter().enumerate().map(call).collect();
    }
    json!({
        "id": format!("chatcmpl-sim{}", asked.number),
        "object": "chat.completion",
        "created": CREATED,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "logprobs": null,
                     "finish_reason": finish_reason(&turn.finish)}],
        "usage": usage_object(usage),
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    })
}

fn events(asked: &Asked, turn: &Turn, usage: Usage) -> Vec<String> {
    let include_usage = asked.include_usage();
    let obfuscated = asked.body.pointer("/stream_options/include_obfuscation") != Some(&Value::Bool(false));
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-sim{}", asked.number),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": asked.model,
            "service_tier": "default",
            "system_fingerprint": "fp_sim",
            "choices": choices,
        });
        if include_usage {
            chunk["usage"] = usage;
        }
        if obfuscated {
            chunk["obfuscation"] = json!("aZ9");
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, reason: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]), Value::Null)
    };
    let content = if turn.calls.is_empty() { json!("") } else { Value::Null };
    let mut events =
        vec![delta(json!({"role": "assistant", "content": content, "refusal": null}), Value::Null)];
    if shows_thoughts(asked, turn) {
        events.extend(turn.thoughts.iter().map(|piece| delta(json!({THOUGHTS: piece}), Value::Null)));
    }
    events.extend(turn.text.iter().map(|piece| delta(json!({"content": piece}), Value::Null)));
    for (index, call) in turn.calls.iter().enumerate() {
        let opened = json!({"index": index, "id": call_id(asked, index), "type": "function",
                            "function": {"name": call.name, "arguments": ""}});
        events.push(delta(json!({"tool_calls": [opened]}), Value::Null));
        events.extend(fragments(&call.arguments.to_string()).into_iter().map(|piece| {
            let more = json!({"index": index, "function": {"arguments": piece}});
            delta(json!({"tool_calls": [more]}), Value::Null)
        }));
    }
    events.push(delta(json!({}), json!(finish_reason(&turn.finish))));
    if include_usage {
        events.push(chunk(json!([]), usage_object(usage)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
