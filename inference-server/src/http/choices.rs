//! The sequences behind one answer, followed together: merged for a stream, or collected whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{SelectAll, Stream, StreamExt as _};

use super::record::Record;
use crate::engine::{Event, EventStream, Finished, GenerateError, TokenEvent};
use crate::sampling::TokenLogprobs;

/// An event and the choice that it belongs to, from 0.
pub(super) type ChoiceEvent = (usize, Event);

/// All choices' events as they come.
pub(super) struct Choices {
    merged: SelectAll<Indexed>,
}

struct Indexed {
    choice: usize,
    events: EventStream,
}

impl Stream for Indexed {
    type Item = ChoiceEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ChoiceEvent>> {
        let choice = self.choice;
        self.events.poll_next(context).map(|event| event.map(|event| (choice, event)))
    }
}

impl Choices {
    pub(super) fn new(streams: Vec<EventStream>) -> Self {
        let indexed = streams.into_iter().enumerate().map(|(choice, events)| Indexed { choice, events });
        Self { merged: indexed.collect() }
    }

    /// The next event; `None` when every sequence has ended.
    pub(super) async fn next(&mut self) -> Option<ChoiceEvent> {
        self.merged.next().await
    }
}

/// A complete choice.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) text: String,
    pub(super) prompt_logprobs: Option<Vec<Option<TokenLogprobs>>>,
    /// The tokens with their log probabilities, where asked for.
    pub(super) tokens: Vec<(u32, TokenLogprobs)>,
    pub(super) finished: Option<Finished>,
}

/// Follows `count` choices to their ends.
pub(super) async fn collect(
    mut choices: Choices,
    count: usize,
    record: &mut Record,
) -> Result<Vec<(Collected, Finished)>, GenerateError> {
    let mut collected: Vec<Collected> = (0..count).map(|_| Collected::default()).collect();
    while let Some((choice, event)) = choices.next().await {
        let Some(into) = collected.get_mut(choice) else { continue };
        match event {
            Event::Prompt(rows) => into.prompt_logprobs = Some(rows),
            Event::Token(TokenEvent { id, text, logprobs }) => {
                record.token(choice);
                into.text.push_str(&text);
                into.tokens.extend(logprobs.map(|logprobs| (id, logprobs)));
            }
            Event::Finished(finished) => {
                record.finished(choice, &finished);
                into.text.push_str(&finished.tail);
                into.finished = Some(finished);
            }
            Event::Failed(error) => return Err(error),
        }
    }
    collected
        .into_iter()
        .map(|mut choice| {
            choice.finished.take().map(|finished| (choice, finished)).ok_or(GenerateError::Stopped)
        })
        .collect()
}
