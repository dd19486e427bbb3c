//! Amazon Bedrock: Claude by InvokeModel, which is Anthropic's simulator, and every model by Converse; behind signatures that are
//! computed here anew, and framed with checksums.

mod answer;
mod frame;
mod history;
mod prompt;
mod sign;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

pub(super) use frame::{Damage, damaged, endless, exception, framed};
pub(super) use sign::authorised;
pub use sign::{ACCESS_KEY_ID, API_KEY, REGION, SECRET_ACCESS_KEY, SESSION_TOKEN, access_key};

use super::anthropic;
use super::asked::Asked;
use super::cache::read;
use super::error::Refusal;
use super::model::{Seal, Turn, Usage};
use super::script::Script;
use super::state::State;

/// Signs thoughts of models that are not Claude.
const REASONING: Seal = Seal("bedrock reasoning");

/// The path of the list of models. It has a host of its own at AWS.
pub(super) const LIST: &str = "/foundation-models";

/// Whether a path is one of these.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/model/")
}

/// A request for Claude as Anthropic has it: its version and what is not general yet in headers, and the model in the body.
pub(super) fn plain(
    model: &str,
    stream: bool,
    headers: &mut HeaderMap,
    body: &mut Value,
) -> Result<(), Refusal> {
    for name in ["model", "stream"] {
        if !body[name].is_null() {
            return Err(Refusal::bad(format!("{name}: Extra inputs are not permitted")));
        }
    }
    version(body, headers, &["bedrock-2023-05-31", "2026-10-21"])?;
    let betas = body.as_object_mut().and_then(|body| body.remove("anthropic_beta"));
    let texts = |list: &Vec<Value>| list.iter().all(Value::is_string);
    if betas.is_some_and(|betas| !betas.as_array().is_some_and(texts)) {
        return Err(Refusal::bad("anthropic_beta: Input should be a valid array"));
    }
    body["model"] = json!(model);
    body["stream"] = json!(stream);
    Ok(())
}

/// Puts the body's version, one of `known`, where Anthropic has it.
pub(super) fn version(body: &mut Value, headers: &mut HeaderMap, known: &[&str]) -> Result<(), Refusal> {
    let version = body.as_object_mut().and_then(|body| body.remove("anthropic_version"));
    let Some(version) = version else { return Err(Refusal::bad("anthropic_version: Field required")) };
    if !version.as_str().is_some_and(|version| known.contains(&version)) {
        return Err(Refusal::bad(format!("anthropic_version: Input should be '{}'", known[0])));
    }
    headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    Ok(())
}

/// Answers Claude's message.
pub(super) fn invoke(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let mut script = anthropic::messages(state, asked)?;
    script.events.retain(|event| !event.starts_with("event: ping"));
    script.opening -= 1;
    Ok(script)
}

/// Answers a conversation.
pub(super) fn converse(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let prompt = prompt::prompt(asked)?;
    let turn = Turn::answering(&prompt, asked.behaviour);
    let usage = turn.usage(read(state, asked, &prompt));
    let content = answer::content(asked, &turn);
    Ok(Script {
        whole: answer::whole(&turn, usage, &content).to_string(),
        events: answer::events(&turn, usage, &content),
        // messageStart.
        opening: 1,
        usage,
        told: 0,
        reports: true,
    })
}

/// Counts the tokens that a request would have, Claude's or any.
pub(super) fn count(asked: &Asked) -> Result<Script, Refusal> {
    let input = &asked.body["input"];
    let tokens = match (&input["converse"], &input["invokeModel"]["body"]) {
        (Value::Object(_), Value::Null) => prompt::counted(asked, &input["converse"])?.tokens,
        (Value::Null, Value::String(body)) => {
            let body =
                STANDARD.decode(body).map_err(|_| Refusal::bad("input.invokeModel.body is no base64"))?;
            let body = serde_json::from_slice(&body);
            let mut inner =
                Asked { body: body.map_err(|_| Refusal::bad("Malformed input request"))?, ..asked.clone() };
            let model = inner.model.clone();
            plain(&model, false, &mut inner.headers, &mut inner.body)?;
            anthropic::read(&inner)?.tokens
        }
        _ => return Err(Refusal::bad("input: exactly one of converse and invokeModel must be set")),
    };
    Ok(Script::only(&json!({"inputTokens": tokens}), Usage::default()))
}
