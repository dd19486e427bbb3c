//! Embeddings, one or many.

use serde_json::{Value, json};

use super::fields::{get, list, only};
use crate::simulator::asked::{Asked, Method};
use crate::simulator::error::Refusal;
use crate::simulator::model::{MOST_DIMENSIONS, Usage, count_tokens, vector};
use crate::simulator::script::Script;

const KNOWN: [&str; 6] =
    ["model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig"];

/// Answers an embedding request.
pub(in crate::simulator) fn embed(asked: &Asked) -> Result<Script, Refusal> {
    let body = &asked.body;
    if asked.method == Method::Embed {
        only("", body, &KNOWN)?;
        let (values, tokens) = one(body)?;
        let answer = json!({"embedding": {"values": values}, "usageMetadata": usage_metadata(tokens)});
        return Ok(Script::only(&answer, Usage { uncached: tokens, ..Usage::default() }));
    }
    only("", body, &["requests"])?;
    let mut embeddings: Vec<Value> = Vec::new();
    let mut tokens = 0;
    for (index, request) in list(body, "requests").enumerate() {
        only(&format!("requests[{index}]"), request, &KNOWN)?;
        let named = request["model"].as_str().and_then(|name| name.strip_prefix("models/"));
        if asked.cloud.is_none() && named != Some(asked.model.as_str()) {
            let message = format!(
                "* BatchEmbedContentsRequest.requests[{index}].model: unexpected model name format or mismatch"
            );
            return Err(Refusal::bad(message));
        }
        let (values, read) = one(request)?;
        embeddings.push(json!({"values": values}));
        tokens += read;
    }
    if embeddings.is_empty() {
        return Err(Refusal::bad("* BatchEmbedContentsRequest.requests: requests is not specified"));
    }
    let answer = json!({"embeddings": embeddings, "usageMetadata": usage_metadata(tokens)});
    Ok(Script::only(&answer, Usage { uncached: tokens, ..Usage::default() }))
}

fn usage_metadata(tokens: u64) -> Value {
    json!({"promptTokenCount": tokens})
}

fn one(request: &Value) -> Result<(Vec<f32>, u64), Refusal> {
    let content = get(request, "content");
    only("content", content, &["parts", "role"])?;
    let text: String = list(content, "parts").filter_map(|part| part["text"].as_str()).collect();
    if text.is_empty() {
        return Err(Refusal::bad("* EmbedContentRequest.content: contents is not specified"));
    }
    let config = get(request, "embedContentConfig");
    let asked = [request, config].map(|place| get(place, "outputDimensionality"));
    let asked = asked.into_iter().find(|asked| !asked.is_null());
    if asked.and_then(Value::as_f64).is_some_and(|asked| !(1.0..=MOST_DIMENSIONS).contains(&asked)) {
        return Err(Refusal::bad("* EmbedContentRequest.output_dimensionality: out of range"));
    }
    let dimensions = asked.and_then(Value::as_u64);
    Ok((vector(&text, dimensions), count_tokens(&text)))
}
