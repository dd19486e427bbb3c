//! A stream of chunks, written for a client. A chunk has the shape of a whole answer.

use std::collections::BTreeMap;

use super::super::super::completion::{Completion, CompletionChoice};
use super::super::super::{CompletionLogprobs, Extra, FinishReason};
use super::super::{error, finish, usage};
use super::legacy_logprobs;
use super::response::said;
use crate::canonical::{
    CustomCall, Delta, Dialect, Envelope, Event, Inexpressible, Losses, Opening, Part, Place,
    RedactedThinking, Thinking, ToolCall, Unsupported, Usage, WriteStream,
};
use crate::sse;

const TARGET: Dialect = Dialect::OpenAiCompletions;

/// Writes the stream that a completions client reads.
#[derive(Debug)]
pub struct StreamWriter {
    envelope: Envelope,
    /// The client asked for the usage chunk.
    include_usage: bool,
    policy: Unsupported,
    losses: Losses,
    usage: Option<Usage>,
    /// Where the next token of each answer stands, in characters.
    offsets: BTreeMap<u32, u64>,
}

impl StreamWriter {
    /// A writer; `include_usage` is what the client asked for in `stream_options`.
    pub fn new(envelope: Envelope, include_usage: bool, policy: Unsupported) -> Self {
        let losses = Losses::of_answer(policy, TARGET, TARGET);
        Self { envelope, include_usage, policy, losses, usage: None, offsets: BTreeMap::new() }
    }

    /// Refuses a block that a completion can't hold, as soon as it begins.
    fn begin(&mut self, choice: u32, block: u32, opening: &Opening) -> Result<(), Inexpressible> {
        let part = match opening {
            Opening::Text | Opening::Refusal => return Ok(()),
            Opening::Thinking { id } => Part::Thinking(Thinking { id: id.clone(), ..Thinking::default() }),
            Opening::RedactedThinking { provider, data } => {
                Part::RedactedThinking(RedactedThinking { provider: *provider, data: data.clone() })
            }
            Opening::ToolCall { .. } => Part::ToolCall(ToolCall::default()),
            Opening::CustomCall { .. } => Part::CustomCall(CustomCall::default()),
            Opening::Whole(part) => part.as_ref().clone(),
        };
        let place = Place::Answer { choice, part: usize::try_from(block).unwrap_or_default() };
        said(&part, place, &mut self.losses).map(|_| ())
    }

    fn choice(
        &self,
        index: u32,
        text: &str,
        logprobs: Option<CompletionLogprobs>,
        finish_reason: Option<FinishReason>,
        out: &mut Vec<u8>,
    ) {
        let text = text.to_owned();
        let choice = CompletionChoice { index, text, logprobs, finish_reason, extra: Extra::new() };
        self.chunk(vec![choice], None, out);
    }

    fn chunk(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>, out: &mut Vec<u8>) {
        let chunk = Completion {
            id: self.envelope.id.clone(),
            object: Completion::OBJECT.to_owned(),
            created: self.envelope.created,
            model: self.envelope.model.clone(),
            choices,
            usage: self.include_usage.then(|| usage.as_ref().map(usage::from_canonical)),
            system_fingerprint: None,
            extra: Extra::new(),
        };
        // The type holds strings and numbers, so encoding can't fail.
        sse::event(&serde_json::to_string(&chunk).unwrap_or_default(), out);
    }
}

impl WriteStream for StreamWriter {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        match event {
            Event::Start(start) => {
                self.losses = Losses::of_answer(self.policy, start.origin, TARGET);
                self.losses.waive_all(&start.foreign);
            }
            Event::BlockStart { choice, block, opening } => self.begin(*choice, *block, opening)?,
            Event::BlockDelta { choice, block: _, delta: Delta::Text(text) | Delta::Refusal(text) } => {
                self.choice(*choice, text, None, None, out);
            }
            // They stand beside words, which say the same without.
            Event::BlockDelta {
                choice,
                block,
                delta: delta @ (Delta::Signature(_) | Delta::Citation(_)),
            } => {
                let what = if matches!(delta, Delta::Signature(_)) { "signature" } else { "citations" };
                let part = usize::try_from(*block).unwrap_or_default();
                let path = Place::Answer { choice: *choice, part }.path(self.losses.origin());
                self.losses.waive(format!("{path}.{what}"));
            }
            // Of a block that was dropped or waived.
            Event::BlockDelta {
                delta: Delta::Arguments(_) | Delta::Input(_) | Delta::Thinking(_), ..
            }
            | Event::BlockStop { .. } => {}
            Event::Logprobs { choice, logprobs } => {
                let logprobs = legacy_logprobs::write(logprobs, self.offsets.entry(*choice).or_default());
                self.choice(*choice, "", Some(logprobs), None, out);
            }
            Event::Stop { choice, stop } => {
                self.losses.waive_all(&stop.foreign);
                let reason = finish::from_canonical(&stop.reason, self.losses.origin());
                self.choice(*choice, "", None, Some(reason), out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => sse::comment("ping", out),
            Event::Error(failure) => {
                let body = error::from_canonical(failure).body;
                sse::event(&String::from_utf8_lossy(&body), out);
            }
            Event::End => {
                if let Some(usage) = self.usage.filter(|_| self.include_usage) {
                    self.chunk(Vec::new(), Some(usage), out);
                }
                sse::event(sse::DONE, out);
            }
        }
        Ok(())
    }

    fn dropped(&self) -> &[String] {
        self.losses.dropped()
    }
}
