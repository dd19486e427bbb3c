//! Embeddings by `predict`, as Vertex AI's older embedders are asked.

use serde_json::{Value, json};

use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Usage, count_tokens, vector};
use crate::simulator::script::Script;

/// Answers an embedding request.
pub(in crate::simulator) fn predict(asked: &Asked) -> Result<Script, Refusal> {
    let body = &asked.body;
    let unknown = |value: &Value, known: &[&str]| {
        let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        names.find(|name| !known.contains(&name.as_str()))
    };
    let refused = |name: String| Err(Refusal::bad(format!("Unknown name \"{name}\": Cannot find field.")));
    if let Some(name) = unknown(body, &["instances", "parameters", "labels"]) {
        return refused(name);
    }
    let parameters = &body["parameters"];
    if let Some(name) = unknown(parameters, &["outputDimensionality", "autoTruncate"]) {
        return refused(name);
    }
    let instances = body["instances"].as_array().filter(|instances| !instances.is_empty());
    let instances = instances.ok_or_else(|| Refusal::bad("Empty instances."))?;
    let mut tokens = 0;
    let mut predictions = Vec::new();
    for instance in instances {
        if let Some(name) = unknown(instance, &["content", "task_type", "title"]) {
            return refused(name);
        }
        let text = instance["content"].as_str().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Refusal::bad("The text content is empty."))?;
        let count = count_tokens(text);
        tokens += count;
        let values = vector(text, parameters["outputDimensionality"].as_u64());
        let statistics = json!({"token_count": count, "truncated": false});
        predictions.push(json!({"embeddings": {"values": values, "statistics": statistics}}));
    }
    let answer = json!({"predictions": predictions, "metadata": {"billableCharacterCount": 4 * tokens}});
    Ok(Script::only(&answer, Usage { uncached: tokens, ..Usage::default() }))
}
