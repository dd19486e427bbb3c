//! A stream of chunks, written for a client.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::chat::{ChatCompletionChunk, ChunkChoice, Delta as WireDelta};
use super::super::shared::takes_foreign;
use super::super::{error, finish, logprobs, usage};
use super::remarks::GivenBack;
use super::response_out::{characters, take_fingerprint, unspeakable};
use super::{annotations, reasoning};
use crate::canonical::{
    Citation, Delta, Dialect, Envelope, Event, Inexpressible, Losses, Opening, Part, Place, RedactedThinking,
    Signature, Span, Start, Text, Thinking, Unsupported, Usage, WriteStream, seal,
};
use crate::sse;

const TARGET: Dialect = Dialect::OpenAiChat;

/// Writes the stream that a chat completions client reads.
#[derive(Debug)]
pub struct StreamWriter {
    envelope: Envelope,
    /// The client asked for the usage chunk.
    include_usage: bool,
    policy: Unsupported,
    losses: Losses,
    /// Of the upstream's start: what every chunk repeats.
    repeated: Extra,
    choices: BTreeMap<u32, Writing>,
    usage: Option<Usage>,
}

/// One answer under way.
#[derive(Debug, Default)]
struct Writing {
    blocks: BTreeMap<u32, Block>,
    calls: u32,
    /// Characters of text so far, which citations count in.
    characters: u64,
}

/// A block under way, with what can only be said when it is whole.
#[derive(Debug)]
enum Block {
    Text {
        start: u64,
        citations: Vec<Citation>,
        signature: Option<Signature>,
    },
    Thinking(Thinking),
    Call {
        index: u32,
        /// Nothing of its arguments has come.
        silent: bool,
    },
    Custom(u32),
    /// Already said, or dropped.
    Done,
}

impl StreamWriter {
    /// A writer; `include_usage` is what the client asked for in `stream_options`.
    pub fn new(envelope: Envelope, include_usage: bool, policy: Unsupported) -> Self {
        Self {
            envelope,
            include_usage,
            policy,
            losses: Losses::of_answer(policy, TARGET, TARGET),
            repeated: Extra::new(),
            choices: BTreeMap::new(),
            usage: None,
        }
    }

    fn start(&mut self, start: &Start) {
        let Start { origin, id: _, created: _, model: _, foreign } = start;
        self.losses = Losses::of_answer(self.policy, *origin, TARGET);
        self.repeated = self.losses.remarks(foreign, |origin, name| takes_foreign(TARGET, origin, name));
    }

    fn begin(
        &mut self,
        choice: u32,
        block: u32,
        opening: &Opening,
        out: &mut Vec<u8>,
    ) -> Result<(), Inexpressible> {
        let writing = self.choices.entry(choice).or_default();
        let (state, delta) = match opening {
            Opening::Text => {
                let start = writing.characters;
                (Block::Text { start, citations: Vec::new(), signature: None }, None)
            }
            Opening::Thinking { id } => {
                (Block::Thinking(Thinking { id: id.clone(), ..Thinking::default() }), None)
            }
            Opening::ToolCall { id, name, signature } => {
                let index = writing.calls;
                writing.calls += 1;
                let id = seal::seal_call_id(id, signature.as_ref());
                let function = json!({"name": name, "arguments": ""});
                let call = json!([{"index": index, "id": id, "type": "function", "function": function}]);
                (Block::Call { index, silent: true }, Some(with("tool_calls", call)))
            }
            Opening::CustomCall { id, name } => {
                let index = writing.calls;
                writing.calls += 1;
                let custom = json!({"name": name, "input": ""});
                let call = json!([{"index": index, "id": id, "type": "custom", "custom": custom}]);
                (Block::Custom(index), Some(with("tool_calls", call)))
            }
            Opening::RedactedThinking { provider, data } => {
                let part = RedactedThinking { provider: *provider, data: data.clone() };
                (Block::Done, detail(&Part::RedactedThinking(part), block))
            }
            Opening::Refusal => (Block::Done, None),
            Opening::Whole(part) => {
                let place = Place::Answer { choice, part: usize::try_from(block).unwrap_or_default() };
                let path = place.path(self.losses.origin());
                match part.as_ref() {
                    Part::Foreign(foreign) => {
                        self.losses.lose_foreign_part(path, foreign, unspeakable(part))?;
                    }
                    _ => self.losses.lose(path, unspeakable(part))?,
                }
                (Block::Done, None)
            }
        };
        writing.blocks.insert(block, state);
        if let Some(delta) = delta {
            self.delta(choice, delta, out);
        }
        Ok(())
    }

    fn grow(&mut self, choice: u32, block: u32, delta: &Delta, out: &mut Vec<u8>) {
        let writing = self.choices.entry(choice).or_default();
        let state = writing.blocks.get_mut(&block);
        let said = match (delta, state) {
            (Delta::Text(text), _) => {
                writing.characters = writing.characters.saturating_add(characters(text));
                WireDelta::text(text)
            }
            (Delta::Refusal(text), _) => {
                WireDelta { refusal: Some(Some(text.clone())), ..WireDelta::default() }
            }
            (Delta::Arguments(text), Some(Block::Call { index, silent })) => {
                *silent &= text.is_empty();
                with("tool_calls", json!([{"index": index, "function": {"arguments": text}}]))
            }
            (Delta::Input(text), Some(Block::Custom(index))) => {
                with("tool_calls", json!([{"index": index, "custom": {"input": text}}]))
            }
            (Delta::Thinking(text), Some(Block::Thinking(thinking))) => {
                thinking.text.push_str(text);
                with("reasoning_content", json!(text))
            }
            (Delta::Signature(new), Some(Block::Thinking(thinking))) => {
                thinking.signature = Some(new.clone());
                return;
            }
            (Delta::Signature(new), Some(Block::Text { signature, .. })) => {
                *signature = Some(new.clone());
                return;
            }
            (Delta::Citation(citation), Some(Block::Text { citations, .. })) => {
                citations.push(citation.as_ref().clone());
                return;
            }
            // Out of grammar, or for a block that was dropped.
            (
                Delta::Arguments(_)
                | Delta::Input(_)
                | Delta::Thinking(_)
                | Delta::Signature(_)
                | Delta::Citation(_),
                _,
            ) => return,
        };
        self.delta(choice, said, out);
    }

    fn close(&mut self, choice: u32, block: u32, out: &mut Vec<u8>) {
        let writing = self.choices.entry(choice).or_default();
        let end = writing.characters;
        match writing.blocks.remove(&block) {
            Some(Block::Text { start, citations, signature }) => {
                let place = Place::Answer { choice, part: usize::try_from(block).unwrap_or_default() };
                let path = place.path(self.losses.origin());
                let mut annotations = Vec::new();
                for citation in &citations {
                    let span = Span { start, end };
                    annotations.extend(annotations::annotation(citation, span, &path, &mut self.losses));
                }
                if !annotations.is_empty() {
                    self.delta(choice, with("annotations", Value::Array(annotations)), out);
                }
                let signed = Part::Text(Text { signature, ..Text::default() });
                if let Some(delta) = detail(&signed, block) {
                    self.delta(choice, delta, out);
                }
            }
            Some(Block::Thinking(thinking)) => {
                if let Some(delta) = detail(&Part::Thinking(thinking), block) {
                    self.delta(choice, delta, out);
                }
            }
            // A tool without arguments is called with `{}`: clients read no JSON from nothing.
            Some(Block::Call { index, silent: true }) => {
                let empty = json!([{"index": index, "function": {"arguments": "{}"}}]);
                self.delta(choice, with("tool_calls", empty), out);
            }
            Some(Block::Call { .. } | Block::Custom(_) | Block::Done) | None => {}
        }
    }

    fn delta(&mut self, choice: u32, delta: WireDelta, out: &mut Vec<u8>) {
        self.choice(
            ChunkChoice { index: choice, delta, logprobs: None, finish_reason: None, extra: Extra::new() },
            out,
        );
    }

    fn choice(&mut self, choice: ChunkChoice, out: &mut Vec<u8>) {
        self.chunk(vec![choice], None, out);
    }

    /// The first chunk of an answer says who speaks.
    fn open(&mut self, choice: u32, out: &mut Vec<u8>) {
        if let Entry::Vacant(vacant) = self.choices.entry(choice) {
            vacant.insert(Writing::default());
            self.delta(choice, WireDelta::opening(), out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.filter(|_| self.include_usage) {
            self.chunk(Vec::new(), Some(usage), out);
        }
        sse::event(sse::DONE, out);
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>, out: &mut Vec<u8>) {
        let mut extra = self.repeated.clone();
        let system_fingerprint = take_fingerprint(&mut extra);
        let chunk = ChatCompletionChunk {
            id: self.envelope.id.clone(),
            object: ChatCompletionChunk::OBJECT.to_owned(),
            created: self.envelope.created,
            model: self.envelope.model.clone(),
            choices,
            usage: self.include_usage.then(|| usage.as_ref().map(usage::from_canonical)),
            system_fingerprint,
            extra,
        };
        // The type holds strings and numbers, so encoding can't fail.
        sse::event(&serde_json::to_string(&chunk).unwrap_or_default(), out);
    }
}

impl WriteStream for StreamWriter {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        match event {
            Event::Start(start) => self.start(start),
            Event::BlockStart { choice, block, opening } => {
                self.open(*choice, out);
                self.begin(*choice, *block, opening, out)?;
            }
            Event::BlockDelta { choice, block, delta } => self.grow(*choice, *block, delta, out),
            Event::BlockStop { choice, block } => self.close(*choice, *block, out),
            Event::Logprobs { choice, logprobs } => {
                self.open(*choice, out);
                let logprobs = Some(logprobs::from_canonical(logprobs));
                let (index, delta) = (*choice, WireDelta::default());
                self.choice(
                    ChunkChoice { index, delta, logprobs, finish_reason: None, extra: Extra::new() },
                    out,
                );
            }
            Event::Stop { choice, stop } => {
                self.open(*choice, out);
                let (answer, choice_extra, extra) =
                    GivenBack::of(stop, *choice, &mut self.losses).into_delta();
                self.repeated.extend(answer);
                let reason = finish::from_canonical(&stop.reason, self.losses.origin());
                let delta = WireDelta { extra, ..WireDelta::default() };
                let (index, finish_reason) = (*choice, Some(reason));
                self.choice(
                    ChunkChoice { index, delta, logprobs: None, finish_reason, extra: choice_extra },
                    out,
                );
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => sse::comment("ping", out),
            Event::Error(failure) => {
                let body = error::from_canonical(failure).body;
                sse::event(&String::from_utf8_lossy(&body), out);
            }
            Event::End => self.end(out),
        }
        Ok(())
    }

    fn dropped(&self) -> &[String] {
        self.losses.dropped()
    }
}

fn with(name: &str, value: Value) -> WireDelta {
    WireDelta { extra: Extra::from_iter([(name.to_owned(), value)]), ..WireDelta::default() }
}

fn detail(part: &Part, block: u32) -> Option<WireDelta> {
    let index = usize::try_from(block).unwrap_or_default();
    reasoning::detail(part, index).map(|detail| with("reasoning_details", json!([detail])))
}
