//! The canonical answer into a client's.

use super::{Candidate, GenerateContentResponse, PromptFeedback, write_part};
use crate::canonical::{
    Choice, Dialect, Envelope, Extra, ForeignField, Inexpressible, Logprobs, Losses, Part, Response, Stop,
    Text, Translated, Unsupported,
};
use crate::gemini::content::Content;
use crate::gemini::grounding::Citations;
use crate::gemini::usage::UsageMetadata;
use crate::gemini::{finish_reason, logprobs, usage};

/// Writes an answer.
///
/// # Errors
/// Names what this dialect can't say, unless the caller said to drop it; and a tool call whose arguments are no JSON
/// object, whatever the caller said.
pub fn from_canonical(
    response: &Response,
    envelope: &Envelope,
    policy: Unsupported,
) -> Result<Translated<GenerateContentResponse>, Inexpressible> {
    let Response { origin, id: _, created: _, model: _, choices, usage, foreign } = response;
    let Envelope { id, created: _, model } = envelope;
    let mut losses = Losses::of_answer(policy, *origin, Dialect::Gemini);
    let own = Own::of(*origin, foreign, &mut losses);
    let mut usage_metadata = usage.as_ref().map(usage::from_canonical);
    let mut candidates = Vec::with_capacity(choices.len());
    for choice in choices {
        let mut candidate = write_choice(choice, &mut losses)?;
        if let Some(stop) = &choice.stop {
            give_back(stop, *origin, &mut candidate, usage_metadata.as_mut(), &mut losses);
        }
        candidates.push(candidate);
    }
    let message = GenerateContentResponse {
        candidates,
        prompt_feedback: own.feedback(),
        usage_metadata,
        model_version: Some(model.clone()),
        response_id: Some(id.clone()),
        // Vertex's alone.
        create_time: None,
        error: None,
        extra: own.take(""),
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// Where the fields of an answer's counts were, and are again.
pub(super) const USAGE: &str = "usageMetadata";

/// Gives a candidate, and the answer's counts, the fields back that only this dialect knows.
pub(in crate::gemini) fn give_back(
    stop: &Stop,
    origin: Dialect,
    candidate: &mut Candidate,
    usage: Option<&mut UsageMetadata>,
    losses: &mut Losses,
) {
    let own = Own::of(origin, &stop.foreign, losses);
    if let Some(usage) = usage {
        usage.extra.extend(own.take(USAGE));
    }
    let parent = format!("candidates[{}]", candidate.index.unwrap_or_default());
    candidate.extra = own.take(&parent);
    let searched = own.take(&format!("{parent}.groundingMetadata"));
    if !searched.is_empty() {
        candidate.grounding_metadata.get_or_insert_default().extra = searched;
    }
}

/// The answer's fields that only this dialect knows. Another dialect's are about the answer and not part of it, so they
/// go without being refused.
pub(in crate::gemini) struct Own<'a>(Vec<&'a ForeignField>);

impl<'a> Own<'a> {
    pub(in crate::gemini) fn of(origin: Dialect, foreign: &'a [ForeignField], losses: &mut Losses) -> Self {
        if origin == Dialect::Gemini {
            return Self(foreign.iter().collect());
        }
        losses.waive_all(foreign);
        Self(Vec::new())
    }

    /// What the filters say of the prompt.
    pub(in crate::gemini) fn feedback(&self) -> Option<PromptFeedback> {
        let extra = self.take("promptFeedback");
        (!extra.is_empty()).then_some(PromptFeedback { block_reason: None, extra })
    }

    pub(in crate::gemini) fn take(&self, parent: &str) -> Extra {
        let own = self.0.iter().filter(|field| field.parent == parent);
        own.map(|field| (field.name.clone(), field.value.clone())).collect()
    }
}

fn write_choice(choice: &Choice, losses: &mut Losses) -> Result<Candidate, Inexpressible> {
    let Choice { index, parts, stop, logprobs: tokens } = choice;
    let mut written = Vec::with_capacity(parts.len());
    let mut citations = Citations::default();
    for (number, part) in parts.iter().enumerate() {
        let path = format!("choices[{index}].parts[{number}]");
        if let Part::Text(Text { text, citations: cited, .. }) = part {
            for citation in cited {
                if !citations.add(citation, text, Some(written.len()), 0) {
                    losses.waive(format!("{path}.citations"));
                }
            }
        }
        written.extend(write_part(part, &path, losses)?);
    }
    let (citation_metadata, grounding_metadata) = citations.write();
    Ok(Candidate {
        content: Some(Content { role: Some("model".to_owned()), parts: written, extra: Extra::new() }),
        finish_reason: Some(
            stop.as_ref().map_or("STOP", |stop| finish_reason::write(&stop.reason)).to_owned(),
        ),
        finish_message: None,
        index: Some(*index),
        citation_metadata,
        grounding_metadata,
        logprobs_result: tokens.as_ref().map(logprobs::from_canonical),
        avg_logprobs: tokens.as_ref().and_then(mean),
        extra: Extra::new(),
    })
}

fn mean(logprobs: &Logprobs) -> Option<f64> {
    let tokens = logprobs.content.iter().chain(&logprobs.refusal);
    let count = u32::try_from(tokens.clone().count()).ok().filter(|count| *count > 0)?;
    Some(tokens.map(|token| f64::from(token.logprob)).sum::<f64>() / f64::from(count))
}
