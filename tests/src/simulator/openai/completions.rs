//! The older completions' answers, and a request for one read as strictly as OpenAI reads it.

use serde_json::{Value, json};

use super::chat::{finish_reason, usage_object};
use super::chat_prompt::stops;
use super::fields::{CREATED, only, within};
use crate::simulator::Behaviour;
use crate::simulator::asked::Asked;
use crate::simulator::cache::read;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Prompt, Turn, Usage, count_tokens};
use crate::simulator::script::Script;
use crate::simulator::state::State;

const KNOWN: [&str; 18] = [
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "model",
    "n",
    "presence_penalty",
    "prompt",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_p",
    "user",
];
/// Tokens of an answer whose request says nothing of them.
const DEFAULT_LIMIT: u64 = 16;

/// Whether it is answered with the odd bytes that tests of faithful passing know, as every path is that nothing else claims.
pub(in crate::simulator) fn is_plain_completion(asked: &Asked) -> bool {
    let faithful = matches!(asked.behaviour, Behaviour::Faithful | Behaviour::Cached | Behaviour::Compatible);
    !faithful || asked.body["prompt"].is_null()
}

/// Answers a request for a completion.
pub(in crate::simulator) fn completions(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let prompt = prompt(&asked.body)?;
    let turn = Turn::answering(&prompt, asked.behaviour);
    let usage = turn.usage(read(state, asked, &prompt));
    Ok(Script {
        whole: whole(asked, &turn, usage).to_string(),
        events: events(asked, &turn, usage),
        opening: 0,
        usage,
        told: 0,
        reports: asked.include_usage(),
    })
}

fn prompt(body: &Value) -> Result<Prompt, Refusal> {
    only(body, &KNOWN)?;
    within(body, "temperature", 0.0..=2.0)?;
    within(body, "top_p", 0.0..=1.0)?;
    within(body, "n", 1.0..=1.0)?;
    within(body, "best_of", 1.0..=1.0)?;
    within(body, "logprobs", 0.0..=5.0)?;
    within(body, "max_tokens", 0.0..=4096.0)?;
    let text = body["prompt"].as_str();
    let text = text.ok_or_else(|| Refusal::at("Invalid type for 'prompt': expected a string.", "prompt"))?;
    Ok(Prompt {
        limit: Some(body["max_tokens"].as_u64().unwrap_or(DEFAULT_LIMIT)),
        stops: stops(&body["stop"]),
        tokens: count_tokens(text),
        ..Prompt::default()
    })
}

fn answer(asked: &Asked, choices: Value) -> Value {
    json!({
        "id": format!("cmpl-sim{}", asked.number),
        "object": "text_completion",
        "created": CREATED,
        "model": asked.model,
        "choices": choices,
        "system_fingerprint": "fp_sim",
    })
}

fn choice(text: &str, reason: Value) -> Value {
    json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": reason}])
}

fn whole(asked: &Asked, turn: &Turn, usage: Usage) -> Value {
    let mut whole = answer(asked, choice(&turn.text.concat(), json!(finish_reason(&turn.finish))));
    whole["usage"] = usage_object(usage);
    whole
}

fn events(asked: &Asked, turn: &Turn, usage: Usage) -> Vec<String> {
    let include_usage = asked.include_usage();
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = answer(asked, choices);
        if include_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let pieces = turn.text.iter().map(|piece| chunk(choice(piece, Value::Null), Value::Null));
    let mut events: Vec<String> = pieces.collect();
    events.push(chunk(choice("", json!(finish_reason(&turn.finish))), Value::Null));
    if include_usage {
        events.push(chunk(json!([]), usage_object(usage)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
