//! From stream events to the whole answer. It holds the stream to its grammar ([`super::event`]).

use std::collections::BTreeMap;

use super::{
    Choice, CustomCall, Delta, Event, Failure, Opening, Part, RedactedThinking, Response, Start, Text,
    Thinking, ToolCall, Usage,
};

/// Puts a streamed answer together. What is there of a stream that broke off can still be metered
/// ([`Assembler::usage`], [`Assembler::partial`]).
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    start: Option<Start>,
    choices: BTreeMap<u32, Building>,
    usage: Option<Usage>,
    end: Option<Ending>,
}

#[derive(Clone, Debug)]
enum Ending {
    Whole,
    Failed(Failure),
}

/// One answer under way.
#[derive(Clone, Debug, Default)]
struct Building {
    choice: Choice,
    /// Whether each block is still open, by block.
    open: Vec<bool>,
}

/// The stream broke a rule of its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// Something came before `Start`.
    #[error("{event} came before the start")]
    BeforeStart {
        /// What came.
        event: &'static str,
    },
    /// `Start` came twice.
    #[error("the start came twice")]
    StartedTwice,
    /// Something came after `End` or `Error`.
    #[error("{event} came after the end")]
    AfterEnd {
        /// What came.
        event: &'static str,
    },
    /// A block has not the next number.
    #[error("block {block} of choice {choice} began where block {expected} was next")]
    BlockOutOfOrder {
        /// The answer.
        choice: u32,
        /// The block.
        block: u32,
        /// The number that was next.
        expected: usize,
    },
    /// A delta or a stop is for a block that is not open.
    #[error("block {block} of choice {choice} is not open")]
    BlockNotOpen {
        /// The answer.
        choice: u32,
        /// The block.
        block: u32,
    },
    /// A delta does not fit its block.
    #[error("block {block} of choice {choice} can't grow by {delta}")]
    WrongDelta {
        /// The answer.
        choice: u32,
        /// The block.
        block: u32,
        /// What came.
        delta: &'static str,
    },
    /// An answer ended with a block still open.
    #[error("choice {choice} stopped with block {block} open")]
    BlockLeftOpen {
        /// The answer.
        choice: u32,
        /// The block.
        block: usize,
    },
    /// An answer went on after its stop.
    #[error("choice {choice} went on after its stop")]
    AfterStop {
        /// The answer.
        choice: u32,
    },
    /// The stream ended with an answer that did not.
    #[error("the stream ended before choice {choice} did")]
    ChoiceLeftOpen {
        /// The answer.
        choice: u32,
    },
    /// A tool call began without an id or a name.
    #[error("block {block} of choice {choice} is a tool call without id or name")]
    NamelessCall {
        /// The answer.
        choice: u32,
        /// The block.
        block: u32,
    },
}

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// The stream never started, or never ended.
    #[error("the stream has not ended")]
    Open,
    /// The stream ended in a failure.
    #[error("the stream failed")]
    Failed(#[source] Failure),
}

impl Assembler {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// Where the event breaks the grammar. What came before it can still be read; the rest of the stream can't.
    pub fn push(&mut self, event: &Event) -> Result<(), GrammarError> {
        if self.end.is_some() {
            return Err(GrammarError::AfterEnd { event: name(event) });
        }
        let started = self.start.is_some();
        match event {
            Event::Ping => Ok(()),
            Event::Error(failure) => {
                self.end = Some(Ending::Failed(failure.clone()));
                Ok(())
            }
            Event::Start(_) if started => Err(GrammarError::StartedTwice),
            Event::Start(start) => {
                self.start = Some(start.clone());
                Ok(())
            }
            _ if !started => Err(GrammarError::BeforeStart { event: name(event) }),
            Event::Usage(usage) => {
                self.usage = Some(*usage);
                Ok(())
            }
            Event::End => self.end(),
            Event::BlockStart { choice, block, opening } => self.choice(*choice)?.begin(*block, opening),
            Event::BlockDelta { choice, block, delta } => self.choice(*choice)?.grow(*block, delta),
            Event::BlockStop { choice, block } => self.choice(*choice)?.finish(*block),
            Event::Logprobs { choice, logprobs } => {
                let building = self.choice(*choice)?;
                building.choice.logprobs.get_or_insert_default().extend(logprobs.clone());
                Ok(())
            }
            Event::Stop { choice, stop } => {
                let building = self.choice(*choice)?;
                if let Some(block) = building.open.iter().position(|open| *open) {
                    return Err(GrammarError::BlockLeftOpen { choice: *choice, block });
                }
                building.choice.stop = Some(stop.clone());
                Ok(())
            }
        }
    }

    /// The newest usage; what a stream that broke off is metered by.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// The answer as far as it came, whether it ended or not; `None` before its start.
    pub fn partial(&self) -> Option<Response> {
        let Start { origin, id, created, model, foreign } = self.start.clone()?;
        Some(Response {
            origin,
            id,
            created,
            model,
            choices: self.choices.values().map(|building| building.choice.clone()).collect(),
            usage: self.usage,
            foreign,
        })
    }

    /// The whole answer.
    ///
    /// # Errors
    /// Where the stream failed or has not ended.
    pub fn finish(self) -> Result<Response, Unfinished> {
        match &self.end {
            Some(Ending::Whole) => self.partial().ok_or(Unfinished::Open),
            Some(Ending::Failed(failure)) => Err(Unfinished::Failed(failure.clone())),
            None => Err(Unfinished::Open),
        }
    }

    fn end(&mut self) -> Result<(), GrammarError> {
        if let Some((choice, _)) = self.choices.iter().find(|(_, building)| building.choice.stop.is_none()) {
            return Err(GrammarError::ChoiceLeftOpen { choice: *choice });
        }
        self.end = Some(Ending::Whole);
        Ok(())
    }

    fn choice(&mut self, index: u32) -> Result<&mut Building, GrammarError> {
        let building = self.choices.entry(index).or_default();
        building.choice.index = index;
        if building.choice.stop.is_some() {
            return Err(GrammarError::AfterStop { choice: index });
        }
        Ok(building)
    }
}

impl Building {
    fn begin(&mut self, block: u32, opening: &Opening) -> Result<(), GrammarError> {
        let (choice, expected) = (self.choice.index, self.open.len());
        if usize::try_from(block) != Ok(expected) {
            return Err(GrammarError::BlockOutOfOrder { choice, block, expected });
        }
        let part = match opening {
            Opening::Text => Part::Text(Text::default()),
            Opening::ToolCall { id, name, signature: _ } | Opening::CustomCall { id, name }
                if id.is_empty() || name.is_empty() =>
            {
                return Err(GrammarError::NamelessCall { choice, block });
            }
            Opening::ToolCall { id, name, signature } => Part::ToolCall(ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
                signature: signature.clone(),
                cache: None,
            }),
            Opening::CustomCall { id, name } => {
                Part::CustomCall(CustomCall { id: id.clone(), name: name.clone(), input: String::new() })
            }
            Opening::Thinking { id } => Part::Thinking(Thinking { id: id.clone(), ..Thinking::default() }),
            Opening::RedactedThinking { provider, data } => {
                Part::RedactedThinking(RedactedThinking { provider: *provider, data: data.clone() })
            }
            Opening::Refusal => Part::Refusal(String::new()),
            Opening::Whole(part) => part.as_ref().clone(),
        };
        self.choice.parts.push(part);
        self.open.push(true);
        Ok(())
    }

    fn grow(&mut self, block: u32, delta: &Delta) -> Result<(), GrammarError> {
        let choice = self.choice.index;
        let part = self.open_part(block)?;
        match (part, delta) {
            (Part::Text(text), Delta::Text(more)) => text.text.push_str(more),
            (Part::Text(text), Delta::Citation(citation)) => text.citations.push(citation.as_ref().clone()),
            (Part::Text(text), Delta::Signature(signature)) => text.signature = Some(signature.clone()),
            (Part::ToolCall(call), Delta::Arguments(more)) => call.arguments.push_str(more),
            (Part::CustomCall(call), Delta::Input(more)) => call.input.push_str(more),
            (Part::Thinking(thinking), Delta::Thinking(more)) => thinking.text.push_str(more),
            (Part::Thinking(thinking), Delta::Signature(signature)) => {
                thinking.signature = Some(signature.clone());
            }
            (Part::Refusal(refusal), Delta::Refusal(more)) => refusal.push_str(more),
            (_, delta) => return Err(GrammarError::WrongDelta { choice, block, delta: delta.kind() }),
        }
        Ok(())
    }

    fn finish(&mut self, block: u32) -> Result<(), GrammarError> {
        let part = self.open_part(block)?;
        if let Part::ToolCall(call) = part {
            // A tool without arguments is called with `{}` in every dialect.
            call.arguments = call.arguments_or_empty().to_owned();
        }
        if let Some(open) = usize::try_from(block).ok().and_then(|block| self.open.get_mut(block)) {
            *open = false;
        }
        Ok(())
    }

    fn open_part(&mut self, block: u32) -> Result<&mut Part, GrammarError> {
        let choice = self.choice.index;
        let index = usize::try_from(block).unwrap_or(usize::MAX);
        let open = self.open.get(index).copied().unwrap_or(false);
        let part = self.choice.parts.get_mut(index).filter(|_| open);
        part.ok_or(GrammarError::BlockNotOpen { choice, block })
    }
}

impl Delta {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Arguments(_) => "arguments",
            Self::Input(_) => "input",
            Self::Thinking(_) => "thinking",
            Self::Refusal(_) => "a refusal",
            Self::Signature(_) => "a signature",
            Self::Citation(_) => "a citation",
        }
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Start(_) => "a start",
        Event::BlockStart { .. } => "a block's start",
        Event::BlockDelta { .. } => "a block's delta",
        Event::BlockStop { .. } => "a block's stop",
        Event::Logprobs { .. } => "log probabilities",
        Event::Stop { .. } => "a stop",
        Event::Usage(_) => "usage",
        Event::Ping => "a ping",
        Event::Error(_) => "an error",
        Event::End => "an end",
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
