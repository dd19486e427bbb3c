//! A stream for a client.

use std::collections::BTreeMap;

use crate::canonical::{
    CustomCall, Delta, Dialect, Envelope, Event, Extra, Inexpressible, Losses, Opening, Part, Sequencer,
    Stop, Text, Thinking, ToolCall, Unsupported, Usage, WriteStream,
};
use crate::gemini::content::{Content, Part as WirePart};
use crate::gemini::error::{self, ErrorBody};
use crate::gemini::grounding::Citations;
use crate::gemini::path::Framing;
use crate::gemini::response::{
    Candidate, GenerateContentResponse, Own, PromptFeedback, give_back, write_part,
};
use crate::gemini::usage::UsageMetadata;
use crate::gemini::{finish_reason, logprobs, usage};
use crate::sse;

/// Writes a stream. Text flows; a call is written when it is whole, since its arguments are an object here; reasons,
/// citations and usage come with the last piece.
#[derive(Debug)]
pub struct StreamWriter {
    envelope: Envelope,
    framing: Framing,
    policy: Unsupported,
    losses: Losses,
    sequencer: Sequencer,
    candidates: BTreeMap<u32, Writing>,
    usage: Option<Usage>,
    /// What the upstream says of the prompt, for the first piece.
    feedback: Option<PromptFeedback>,
    /// Of the upstream's start: what every piece repeats.
    repeated: Extra,
    opened: bool,
    closed: bool,
}

/// One candidate under way.
#[derive(Debug, Default)]
struct Writing {
    /// The block that is open, with what is not written out of it.
    block: Option<Block>,
    /// Bytes of all its texts so far.
    text_bytes: u64,
    citations: Citations,
    stop: Option<Stop>,
}

#[derive(Debug)]
enum Block {
    /// A text; its words are kept for what cites them.
    Text {
        words: String,
    },
    Thinking,
    Refusal,
    Call(ToolCall),
    /// It was written whole.
    Written,
}

impl StreamWriter {
    /// A writer for a client that asked for this framing.
    pub fn new(envelope: Envelope, policy: Unsupported, framing: Framing) -> Self {
        Self {
            envelope,
            framing,
            policy,
            losses: Losses::of_answer(policy, Dialect::Gemini, Dialect::Gemini),
            sequencer: Sequencer::new(),
            candidates: BTreeMap::new(),
            usage: None,
            feedback: None,
            repeated: Extra::new(),
            opened: false,
            closed: false,
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        match event {
            Event::Start(start) => {
                self.losses = Losses::of_answer(self.policy, start.origin, Dialect::Gemini);
                let own = Own::of(start.origin, &start.foreign, &mut self.losses);
                (self.feedback, self.repeated) = (own.feedback(), own.take(""));
            }
            Event::BlockStart { choice, block, opening } => {
                let (open, part) = begin(opening);
                self.writing(choice).block = Some(open);
                if let Some(part) = part {
                    self.part(choice, block, &part, out)?;
                }
            }
            Event::BlockDelta { choice, block, delta } => self.delta(choice, block, delta, out)?,
            Event::BlockStop { choice, block } => match self.writing(choice).block.take() {
                Some(Block::Call(call)) => self.part(choice, block, &Part::ToolCall(call), out)?,
                Some(Block::Text { words }) => {
                    let length = u64::try_from(words.len()).unwrap_or_default();
                    self.writing(choice).text_bytes += length;
                }
                Some(Block::Thinking | Block::Refusal | Block::Written) | None => {}
            },
            Event::Logprobs { choice, logprobs } => {
                let logprobs_result = Some(logprobs::from_canonical(&logprobs));
                let candidate = Candidate { index: Some(choice), logprobs_result, ..Candidate::default() };
                self.piece(vec![candidate], out);
            }
            Event::Stop { choice, stop } => self.writing(choice).stop = Some(stop),
            Event::Usage(usage) => self.usage = Some(usage),
            // A comment would be taken for an error by Google's Python client, which skips blank lines.
            Event::Ping => out.extend_from_slice(b"\n"),
            Event::Error(failure) => {
                let (_, error) = error::write(&failure);
                self.close(Some(&ErrorBody { error, extra: Extra::new() }), out);
            }
            Event::End => {
                self.last_piece(out);
                self.close(None, out);
            }
        }
        Ok(())
    }

    fn writing(&mut self, choice: u32) -> &mut Writing {
        self.candidates.entry(choice).or_default()
    }

    fn delta(
        &mut self,
        choice: u32,
        block: u32,
        delta: Delta,
        out: &mut Vec<u8>,
    ) -> Result<(), Inexpressible> {
        let writing = self.candidates.entry(choice).or_default();
        let part = match (&mut writing.block, delta) {
            (Some(Block::Text { words }), Delta::Text(text)) => {
                words.push_str(&text);
                Part::text(text)
            }
            (Some(Block::Text { .. }), Delta::Signature(signature)) => {
                Part::Text(Text { signature: Some(signature), ..Text::default() })
            }
            (Some(Block::Text { words }), Delta::Citation(citation)) => {
                // In a stream the bytes count over all texts, whose pieces are no lasting parts.
                if !writing.citations.add(&citation, words, None, writing.text_bytes) {
                    let field = format!("{}.citations", path(choice, block));
                    self.losses.waive(field);
                }
                return Ok(());
            }
            (Some(Block::Thinking), Delta::Thinking(text)) => {
                Part::Thinking(Thinking { text, ..Thinking::default() })
            }
            (Some(Block::Thinking), Delta::Signature(signature)) => {
                Part::Thinking(Thinking { signature: Some(signature), ..Thinking::default() })
            }
            (Some(Block::Refusal), Delta::Refusal(words)) => Part::Refusal(words),
            (Some(Block::Call(call)), Delta::Arguments(more)) => {
                call.arguments.push_str(&more);
                return Ok(());
            }
            // Out of grammar; the assembler beside it says so.
            (Some(_) | None, _) => return Ok(()),
        };
        self.part(choice, block, &part, out)
    }

    fn part(&mut self, choice: u32, block: u32, part: &Part, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        if let Some(part) = write_part(part, &path(choice, block), &mut self.losses)? {
            let candidate =
                Candidate { content: Some(content(vec![part])), index: Some(choice), ..Candidate::default() };
            self.piece(vec![candidate], out);
        }
        Ok(())
    }

    fn last_piece(&mut self, out: &mut Vec<u8>) {
        let mut usage_metadata = self.usage.as_ref().map(usage::from_canonical);
        let mut candidates = Vec::with_capacity(self.candidates.len());
        for (choice, writing) in std::mem::take(&mut self.candidates) {
            let Writing { block: _, text_bytes: _, citations, stop } = writing;
            let (citation_metadata, grounding_metadata) = citations.write();
            let reason = stop.as_ref().map_or("STOP", |stop| finish_reason::write(&stop.reason));
            let mut candidate = Candidate {
                // Google's own last piece has an empty text where nothing else is left to say.
                content: Some(content(vec![WirePart::text("")])),
                finish_reason: Some(reason.to_owned()),
                index: Some(choice),
                citation_metadata,
                grounding_metadata,
                ..Candidate::default()
            };
            if let Some(stop) = &stop {
                let origin = self.losses.origin();
                give_back(stop, origin, &mut candidate, usage_metadata.as_mut(), &mut self.losses);
            }
            candidates.push(candidate);
        }
        self.send(candidates, usage_metadata, out);
    }

    fn piece(&mut self, candidates: Vec<Candidate>, out: &mut Vec<u8>) {
        let usage_metadata = self.usage.as_ref().map(usage::from_canonical);
        self.send(candidates, usage_metadata, out);
    }

    fn send(&mut self, candidates: Vec<Candidate>, usage_metadata: Option<UsageMetadata>, out: &mut Vec<u8>) {
        let piece = GenerateContentResponse {
            candidates,
            prompt_feedback: self.feedback.take(),
            usage_metadata,
            model_version: Some(self.envelope.model.clone()),
            response_id: Some(self.envelope.id.clone()),
            // Vertex's alone.
            create_time: None,
            error: None,
            extra: self.repeated.clone(),
        };
        let json = serde_json::to_string(&piece).unwrap_or_default();
        match self.framing {
            // Arguments keep their white space, and a line break in it would make two lines of data, of which Google's
            // JavaScript client reads one. In JSON it can only stand where a space can.
            Framing::Sse => sse::event(&json.replace(['\r', '\n'], " "), out),
            Framing::Array => self.element(&json, out),
        }
    }

    fn element(&mut self, json: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.opened { b",\n" } else { b"[" });
        self.opened = true;
        out.extend_from_slice(json.as_bytes());
        out.push(b'\n');
    }

    fn close(&mut self, error: Option<&ErrorBody>, out: &mut Vec<u8>) {
        self.closed = true;
        let json = error.map(|error| serde_json::to_string(error).unwrap_or_default());
        match (self.framing, json) {
            (Framing::Sse, None) => {}
            // Plain JSON and no event: so Google sends it, and so its clients tell it from a piece.
            (Framing::Sse, Some(json)) => {
                out.extend_from_slice(json.as_bytes());
                out.extend_from_slice(b"\n\n");
            }
            (Framing::Array, json) => {
                if let Some(json) = json {
                    self.element(&json, out);
                }
                out.extend_from_slice(if self.opened { b"]" } else { b"[]" });
            }
        }
    }
}

fn begin(opening: Opening) -> (Block, Option<Part>) {
    match opening {
        Opening::Text => (Block::Text { words: String::new() }, None),
        Opening::Thinking { id: _ } => (Block::Thinking, None),
        Opening::Refusal => (Block::Refusal, None),
        Opening::ToolCall { id, name, signature } => {
            let call = ToolCall { id, name, arguments: String::new(), signature, cache: None };
            (Block::Call(call), None)
        }
        Opening::CustomCall { id, name } => {
            let call = CustomCall { id, name, input: String::new() };
            (Block::Written, Some(Part::CustomCall(call)))
        }
        Opening::RedactedThinking { provider, data } => {
            let thinking = crate::canonical::RedactedThinking { provider, data };
            (Block::Written, Some(Part::RedactedThinking(thinking)))
        }
        Opening::Whole(part) => (Block::Written, Some(*part)),
    }
}

fn content(parts: Vec<WirePart>) -> Content {
    Content { role: Some("model".to_owned()), parts, extra: Extra::new() }
}

fn path(choice: u32, block: u32) -> String {
    format!("choices[{choice}].parts[{block}]")
}

impl WriteStream for StreamWriter {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        if self.closed {
            return Ok(());
        }
        let mut events = Vec::new();
        self.sequencer.push(event.clone(), &mut events);
        events.into_iter().try_for_each(|event| self.event(event, out))
    }

    fn dropped(&self) -> &[String] {
        self.losses.dropped()
    }
}
