//! Embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fields::{only, within};
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{MOST_DIMENSIONS, Usage, count_tokens, vector};
use crate::simulator::script::Script;

const KNOWN: [&str; 5] = ["dimensions", "encoding_format", "input", "model", "user"];

/// Answers an embeddings request.
pub(in crate::simulator) fn embeddings(asked: &Asked) -> Result<Script, Refusal> {
    let body = &asked.body;
    only(body, &KNOWN)?;
    let inputs: Vec<Value> = match &body["input"] {
        // A list of token ids is one input.
        Value::Array(inputs) if inputs.first().is_some_and(Value::is_number) => vec![body["input"].clone()],
        Value::Array(inputs) if !inputs.is_empty() => inputs.clone(),
        Value::String(text) if !text.is_empty() => vec![body["input"].clone()],
        _ => return Err(Refusal::at("'$.input' is invalid. Please check the API reference.", "input")),
    };
    within(body, "dimensions", 1.0..=MOST_DIMENSIONS)?;
    let dimensions = body["dimensions"].as_u64();
    let floats = match body["encoding_format"].as_str() {
        None | Some("float") => true,
        Some("base64") => false,
        Some(other) => return Err(Refusal::at(format!("Invalid value: '{other}'."), "encoding_format")),
    };
    let text = |input: &Value| input.as_str().map_or_else(|| input.to_string(), str::to_owned);
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let values = vector(&text(input), dimensions);
        let embedding = if floats {
            json!(values)
        } else {
            json!(STANDARD.encode(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()))
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Vec<Value> = data.collect();
    let tokens = inputs
        .iter()
        .map(|input| input.as_array().map_or_else(|| count_tokens(&text(input)), |ids| ids.len() as u64))
        .sum();
    let answer = json!({"object": "list", "data": data, "model": asked.model,
                        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
    Ok(Script::only(&answer, Usage { uncached: tokens, ..Usage::default() }))
}
