//! The turns before: calls and responses must match, and the calls of this turn must be signed.

use serde_json::Value;

use super::THOUGHT;
use super::fields::{get, list, only};
use crate::simulator::error::Refusal;
use crate::simulator::model::Last;

const PART: [&str; 14] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "partMetadata",
    "mediaResolution",
    "toolCall",
    "toolResponse",
];
/// What the documentation offers for calls that another model made.
const UNCHECKED: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// What the answer goes on from.
pub(super) fn last(contents: &[Value], at_vertex: bool) -> Result<Last, Refusal> {
    let said = |content: &Value| list(content, "parts").any(|part| !get(part, "text").is_null());
    let turn = contents.iter().rposition(|content| content["role"] != "model" && said(content)).unwrap_or(0);
    let mut results = Vec::new();
    let mut calls: Vec<&Value> = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let place = format!("contents[{index}]");
        only(&place, content, &["parts", "role"])?;
        if !matches!(content["role"].as_str(), None | Some("user" | "model" | "function")) {
            return Err(Refusal::bad("Please use a valid role: user, model."));
        }
        let parts: Vec<&Value> = list(content, "parts").collect();
        if parts.is_empty() {
            let message =
                format!("* GenerateContentRequest.{place}.parts: contents.parts must not be empty.");
            return Err(Refusal::bad(message));
        }
        let mut first = true;
        for (at, part) in parts.iter().enumerate() {
            only(&format!("{place}.parts[{at}]"), part, &PART)?;
            let call = get(part, "functionCall");
            if at_vertex {
                // Vertex AI tells calls apart by their places alone.
                only(&format!("{place}.parts[{at}].function_call"), call, &["name", "args"])?;
                let response = get(part, "functionResponse");
                only(&format!("{place}.parts[{at}].function_response"), response, &["name", "response"])?;
            }
            signed(part, call, first && index > turn)?;
            first &= call.is_null();
        }
        let of =
            |name: &str| parts.iter().map(|part| get(part, name)).filter(|value| !value.is_null()).collect();
        let responses: Vec<&Value> = of("functionResponse");
        if (!responses.is_empty() || !calls.is_empty()) && responses.len() != calls.len() {
            return Err(Refusal::bad(
                "Please ensure that the number of function response parts is equal to the number of function \
                 call parts of the function call turn.",
            ));
        }
        results = texts(&calls, &responses)?;
        calls = of("functionCall");
    }
    if !calls.is_empty() {
        return Err(Refusal::bad(
            "Please ensure that function call turn comes immediately after a user turn or after a function \
             response turn, and is followed by a function response turn.",
        ));
    }
    Ok(if results.is_empty() { Last::Question } else { Last::Results(results) })
}

/// The first call of each step of this turn must be signed, and whatever is signed must be so rightly.
fn signed(part: &Value, call: &Value, needed: bool) -> Result<(), Refusal> {
    match get(part, "thoughtSignature").as_str() {
        Some(signature) if UNCHECKED.iter().any(|word| unchecked(signature, word)) => Ok(()),
        Some(signature) if THOUGHT.holds(signature, "") => Ok(()),
        Some(_) => Err(Refusal::bad("Corrupted thought signature.")),
        None if needed && !call.is_null() => {
            let name = call["name"].as_str().unwrap_or_default();
            Err(Refusal::bad(format!(
                "Function call is missing a thought_signature in functionCall parts. This is required for \
                 tools to work correctly, and missing thought_signature may lead to degraded model performance. \
                 Additional data, function call `default_api:{name}` , position 1."
            )))
        }
        None => Ok(()),
    }
}

/// The words are no base64; a client that holds bytes makes them so.
fn unchecked(signature: &str, word: &str) -> bool {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let trimmed = signature.trim_end_matches('=').replace('+', "-").replace('/', "_");
    signature == word || URL_SAFE_NO_PAD.decode(trimmed).is_ok_and(|bytes| bytes == word.as_bytes())
}

/// What the tools said, in the calls' order: by id where calls have one, by place where they have none.
fn texts(calls: &[&Value], responses: &[&Value]) -> Result<Vec<String>, Refusal> {
    let mut texts = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let by_id = responses.iter().find(|response| !call["id"].is_null() && response["id"] == call["id"]);
        let Some(response) = by_id.or(responses.get(index)) else { continue };
        if response["name"] != call["name"] {
            return Err(Refusal::bad(format!(
                "Function response {} does not match function call {}.",
                response["name"], call["name"]
            )));
        }
        if !response["response"].is_object() {
            return Err(Refusal::bad(format!(
                "Invalid value at 'contents.parts[{index}].function_response.response' \
                 (type.googleapis.com/google.protobuf.Struct), {}",
                response["response"]
            )));
        }
        texts.push(text(&response["response"]));
    }
    Ok(texts)
}

/// A response with one text in it says that; any other is told as JSON.
fn text(response: &Value) -> String {
    match response.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.values().next()) {
        Some(Value::String(text)) => text.clone(),
        _ => response.to_string(),
    }
}
