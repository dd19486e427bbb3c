//! A sequence in the engine: its tokens, and what turns logits into events.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc;

use super::{Event, Finished, GenerateError, GenerateRequest, StopCause, TokenEvent};
use crate::backend::{AdapterId, Drawn, Logits, LogitsWanted};
use crate::sampling::{Draw, Sampled, Sampler, Scratch, TokenLogprobs, logprobs_of};
use crate::scheduler::PlannedChunk;
use crate::tokenizer::{Detokenizer, Tokenizer};

/// Tokens in one prefill chunk of a sequence that wants the prompt's log probabilities: each costs a
/// whole row of logits, 0.2 to 1 MB, and they are held until the step's end.
pub(super) const PROMPT_LOGPROBS_CHUNK: usize = 32;

/// What a step means for a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on with the token it drew.
    Continues,
    /// Its last event is sent.
    Ended,
}

/// A token that was taken, and that its reader has not heard of.
#[derive(Debug)]
struct Untold {
    token: u32,
    logprobs: Option<TokenLogprobs>,
    /// Why the sequence ends with it, where that is known without its text.
    end: Option<StopCause>,
}

#[derive(Debug)]
pub(super) struct Sequence {
    /// Prompt and answer.
    pub(super) tokens: Vec<u32>,
    pub(super) adapter: Option<AdapterId>,
    prompt_tokens: usize,
    max_tokens: usize,
    ignore_end: bool,
    sampler: Sampler,
    detokenizer: Detokenizer,
    prompt_logprobs: Option<u32>,
    /// Log probabilities of the prompt so far; taken when complete.
    prompt_rows: Vec<Option<TokenLogprobs>>,
    /// The latest token, until it is told.
    untold: Option<Untold>,
    events: mpsc::Sender<Event>,
}

impl Sequence {
    pub(super) fn new(request: GenerateRequest, events: mpsc::Sender<Event>) -> Self {
        Self {
            prompt_tokens: request.prompt.len(),
            max_tokens: request.max_tokens,
            ignore_end: request.ignore_end,
            sampler: Sampler::new(request.sampling, &request.prompt),
            detokenizer: Detokenizer::new(request.stop),
            prompt_logprobs: request.prompt_logprobs,
            prompt_rows: Vec::new(),
            untold: None,
            tokens: request.prompt,
            adapter: request.adapter,
            events,
        }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether its latest token is not told.
    pub(super) fn is_untold(&self) -> bool {
        self.untold.is_some()
    }

    /// The rows of logits that `chunk` needs.
    pub(super) fn wanted(&self, chunk: &PlannedChunk) -> LogitsWanted {
        let prompt_rows_missing =
            self.prompt_logprobs.is_some() && self.prompt_rows.len() < self.prompt_tokens;
        match (prompt_rows_missing, chunk.samples) {
            (true, _) => LogitsWanted::All,
            (false, true) => LogitsWanted::Last,
            (false, false) => LogitsWanted::None,
        }
    }

    /// Ends the sequence in an error.
    pub(super) fn fail(&self, error: GenerateError) {
        self.send(Event::Failed(error));
    }

    /// Reads the rows of `chunk`, which begin at `row`. A panic in here is this sequence's alone.
    pub(super) fn advance(
        &mut self,
        chunk: &PlannedChunk,
        rows: std::ops::Range<usize>,
        logits: &mut Logits,
        tokenizer: &Tokenizer,
        scratch: &mut Scratch,
    ) -> Outcome {
        self.guarded(|this| {
            this.read_prompt_rows(chunk, &rows, logits);
            if !chunk.samples {
                return Ok(Outcome::Continues);
            }
            let last = rows.end.checked_sub(1).and_then(|row| logits.row_mut(row));
            let row =
                last.ok_or_else(|| GenerateError::Step("the backend returned too few rows".to_owned()))?;
            let sampled = this.sampler.sample(row, scratch)?;
            this.accept(sampled, tokenizer);
            Ok(this.tell_latest(tokenizer))
        })
    }

    /// The next draw, for a backend that makes it.
    pub(super) fn prepare(&mut self) -> Draw {
        self.sampler.prepare()
    }

    /// Takes what a backend has drawn for `chunk`, if it samples; [`Self::tell`] has the rest. A panic in here is this
    /// sequence's alone.
    pub(super) fn take(
        &mut self,
        chunk: &PlannedChunk,
        drawn: Option<Drawn>,
        tokenizer: &Tokenizer,
    ) -> Outcome {
        self.guarded(|this| {
            if !chunk.samples {
                return Ok(Outcome::Continues);
            }
            let missing = || GenerateError::Step("the backend returned too few tokens".to_owned());
            let sampled = drawn.ok_or_else(missing)??;
            this.sampler.note(sampled.token);
            Ok(this.accept(sampled, tokenizer))
        })
    }

    /// Tells the token that was taken: its text, and the end that may come of it. A panic in here is this sequence's
    /// alone.
    pub(super) fn tell(&mut self, tokenizer: &Tokenizer) -> Outcome {
        self.guarded(|this| Ok(this.tell_latest(tokenizer)))
    }

    fn guarded(&mut self, advance: impl FnOnce(&mut Self) -> Result<Outcome, GenerateError>) -> Outcome {
        let error = match catch_unwind(AssertUnwindSafe(|| advance(self))) {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => error,
            Err(panic) => GenerateError::Panicked(super::worker::panic_message(&*panic)),
        };
        self.fail(error);
        Outcome::Ended
    }

    /// Row `i` of a chunk is the distribution of the token after position `start + i`.
    fn read_prompt_rows(&mut self, chunk: &PlannedChunk, rows: &std::ops::Range<usize>, logits: &Logits) {
        let Some(top) = self.prompt_logprobs.filter(|_| self.prompt_rows.len() < self.prompt_tokens) else {
            return;
        };
        if self.prompt_rows.is_empty() {
            self.prompt_rows.push(None);
        }
        for (row, position) in rows.clone().zip(chunk.start + 1..self.prompt_tokens) {
            // After a preemption the prompt is computed again; what is known stays.
            if position == self.prompt_rows.len() {
                let token = self.tokens[position];
                self.prompt_rows.push(logits.row(row).map(|row| logprobs_of(row, token, top)));
            }
        }
        if self.prompt_rows.len() == self.prompt_tokens {
            self.send(Event::Prompt(self.prompt_rows.clone()));
        }
    }

    /// Takes a drawn token, and whether it ends the sequence whatever its text.
    fn accept(&mut self, sampled: Sampled, tokenizer: &Tokenizer) -> Outcome {
        let Sampled { token, logprobs } = sampled;
        self.tokens.push(token);
        let end = if tokenizer.is_end(token) && !self.ignore_end {
            Some(StopCause::EndToken(token))
        } else if self.tokens.len() - self.prompt_tokens >= self.max_tokens {
            Some(StopCause::Length)
        } else {
            None
        };
        let outcome = if end.is_some() { Outcome::Ended } else { Outcome::Continues };
        self.untold = Some(Untold { token, logprobs, end });
        outcome
    }

    /// Text, stop texts, events.
    fn tell_latest(&mut self, tokenizer: &Tokenizer) -> Outcome {
        let Some(Untold { token, logprobs, end }) = self.untold.take() else { return Outcome::Continues };
        if let Some(end @ StopCause::EndToken(_)) = end {
            return self.finish(end);
        }
        let piece = self.detokenizer.push(tokenizer.visible_piece(token));
        self.send(Event::Token(TokenEvent { id: token, text: piece.text, logprobs }));
        match piece.stopped.map(StopCause::StopText).or(end) {
            Some(cause) => self.finish(cause),
            None => Outcome::Continues,
        }
    }

    fn finish(&mut self, cause: StopCause) -> Outcome {
        let tail = self.detokenizer.finish();
        self.send(Event::Finished(Finished {
            cause,
            tail,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.tokens.len() - self.prompt_tokens,
        }));
        Outcome::Ended
    }

    /// The channel has room for every event of the sequence; a reader that left is seen at the next step.
    fn send(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            tracing::error!("a sequence sent more events than it has tokens");
        }
    }
}
