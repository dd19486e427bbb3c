//! What a server says of an answer beside what is known here (`content_filter_results`, `native_finish_reason`,
//! `token_ids`): kept until the answer's end, given back to a client of this dialect, and reported to others. No paid
//! answer is refused for it.
//!
//! A path names it as a whole answer has it, whether it was streamed or not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::super::Extra;
use crate::canonical::{Dialect, ForeignField, Losses, Stop, is_nothing};

/// The most fields that are kept of one streamed answer: several times what any known server says, since a stream may
/// name a new one in every chunk.
const MOST: usize = 64;

/// The longest text that is put together of pieces, in bytes: an answer's worth.
const LONGEST: usize = 8 << 20;

/// Adds what a chunk says. Where it was said before, the newer one counts; only texts of a message come in pieces.
pub(super) fn keep(parent: &str, extra: Extra, remarks: &mut Vec<ForeignField>) {
    for (name, value) in extra.into_iter().filter(|(_, value)| !is_nothing(value)) {
        let full = remarks.len() >= MOST;
        let known = remarks.iter_mut().find(|field| field.parent == parent && field.name == name);
        match known {
            Some(ForeignField { value: Value::String(text), .. })
                if value.is_string() && parent.ends_with(MESSAGE) =>
            {
                let more = value.as_str().unwrap_or_default();
                if text.len() + more.len() <= LONGEST {
                    text.push_str(more);
                }
            }
            Some(known) => known.value = value,
            None if !full => {
                remarks.push(ForeignField { parent: parent.to_owned(), name, value });
            }
            None => {}
        }
    }
}

const MESSAGE: &str = ".message";

/// The path of a choice.
pub(super) fn of_choice(index: u32) -> String {
    format!("choices[{index}]")
}

/// The path of its message.
pub(super) fn of_message(index: u32) -> String {
    format!("choices[{index}]{MESSAGE}")
}

/// The path of one of its calls.
pub(super) fn of_call(index: u32, call: usize) -> String {
    format!("choices[{index}]{MESSAGE}.tool_calls[{call}]")
}

/// What goes back to a client, by the place where it belongs.
#[derive(Debug, Default)]
pub(super) struct GivenBack {
    pub answer: Extra,
    pub choice: Extra,
    pub message: Extra,
    /// By the call's position.
    pub calls: BTreeMap<usize, Extra>,
}

impl GivenBack {
    /// Of the end of choice `index`; what has no place there is reported.
    pub(super) fn of(stop: &Stop, index: u32, losses: &mut Losses) -> Self {
        let mut back = Self::default();
        if losses.origin() != Dialect::OpenAiChat {
            losses.waive_all(&stop.foreign);
            return back;
        }
        let (choice, message) = (of_choice(index), of_message(index));
        for field in &stop.foreign {
            let ForeignField { parent, name, value } = field;
            let call = || {
                parent.strip_prefix(&message)?.strip_prefix(".tool_calls[")?.strip_suffix(']')?.parse().ok()
            };
            let place = match parent.as_str() {
                "" => Some(&mut back.answer),
                parent if parent == choice => Some(&mut back.choice),
                parent if parent == message => Some(&mut back.message),
                _ => call().map(|call: usize| back.calls.entry(call).or_default()),
            };
            match place {
                Some(place) => {
                    place.insert(name.clone(), value.clone());
                }
                None => losses.waive(field.path()),
            }
        }
        back
    }

    /// The fields of the last delta.
    pub(super) fn into_delta(self) -> (Extra, Extra, Extra) {
        let Self { answer, choice, mut message, calls } = self;
        if !calls.is_empty() {
            let call = |(index, mut fields): (usize, Extra)| {
                fields.insert("index".into(), json!(index));
                Value::Object(fields)
            };
            message.insert("tool_calls".into(), calls.into_iter().map(call).collect());
        }
        (answer, choice, message)
    }
}
