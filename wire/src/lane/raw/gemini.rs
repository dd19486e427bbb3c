//! `generateContent`'s answer and its pieces, and the answers of Gemini's smaller methods.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Seen, name_span, says, unreadable};
use crate::canonical::{Dialect, Failure};
use crate::edit::Text;
use crate::gemini::error;
use crate::gemini::usage::{self, UsageMetadata};
use crate::lane::Operation;

const DIALECT: Dialect = Dialect::Gemini;

/// Reads a stream. No event ends it: it is whole where each candidate said why it ended, or the prompt was blocked.
#[derive(Debug, Default)]
pub(in crate::lane) struct Gemini {
    usage: UsageMetadata,
    /// Whether each candidate ended, by its index.
    candidates: BTreeMap<u64, bool>,
    blocked: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default, alias = "prompt_feedback")]
    prompt_feedback: Option<Feedback<'a>>,
    #[serde(borrow, default, alias = "usage_metadata")]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "model_version")]
    model_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow, default)]
    embeddings: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "total_tokens")]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    predictions: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default, alias = "block_reason")]
    block_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default, alias = "finish_reason")]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<BTreeMap<Text<'a>, &'a RawValue>>>,
}

impl Gemini {
    pub(super) fn event(&mut self, data: &str) -> Result<Seen, Failure> {
        let piece = parse(data)?;
        let mut seen = Seen { model: piece.model(data), ..Seen::default() };
        // Figures that make no sense do not spoil the answer.
        if let Some(newer) = piece.counts() {
            self.usage.update(newer);
            seen.usage = Some(usage::to_canonical(&self.usage));
        }
        self.blocked |= piece.prompt_feedback.is_some_and(|feedback| says(feedback.block_reason));
        for candidate in piece.candidates.unwrap_or_default() {
            let ended = says(candidate.finish_reason);
            *self.candidates.entry(candidate.index.unwrap_or_default()).or_default() |= ended;
            seen.speaks |= candidate.speaks();
            seen.meaningful |= ended;
        }
        seen.meaningful |= seen.speaks || self.blocked;
        Ok(seen)
    }

    pub(super) fn is_whole(&self) -> bool {
        let ended = self.candidates.values().all(|ended| *ended);
        ended && (self.blocked || !self.candidates.is_empty())
    }
}

impl Candidate<'_> {
    fn speaks(&self) -> bool {
        let parts = self.content.as_ref().and_then(|content| content.parts.as_ref());
        let spoken = |(name, value): (&Text<'_>, &&RawValue)| match &*name.0 {
            "text" => says(Some(value)),
            "thought" | "thoughtSignature" | "thought_signature" => false,
            _ => true,
        };
        parts.is_some_and(|parts| parts.iter().any(|part| part.iter().any(spoken)))
    }
}

impl Piece<'_> {
    fn model(&self, text: &str) -> Option<std::ops::Range<usize>> {
        name_span(text, self.model_version)
    }

    fn counts(&self) -> Option<UsageMetadata> {
        serde_json::from_str(self.usage_metadata?.get()).ok()
    }
}

pub(super) fn whole(operation: Operation, text: &str) -> Result<Seen, Failure> {
    let piece = parse(text)?;
    let (there, name) = match operation {
        Operation::CountTokens => (piece.total_tokens.is_some(), "totalTokens"),
        Operation::EmbedContent => (piece.embedding.is_some(), "embedding"),
        Operation::BatchEmbedContents => (piece.embeddings.is_some(), "embeddings"),
        Operation::Predict => (piece.predictions.is_some(), "predictions"),
        _ => (piece.candidates.is_some() || piece.prompt_feedback.is_some(), "candidates"),
    };
    if !there {
        return Err(unreadable(DIALECT, &format!("it has no `{name}`")));
    }
    let usage = piece.counts().as_ref().map(usage::to_canonical);
    Ok(Seen { model: piece.model(text), usage, ..Seen::default() })
}

fn parse(text: &str) -> Result<Piece<'_>, Failure> {
    let piece: Piece<'_> =
        serde_json::from_str(text).map_err(|error| unreadable(DIALECT, &error.to_string()))?;
    if says(piece.error) {
        return Err(error::in_answer(text.as_bytes()));
    }
    Ok(piece)
}
