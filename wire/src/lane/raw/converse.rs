//! Converse's answers, and tokens counted by Bedrock. None of them names the model.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Seen, unreadable};
use crate::bedrock::stream::{Ended, see};
use crate::bedrock::usage::{TokenUsage, to_canonical};
use crate::canonical::{Dialect, Failure};
use crate::eventstream::Message;
use crate::lane::Operation;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
}

/// An event; `whole` says whether the answer is.
pub(super) fn message(message: &Message, whole: &mut bool) -> Result<Seen, Failure> {
    let (meaningful, speaks, usage, ended) = see(message)?;
    *whole |= ended == Ended::Answer;
    let ends = ended == Ended::Stream && *whole;
    Ok(Seen { meaningful, speaks, usage, ends, ..Seen::default() })
}

pub(super) fn whole(operation: Operation, text: &str) -> Result<Seen, Failure> {
    let answer: Answer<'_> =
        serde_json::from_str(text).map_err(|error| unreadable(Dialect::Converse, &error.to_string()))?;
    let Answer { output, usage, input_tokens } = answer;
    let (there, name) = match operation {
        Operation::CountConverseTokens => (input_tokens.is_some(), "inputTokens"),
        _ => (output.is_some(), "output"),
    };
    if !there {
        return Err(unreadable(Dialect::Converse, &format!("it has no `{name}`")));
    }
    // Figures that make no sense do not spoil the answer.
    let usage = usage.and_then(|usage| serde_json::from_str::<TokenUsage>(usage.get()).ok());
    Ok(Seen { usage: usage.as_ref().map(to_canonical), ..Seen::default() })
}
