//! One candidate's pieces into events.

use super::Candidate;
use crate::canonical::{
    Citation, Delta, Event, Extra, Failure, ForeignField, ForeignPart, Mint, Opening, Part, Provider,
    RedactedThinking, Signature, Stop, StopReason, Text, Thinking, keep_foreign,
};
use crate::gemini::content::Part as WirePart;
use crate::gemini::finish_reason::{self, Finish};
use crate::gemini::part::{foreign, read_plain};
use crate::gemini::{grounding, logprobs, signature};

/// Reads the pieces of one candidate.
#[derive(Clone, Debug)]
pub(super) struct CandidateReader {
    choice: u32,
    /// Where the whole answer comes in one piece, texts are left open, since their citations come after them.
    whole: bool,
    blocks: u32,
    open: Option<Open>,
    texts: Vec<TextBlock>,
    calls_tools: bool,
    /// Why it ended; the last word counts, since older models say `STOP` with every piece.
    pub(super) stop: Option<StopReason>,
    /// What nobody translates; of each field the last word counts.
    foreign: Vec<ForeignField>,
}

/// The block that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Text, by its place in the list of texts.
    Text(usize),
    /// Text that grows no more, and is open still for what cites it: that comes with the last piece.
    Signed(usize),
    /// Thinking, by its block.
    Thinking(u32),
}

/// A text so far: citations count its bytes.
#[derive(Clone, Debug)]
struct TextBlock {
    block: u32,
    text: String,
    open: bool,
}

impl CandidateReader {
    pub(super) fn new(choice: u32, whole: bool) -> Self {
        Self {
            choice,
            whole,
            blocks: 0,
            open: None,
            texts: Vec::new(),
            calls_tools: false,
            stop: None,
            foreign: Vec::new(),
        }
    }

    /// Takes the next piece.
    pub(super) fn read(
        &mut self,
        piece: Candidate,
        mint: &mut Mint,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let Candidate {
            content,
            finish_reason,
            finish_message,
            index: _,
            citation_metadata,
            mut grounding_metadata,
            logprobs_result,
            avg_logprobs: _,
            extra,
        } = piece;
        let searched = grounding_metadata.as_mut().map(|metadata| std::mem::take(&mut metadata.extra));
        self.keep("", extra);
        self.keep(".groundingMetadata", searched.unwrap_or_default());
        // Which text each part of this piece went to, and where it begins there.
        let mut places = Vec::new();
        for part in content.map(|content| content.parts).unwrap_or_default() {
            places.push(self.part(part, mint, events));
        }
        for found in grounding::read(citation_metadata, grounding_metadata) {
            self.cite(found, &places, events);
        }
        if let Some(result) = logprobs_result {
            events.push(Event::Logprobs { choice: self.choice, logprobs: logprobs::to_canonical(result) });
        }
        match finish_reason.as_deref().map(finish_reason::read) {
            None => {}
            Some(Finish::Stop(reason)) => {
                self.stop = Some(reason);
                let message = finish_message.map(|message| ("finishMessage".to_owned(), message.into()));
                self.keep("", message.into_iter().collect());
            }
            Some(Finish::Fail(class, problem)) => {
                let said = finish_message.map_or_else(String::new, |message| format!(" ({message})"));
                let mut failure = Failure::new(class, format!("{problem}{said}"));
                failure.code = finish_reason;
                failure.origin = Some(crate::canonical::Dialect::Gemini);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// The candidate ended. The reason comes only now: it depends on the calls, which all have come by now.
    /// `more` is what the answer says at its end.
    pub(super) fn finish(&mut self, more: Vec<ForeignField>, events: &mut Vec<Event>) {
        self.close(events);
        for text in self.texts.iter_mut().filter(|text| text.open) {
            text.open = false;
            events.push(Event::BlockStop { choice: self.choice, block: text.block });
        }
        let reason = self.stop.clone().unwrap_or(StopReason::EndTurn).with_calls(self.calls_tools);
        let mut foreign = std::mem::take(&mut self.foreign);
        foreign.extend(more);
        let stop = Stop { foreign, ..Stop::new(reason) };
        events.push(Event::Stop { choice: self.choice, stop });
    }

    fn keep(&mut self, within: &str, extra: Extra) {
        let mut newer = Vec::new();
        keep_foreign(&format!("candidates[{}]{within}", self.choice), extra, &mut newer);
        let same = |kept: &ForeignField| {
            newer.iter().any(|field| field.parent == kept.parent && field.name == kept.name)
        };
        self.foreign.retain(|kept| !same(kept));
        self.foreign.extend(newer);
    }

    /// Takes a part; says which text it belongs to and at which byte it begins there.
    fn part(&mut self, part: WirePart, mint: &mut Mint, events: &mut Vec<Event>) -> Option<(usize, u64)> {
        let named = |part: &WirePart| {
            let call = part.function_call.as_ref()?;
            // What streams its arguments in pieces has more fields, and only this dialect can read it.
            let name = call.name.clone().filter(|name| !name.is_empty() && call.extra.is_empty());
            name.filter(|_| part.function_response.is_none())
        };
        if let Some(name) = named(&part) {
            self.call(name, part, mint, events);
            return None;
        }
        if part.function_call.is_some() || part.function_response.is_some() {
            self.whole_part(Part::Foreign(foreign(&part)), events);
            return None;
        }
        let mut fields = Vec::new();
        let kept = part.clone();
        match read_plain(part, "", &mut fields)? {
            Part::Text(text) => Some(self.text(text, events)),
            Part::Thinking(thinking) => {
                self.thinking(thinking, events);
                None
            }
            Part::RedactedThinking(RedactedThinking { provider, data }) => {
                let block = self.start(Opening::RedactedThinking { provider, data }, events);
                events.push(Event::BlockStop { choice: self.choice, block });
                None
            }
            // A medium with more to it, such as a signature, stays as it is for clients of this dialect.
            Part::Image(_) | Part::Audio(_) | Part::Document(_) if !fields.is_empty() => {
                self.whole_part(Part::Foreign(foreign(&kept)), events);
                None
            }
            medium @ (Part::Image(_) | Part::Audio(_) | Part::Document(_)) => {
                self.whole_part(medium, events);
                None
            }
            Part::Foreign(ForeignPart { dialect, kind, value }) => {
                self.whole_part(Part::Foreign(ForeignPart { dialect, kind, value }), events);
                None
            }
            Part::ToolCall(_) | Part::CustomCall(_) | Part::ToolResult(_) | Part::Refusal(_) => None,
        }
    }

    fn call(&mut self, name: String, part: WirePart, mint: &mut Mint, events: &mut Vec<Event>) {
        let WirePart { thought_signature, function_call, .. } = part;
        let call = function_call.unwrap_or_default();
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| mint.call_id());
        let signature = thought_signature.as_deref().map(signature::open);
        let block = self.start(Opening::ToolCall { id, name, signature }, events);
        let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned());
        let choice = self.choice;
        events.push(Event::BlockDelta { choice, block, delta: Delta::Arguments(arguments) });
        events.push(Event::BlockStop { choice, block });
        self.calls_tools = true;
    }

    fn text(&mut self, text: Text, events: &mut Vec<Event>) -> (usize, u64) {
        let Text { text, citations: _, signature, cache: _ } = text;
        // A signed part is a block of its own: it must come back as it was, joined with nothing.
        if let (Some(Open::Text(index)), Some(signature), true) = (self.open, &signature, text.is_empty()) {
            // It says nothing, so the text before it stays the one that is cited.
            let (choice, block) = (self.choice, self.number(Opening::Text, events));
            let delta = Delta::Signature(signature.clone());
            events.push(Event::BlockDelta { choice, block, delta });
            events.push(Event::BlockStop { choice, block });
            self.texts.push(TextBlock { block, text, open: false });
            self.open = Some(Open::Signed(index));
            return (self.texts.len() - 1, 0);
        }
        let growing = match self.open {
            Some(Open::Text(index)) if signature.is_none() => Some(index),
            Some(Open::Text(_) | Open::Signed(_) | Open::Thinking(_)) | None => None,
        };
        let index = growing.unwrap_or_else(|| {
            let block = self.start(Opening::Text, events);
            self.texts.push(TextBlock { block, text: String::new(), open: true });
            self.open = Some(Open::Text(self.texts.len() - 1));
            self.texts.len() - 1
        });
        let Some(grown) = self.texts.get_mut(index) else { return (index, 0) };
        let (choice, block) = (self.choice, grown.block);
        let at = u64::try_from(grown.text.len()).unwrap_or(u64::MAX);
        grown.text.push_str(&text);
        if !text.is_empty() {
            events.push(Event::BlockDelta { choice, block, delta: Delta::Text(text) });
        }
        if let Some(signature) = signature {
            events.push(Event::BlockDelta { choice, block, delta: Delta::Signature(signature) });
            self.open = Some(Open::Signed(index));
        }
        (index, at)
    }

    fn thinking(&mut self, thinking: Thinking, events: &mut Vec<Event>) {
        let Thinking { text, signature, id: _ } = thinking;
        // Gemini's signature belongs to its own part; another provider's to all that came before it.
        let own = |signature: &Signature| signature.provider == Provider::Gemini;
        let alone = signature.as_ref().is_some_and(own);
        let block = match self.open {
            Some(Open::Thinking(block)) if !alone => block,
            Some(Open::Text(_) | Open::Signed(_) | Open::Thinking(_)) | None => {
                let block = self.start(Opening::Thinking { id: None }, events);
                self.open = Some(Open::Thinking(block));
                block
            }
        };
        let choice = self.choice;
        if !text.is_empty() {
            events.push(Event::BlockDelta { choice, block, delta: Delta::Thinking(text) });
        }
        if let Some(signature) = signature {
            events.push(Event::BlockDelta { choice, block, delta: Delta::Signature(signature) });
            self.close(events);
        }
    }

    fn whole_part(&mut self, part: Part, events: &mut Vec<Event>) {
        let block = self.start(Opening::Whole(Box::new(part)), events);
        events.push(Event::BlockStop { choice: self.choice, block });
    }

    /// Adds a citation to the text it is of; where that is no longer open, to the newest one, without its stretch.
    fn cite(&mut self, found: grounding::Found, places: &[Option<(usize, u64)>], events: &mut Vec<Event>) {
        let grounding::Found { part, bytes, citation } = found;
        // In a stream the parts are other ones at each piece, so the bytes count over all texts.
        let place = part.filter(|_| self.whole).and_then(|part| places.get(part).copied().flatten());
        let target = match (place, bytes) {
            (Some((index, at)), bytes) => {
                Some((index, bytes.map(|(start, end)| (start.saturating_add(at), end.saturating_add(at)))))
            }
            (None, Some(bytes)) => self.locate(bytes).map(|(index, bytes)| (index, Some(bytes))),
            (None, None) => None,
        };
        let open = target.and_then(|(index, bytes)| {
            let text = self.texts.get(index).filter(|text| text.open)?;
            Some((text.block, bytes.and_then(|bytes| grounding::span(&text.text, bytes))))
        });
        let (block, span) = open.unwrap_or_else(|| (self.open_text(events), None));
        let delta = Delta::Citation(Box::new(Citation { span, ..citation }));
        events.push(Event::BlockDelta { choice: self.choice, block, delta });
    }

    /// The text that these bytes of all texts together begin in, and its own bytes.
    fn locate(&self, (start, end): (u64, u64)) -> Option<(usize, (u64, u64))> {
        let mut begins = 0;
        for (index, text) in self.texts.iter().enumerate() {
            let length = u64::try_from(text.text.len()).unwrap_or(u64::MAX);
            if start < begins + length {
                return Some((index, (start - begins, end.saturating_sub(begins))));
            }
            begins += length;
        }
        None
    }

    fn open_text(&mut self, events: &mut Vec<Event>) -> u32 {
        match self.open {
            Some(Open::Text(index) | Open::Signed(index)) => {
                self.texts.get(index).map_or(0, |text| text.block)
            }
            Some(Open::Thinking(_)) | None => {
                let block = self.start(Opening::Text, events);
                self.texts.push(TextBlock { block, text: String::new(), open: true });
                self.open = Some(Open::Text(self.texts.len() - 1));
                block
            }
        }
    }

    fn start(&mut self, opening: Opening, events: &mut Vec<Event>) -> u32 {
        self.close(events);
        self.number(opening, events)
    }

    fn number(&mut self, opening: Opening, events: &mut Vec<Event>) -> u32 {
        let block = self.blocks;
        self.blocks += 1;
        events.push(Event::BlockStart { choice: self.choice, block, opening });
        block
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        let block = match self.open.take() {
            None => return,
            Some(Open::Text(_) | Open::Signed(_)) if self.whole => return,
            Some(Open::Text(index) | Open::Signed(index)) => match self.texts.get_mut(index) {
                Some(text) => {
                    text.open = false;
                    text.block
                }
                None => return,
            },
            Some(Open::Thinking(block)) => block,
        };
        events.push(Event::BlockStop { choice: self.choice, block });
    }
}
