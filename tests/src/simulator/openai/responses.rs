//! Responses' answers: its object, and the items in it.

use serde_json::{Map, Value, json};

use super::fields::CREATED;
use super::responses_prompt::prompt;
use super::responses_stream::events;
use crate::simulator::asked::Asked;
use crate::simulator::cache::read;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Finish, Seal, Turn, Usage};
use crate::simulator::script::Script;
use crate::simulator::state::State;

/// Encrypts reasoning, which is to say it signs nothing: what is thought stays here.
pub(super) const ENCRYPTED: Seal = Seal("openai reasoning");

/// Answers a Responses request.
pub(in crate::simulator) fn responses(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let (prompt, mut items) = prompt(state, asked)?;
    let turn = Turn::answering(&prompt, asked.behaviour);
    let usage = turn.usage(read(state, asked, &prompt));
    let output = output(asked, &turn);
    if asked.body["store"] != false {
        for item in &output {
            state.store(item["id"].as_str().unwrap_or_default(), vec![item.clone()]);
        }
        items.extend(output.iter().cloned());
        state.store(&response_id(asked), items);
    }
    Ok(Script {
        whole: ended(asked, &turn, usage, &output).to_string(),
        events: events(asked, &turn, usage, &output),
        // created, in_progress, and the opening of the item and of its part.
        opening: 4,
        usage,
        told: 0,
        reports: true,
    })
}

fn response_id(asked: &Asked) -> String {
    format!("resp_sim{}", asked.number)
}

/// The id of the reasoning that a call with this id came from.
pub(super) fn reasoning_of(call: &str) -> Option<String> {
    let (reasoning, _) = call.strip_prefix("fc_after_")?.split_once('x')?;
    Some(format!("rs_{reasoning}"))
}

/// The items of the answer, done.
fn output(asked: &Asked, turn: &Turn) -> Vec<Value> {
    let number = asked.number;
    let mut items = Vec::new();
    if !turn.thoughts.is_empty() {
        let id = format!("rs_sim{number}");
        let summarised = asked.body["reasoning"]["summary"].is_string();
        let summary = if summarised {
            json!([{"type": "summary_text", "text": turn.thoughts.concat()}])
        } else {
            json!([])
        };
        let included = asked.body["include"]
            .as_array()
            .is_some_and(|all| all.contains(&json!("reasoning.encrypted_content")));
        let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
        if included {
            item["encrypted_content"] = json!(ENCRYPTED.sign(number, ""));
        }
        items.push(item);
    }
    let cut = turn.finish == Finish::Limit;
    if !turn.text.is_empty() || (turn.calls.is_empty() && !cut) {
        let part =
            json!({"type": "output_text", "text": turn.text.concat(), "annotations": [], "logprobs": []});
        let status = if cut || turn.finish == Finish::Blocked { "incomplete" } else { "completed" };
        items.push(json!({"id": format!("msg_sim{number}"), "type": "message", "status": status,
                          "role": "assistant", "content": [part]}));
    }
    let after = if turn.thoughts.is_empty() { "" } else { "after_" };
    items.extend(turn.calls.iter().enumerate().map(|(index, call)| {
        json!({"id": format!("fc_{after}sim{number}x{index}"), "type": "function_call", "status": "completed",
               "call_id": format!("call_sim{number}x{index}"), "name": call.name,
               "arguments": call.arguments.to_string()})
    }));
    items
}

/// The object before anything was written.
pub(super) fn begun(asked: &Asked) -> Value {
    let body = &asked.body;
    let mut response = Map::new();
    for (name, value) in [
        ("id", json!(response_id(asked))),
        ("object", json!("response")),
        ("created_at", json!(CREATED)),
        ("status", json!("in_progress")),
        ("background", json!(false)),
        ("completed_at", Value::Null),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
    ] {
        response.insert(name.to_owned(), value);
    }
    // What the request says, or what OpenAI takes where it says nothing.
    for (name, otherwise) in [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("model", json!(asked.model)),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("safety_identifier", Value::Null),
        ("temperature", json!(1.0)),
        ("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_logprobs", json!(0)),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
        ("user", Value::Null),
        ("metadata", json!({})),
    ] {
        let said = body.get(name).filter(|said| !said.is_null()).cloned();
        response.insert(name.to_owned(), said.unwrap_or(otherwise));
    }
    if response["text"].get("format").is_none() {
        response["text"]["format"] = json!({"type": "text"});
    }
    response.insert("service_tier".to_owned(), json!("default"));
    response.insert("output".to_owned(), json!([]));
    response.insert("usage".to_owned(), Value::Null);
    Value::Object(response)
}

/// The object at the end.
pub(super) fn ended(asked: &Asked, turn: &Turn, usage: Usage, output: &[Value]) -> Value {
    let mut response = begun(asked);
    let incomplete = match turn.finish {
        Finish::Limit => Some("max_output_tokens"),
        Finish::Blocked => Some("content_filter"),
        Finish::End | Finish::Stopped(_) | Finish::Calls => None,
    };
    response["status"] = json!(if incomplete.is_some() { "incomplete" } else { "completed" });
    match incomplete {
        Some(reason) => response["incomplete_details"] = json!({"reason": reason}),
        None => response["completed_at"] = json!(CREATED),
    }
    response["output"] = json!(output);
    response["usage"] = json!({
        "input_tokens": usage.input(),
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write()},
        "output_tokens": usage.output(),
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input() + usage.output(),
    });
    response
}

/// The event of an answer that failed after it had begun.
pub(in crate::simulator) fn responses_failed(asked: &Asked, message: &str) -> Value {
    let mut response = begun(asked);
    response["status"] = json!("failed");
    response["error"] = json!({"code": "server_error", "message": message});
    json!({"type": "response.failed", "sequence_number": FAILED, "response": response})
}

/// The number of an event after those that are sent before a stream breaks.
const FAILED: usize = 4 + crate::simulator::steps::BEFORE_BREAK;
