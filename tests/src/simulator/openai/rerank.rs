//! Reranking, as Jina, Cohere and vLLM have it.

use serde_json::{Value, json};

use super::fields::{only, within};
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Usage, count_tokens};
use crate::simulator::script::Script;

const KNOWN: [&str; 5] = ["documents", "model", "query", "return_documents", "top_n"];

/// Answers a request to rerank: the earlier a document, the better.
pub(in crate::simulator) fn rerank(asked: &Asked) -> Result<Script, Refusal> {
    let body = &asked.body;
    only(body, &KNOWN)?;
    within(body, "top_n", 1.0..=f64::from(u32::MAX))?;
    let Some(query) = body["query"].as_str() else {
        return Err(Refusal::at("query must be a string", "query"));
    };
    let documents: Option<Vec<&str>> = match &body["documents"] {
        Value::Array(documents) if !documents.is_empty() => documents.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let Some(documents) = documents else {
        return Err(Refusal::at("documents must be a list of strings", "documents"));
    };
    let most = body["top_n"].as_u64().map_or(documents.len(), |most| most as usize);
    let results = documents.iter().enumerate().take(most);
    let results: Vec<Value> = results
        .map(|(index, text)| {
            json!({"index": index, "document": {"text": text}, "relevance_score": 1.0 / (index + 1) as f64})
        })
        .collect();
    let tokens = documents.iter().map(|text| count_tokens(text) + count_tokens(query)).sum();
    let answer = json!({"id": format!("rerank-{}", asked.number), "model": asked.model, "results": results,
                        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
    Ok(Script::only(&answer, Usage { uncached: tokens, ..Usage::default() }))
}
