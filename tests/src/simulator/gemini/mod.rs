//! Gemini: generateContent in its three forms, countTokens and embeddings, with the API's own checks.

mod answer;
mod embed;
mod fields;
mod history;
mod prompt;
mod schema;

use serde_json::{Value, json};

use super::asked::{Asked, Method};
use super::cache::read;
use super::error::Refusal;
use super::model::{Seal, Turn, Usage};
use super::script::Script;
use super::state::State;

pub(super) use embed::embed;

/// Signs thoughts.
const THOUGHT: Seal = Seal("gemini thought");

/// Answers a prompt.
pub(super) fn generate(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let prompt = prompt::prompt(asked, &asked.body)?;
    let turn = Turn::answering(&prompt, asked.behaviour);
    let usage = turn.usage(read(state, asked, &prompt));
    let chunks = answer::chunks(asked, &prompt, &turn, usage);
    let events = match asked.method {
        Method::StreamArray => array(&chunks),
        _ => chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect(),
    };
    Ok(Script {
        whole: answer::whole(asked, &prompt, &turn, usage).to_string(),
        events,
        opening: 0,
        usage,
        told: usage.input(),
        reports: true,
    })
}

/// The chunks as the elements of one array.
fn array(chunks: &[Value]) -> Vec<String> {
    let element =
        |(index, chunk): (usize, &Value)| format!("{}{chunk:#}", if index == 0 { "[" } else { ",\r\n" });
    chunks.iter().enumerate().map(element).chain(["\r\n]".to_owned()]).collect()
}

/// Counts the tokens that a prompt would have.
pub(super) fn count(asked: &Asked) -> Result<Script, Refusal> {
    let body = &asked.body;
    let within = fields::get(body, "generateContentRequest");
    let prompt = if within.is_null() {
        fields::only("", body, &["contents"])?;
        prompt::counted(asked, body)?
    } else {
        fields::only("", body, &["generateContentRequest"])?;
        prompt::prompt(asked, within)?
    };
    let details = json!([{"modality": "TEXT", "tokenCount": prompt.tokens}]);
    let answer = json!({"totalTokens": prompt.tokens, "promptTokensDetails": details});
    Ok(Script::only(&answer, Usage::default()))
}
