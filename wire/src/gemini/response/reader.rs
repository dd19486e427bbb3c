//! From pieces of an answer to events. A whole answer is read as one piece.

use std::collections::BTreeMap;

use super::candidate::CandidateReader;
use super::write::USAGE;
use super::{GenerateContentResponse, PromptFeedback};
use crate::canonical::{
    Dialect, Event, Failure, FailureClass, Mint, Start, StopReason, keep_foreign, read_time,
};
use crate::gemini::usage::UsageMetadata;
use crate::gemini::{error, usage};

/// Reads the pieces of one answer.
#[derive(Clone, Debug)]
pub(in crate::gemini) struct AnswerReader {
    mint: Mint,
    /// The whole answer comes in one piece, so it ends where it says nothing else.
    whole: bool,
    started: bool,
    failed: bool,
    usage: UsageMetadata,
    candidates: BTreeMap<u32, CandidateReader>,
}

impl AnswerReader {
    /// For a stream.
    pub(in crate::gemini) fn new(mint: Mint) -> Self {
        Self {
            mint,
            whole: false,
            started: false,
            failed: false,
            usage: UsageMetadata::default(),
            candidates: BTreeMap::new(),
        }
    }

    /// For an answer that comes in one piece.
    pub(super) fn whole(mint: Mint) -> Self {
        Self { whole: true, ..Self::new(mint) }
    }

    /// The mint, with what was minted so far.
    pub(super) fn into_mint(self) -> Mint {
        self.mint
    }

    /// An error was read: nothing more comes.
    pub(in crate::gemini) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Ends the stream with `failure`.
    pub(in crate::gemini) fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if !self.failed {
            self.failed = true;
            events.push(Event::Error(failure));
        }
    }

    /// Takes the next piece.
    pub(in crate::gemini) fn read(&mut self, piece: GenerateContentResponse, events: &mut Vec<Event>) {
        if self.failed {
            return;
        }
        let GenerateContentResponse {
            candidates,
            prompt_feedback,
            usage_metadata,
            model_version,
            response_id,
            create_time,
            error,
            extra,
        } = piece;
        if let Some(error) = error {
            return self.fail(error::read(error, 500), events);
        }
        let PromptFeedback { block_reason, extra: mut feedback } = prompt_feedback.unwrap_or_default();
        feedback.extend(block_reason.clone().map(|reason| ("blockReason".to_owned(), reason.into())));
        if !self.started {
            self.started = true;
            let mut foreign = Vec::new();
            keep_foreign("", extra, &mut foreign);
            keep_foreign("promptFeedback", feedback, &mut foreign);
            events.push(Event::Start(Start {
                origin: Dialect::Gemini,
                id: response_id.unwrap_or_default(),
                created: create_time.as_deref().and_then(read_time),
                model: model_version.unwrap_or_default(),
                foreign,
            }));
        }
        // Before the candidates: a client that is told its input at the start is told the truth.
        if let Some(newer) = usage_metadata {
            self.usage.update(newer);
            events.push(Event::Usage(usage::to_canonical(&self.usage)));
        }
        if block_reason.is_some() && candidates.is_empty() {
            self.candidate(0).stop = Some(StopReason::ContentFilter);
        }
        for candidate in candidates {
            let index = candidate.index.unwrap_or_default();
            let whole = self.whole;
            let reader = self.candidates.entry(index).or_insert_with(|| CandidateReader::new(index, whole));
            if let Err(failure) = reader.read(candidate, &mut self.mint, events) {
                return self.fail(failure, events);
            }
        }
    }

    /// Nothing more comes.
    pub(in crate::gemini) fn finish(&mut self, events: &mut Vec<Event>) {
        if self.failed {
            return;
        }
        let open = self.candidates.values().any(|candidate| candidate.stop.is_none());
        if self.candidates.is_empty() || (open && !self.whole) {
            let failure = if self.whole {
                Failure::new(FailureClass::Upstream, "the upstream answered without a candidate")
            } else {
                Failure::truncated(Dialect::Gemini)
            };
            return self.fail(failure, events);
        }
        // What of the counts is no count, such as which traffic it was.
        let mut of_usage = Vec::new();
        keep_foreign(USAGE, std::mem::take(&mut self.usage.extra), &mut of_usage);
        for candidate in self.candidates.values_mut() {
            candidate.finish(std::mem::take(&mut of_usage), events);
        }
        events.push(Event::End);
    }

    fn candidate(&mut self, index: u32) -> &mut CandidateReader {
        let whole = self.whole;
        self.candidates.entry(index).or_insert_with(|| CandidateReader::new(index, whole))
    }
}
