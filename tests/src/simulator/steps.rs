//! A stream as a list of steps.

use bytes::Bytes;

use super::Behaviour;
use super::answer::{COMPLETION_TOKENS, PROMPT_TOKENS, events};
use super::server::Asked;

/// Pieces of text in a burst.
const BURST: usize = 100;
/// Pieces of text before a stream breaks.
const BEFORE_BREAK: usize = 2;

/// One step of a stream.
pub(super) enum Step {
    Send(Bytes),
    /// Wait for the test.
    Gate,
    Pause,
    /// What was sent so far means these tokens.
    Count {
        input: u64,
        output: u64,
    },
    /// Break the connection.
    Break,
}

/// What a stream of `asked` does.
pub(super) fn steps(asked: &Asked) -> Vec<Step> {
    let pieces = if asked.behaviour == Behaviour::Burst { BURST } else { COMPLETION_TOKENS as usize };
    let include_usage = asked.include_usage && asked.behaviour != Behaviour::NoUsage;
    let events = events(&asked.model, asked.chat, pieces, include_usage);
    let reported =
        Step::Count { input: if include_usage { PROMPT_TOKENS } else { 0 }, output: pieces as u64 };
    let send = |event: String| Step::Send(Bytes::from(event));
    let opening = usize::from(asked.chat);
    let begun = || events.iter().take(opening + BEFORE_BREAK).cloned().map(send);
    let broken = Step::Count { input: 0, output: BEFORE_BREAK as u64 };
    match asked.behaviour {
        Behaviour::Gated | Behaviour::Told => {
            events.into_iter().flat_map(|event| [Step::Gate, send(event)]).chain([reported]).collect()
        }
        Behaviour::Paced => {
            events.into_iter().flat_map(|event| [Step::Pause, send(event)]).chain([reported]).collect()
        }
        Behaviour::Drip => {
            let bytes = events.concat().into_bytes();
            bytes.into_iter().map(|byte| Step::Send(Bytes::from(vec![byte]))).chain([reported]).collect()
        }
        Behaviour::Cut => begun().chain([Step::Break, broken]).collect(),
        Behaviour::Truncated => begun().chain([broken]).collect(),
        Behaviour::ErrorInStream => {
            let error =
                "data: {\"error\":{\"message\":\"out of luck\",\"type\":\"server_error\"}}\n\n".to_owned();
            begun().chain([send(error), broken]).collect()
        }
        Behaviour::ErrorFirst => vec![send("data: {\"error\":{\"message\":\"out of luck\"}}\n\n".to_owned())],
        Behaviour::InvalidJson => begun().chain([send("data: {\"half\":\n\n".to_owned()), broken]).collect(),
        _ => events.into_iter().map(send).chain([reported]).collect(),
    }
}
