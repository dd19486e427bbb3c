//! Log probabilities in the older form: parallel lists.

use serde_json::{Map, Value, json};

use super::super::super::CompletionLogprobs;
use crate::canonical::{Logprobs, TokenLogprob};

/// Writes them; `offset` is where the first token stands in the text, in characters, and moves on.
pub(super) fn write(logprobs: &Logprobs, offset: &mut u64) -> CompletionLogprobs {
    // A refusal is text here, and what was reported of its tokens comes after the others.
    let Logprobs { content, refusal } = logprobs;
    let mut written = CompletionLogprobs::default();
    let mut top: Vec<Option<Map<String, Value>>> = Vec::new();
    for TokenLogprob { token, logprob, bytes: _, id: _, alternatives } in content.iter().chain(refusal) {
        written.tokens.push(token.clone());
        written.token_logprobs.push(Some(*logprob));
        written.text_offset.push(*offset);
        *offset = offset.saturating_add(u64::try_from(token.chars().count()).unwrap_or(u64::MAX));
        let alternatives = alternatives.iter().map(|other| (other.token.clone(), json!(other.logprob)));
        top.push(Some(alternatives.collect()));
    }
    written.top_logprobs = Some(top);
    written
}
