//! One block at a time, for dialects that allow no more (Anthropic, Gemini, Responses' clients).

use std::collections::{BTreeMap, VecDeque};

use super::{Delta, Event};

/// Reorders events so that a choice has one open block at a time. The first open block flows; what belongs to
/// later ones waits until it is stopped. Only interleaved tool calls ever wait, and `Stop` cannot come before
/// they are whole, so no more is kept than one answer's arguments.
#[derive(Clone, Debug, Default)]
pub struct Sequencer {
    choices: BTreeMap<u32, VecDeque<Waiting>>,
}

/// A block that is not written out yet, or is being written out (the first in the queue).
#[derive(Clone, Debug)]
struct Waiting {
    block: u32,
    /// What has not been written out.
    events: Vec<Event>,
    stopped: bool,
}

impl Sequencer {
    /// Nothing open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event and appends what may now be written to `out`.
    pub fn push(&mut self, event: Event, out: &mut Vec<Event>) {
        match &event {
            Event::BlockStart { choice, block, opening: _ } => {
                let waiting = Waiting { block: *block, events: Vec::new(), stopped: false };
                self.choices.entry(*choice).or_default().push_back(waiting);
                self.keep(*choice, *block, event, out);
            }
            Event::BlockDelta { choice, block, delta: _ } => self.keep(*choice, *block, event, out),
            Event::BlockStop { choice, block } => self.keep(*choice, *block, event, out),
            // They are of a token that may wait itself.
            Event::Logprobs { choice, logprobs: _ } => match self.waiting(*choice) {
                Some(last) => last.push(event),
                None => out.push(event),
            },
            Event::Start(_)
            | Event::Stop { .. }
            | Event::Usage(_)
            | Event::Ping
            | Event::Error(_)
            | Event::End => out.push(event),
        }
    }

    /// The last block that waits behind another.
    fn waiting(&mut self, choice: u32) -> Option<&mut Waiting> {
        self.choices.get_mut(&choice).filter(|queue| queue.len() > 1)?.back_mut()
    }

    fn keep(&mut self, choice: u32, block: u32, event: Event, out: &mut Vec<Event>) {
        let Some(queue) = self.choices.get_mut(&choice) else {
            // Out of grammar: the writer behind says so.
            out.push(event);
            return;
        };
        let Some(waiting) = queue.iter_mut().find(|waiting| waiting.block == block) else {
            out.push(event);
            return;
        };
        waiting.stopped |= matches!(event, Event::BlockStop { .. });
        waiting.push(event);
        while let Some(first) = queue.front_mut() {
            out.append(&mut first.events);
            if !first.stopped {
                break;
            }
            queue.pop_front();
        }
    }
}

impl Waiting {
    /// Keeps `event`; fragments of a call that wait are joined, so that a long call is one event.
    fn push(&mut self, event: Event) {
        if let (Event::BlockDelta { delta, .. }, Some(Event::BlockDelta { delta: last, .. })) =
            (&event, self.events.last_mut())
            && let (Delta::Arguments(more), Delta::Arguments(kept)) | (Delta::Input(more), Delta::Input(kept)) =
                (delta, last)
        {
            kept.push_str(more);
            return;
        }
        self.events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Assembler, Dialect, Opening, Start, Stop, StopReason};
    use super::*;

    fn call(block: u32) -> Event {
        let opening = Opening::ToolCall { id: format!("c{block}"), name: "f".into(), signature: None };
        Event::BlockStart { choice: 0, block, opening }
    }

    fn arguments(block: u32, text: &str) -> Event {
        Event::BlockDelta { choice: 0, block, delta: Delta::Arguments(text.into()) }
    }

    fn close(block: u32) -> Event {
        Event::BlockStop { choice: 0, block }
    }

    fn sequenced(events: &[Event]) -> Vec<Event> {
        let (mut sequencer, mut out) = (Sequencer::new(), Vec::new());
        for event in events {
            sequencer.push(event.clone(), &mut out);
        }
        out
    }

    #[test]
    fn the_first_block_flows_and_later_ones_wait() {
        let given =
            [call(0), call(1), arguments(1, "{"), arguments(0, "{"), arguments(1, "}"), arguments(0, "}")];
        assert_eq!(sequenced(&given), [call(0), arguments(0, "{"), arguments(0, "}")]);
        let ended = [given.as_slice(), &[close(1), close(0)]].concat();
        let expected =
            [call(0), arguments(0, "{"), arguments(0, "}"), close(0), call(1), arguments(1, "{}"), close(1)];
        assert_eq!(sequenced(&ended), expected);
    }

    #[test]
    fn log_probabilities_wait_with_their_block() {
        let logprobs = || Event::Logprobs { choice: 0, logprobs: super::super::Logprobs::default() };
        let given = [call(0), logprobs(), call(1), logprobs(), close(1), close(0)];
        let expected = [call(0), logprobs(), close(0), call(1), logprobs(), close(1)];
        assert_eq!(sequenced(&given), expected);
    }

    /// Which of four calls comes next; the n-th time it starts, grows, or (the last time) stops.
    fn interleaved(order: &[usize]) -> Vec<Event> {
        let mut events = vec![Event::Start(Start {
            origin: Dialect::OpenAiChat,
            id: String::new(),
            created: None,
            model: "m".into(),
            foreign: Vec::new(),
        })];
        let mut blocks: Vec<usize> = Vec::new();
        for which in order {
            let block = blocks.iter().position(|known| known == which).unwrap_or_else(|| {
                events.push(call(blocks.len() as u32));
                blocks.push(*which);
                blocks.len() - 1
            });
            events.push(arguments(block as u32, &format!("{which}")));
        }
        events.extend((0..blocks.len()).rev().map(|block| close(block as u32)));
        events.push(Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolUse) });
        events.push(Event::End);
        events
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_one_block_is_open(order in proptest::collection::vec(0usize..4, 0..40)) {
            let given = interleaved(&order);
            let out = sequenced(&given);
            let mut open = 0;
            for event in &out {
                match event {
                    Event::BlockStart { .. } => open += 1,
                    Event::BlockStop { .. } => open -= 1,
                    _ => {}
                }
                prop_assert!(open <= 1);
            }
            let assembled = |events: &[Event]| {
                let mut assembler = Assembler::new();
                events.iter().for_each(|event| assembler.push(event).expect("within the grammar"));
                assembler.finish().expect("whole")
            };
            prop_assert_eq!(assembled(&out), assembled(&given));
        }
    }
}
