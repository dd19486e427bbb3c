//! `stop_reason`.

use crate::canonical::{Dialect, Stop, StopReason};

/// Reads the reason. `calls_tools`: some servers that imitate Anthropic end calls with `end_turn`.
pub(super) fn to_canonical(reason: &str, sequence: Option<String>, calls_tools: bool) -> Stop {
    let reason = match reason {
        "end_turn" => StopReason::EndTurn,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolUse,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextFull,
        other => StopReason::Other(other.to_owned()),
    };
    Stop { reason: reason.with_calls(calls_tools), sequence, foreign: Vec::new() }
}

/// Writes why an answer of `origin` ended. `refuses`: it holds a refusal, which OpenAI ends with a plain stop.
pub(super) fn from_canonical(
    stop: Option<&Stop>,
    origin: Dialect,
    calls_tools: bool,
    refuses: bool,
) -> (String, Option<String>) {
    let (reason, sequence) = match stop {
        None => (StopReason::EndTurn, None),
        Some(Stop { reason, sequence, foreign: _ }) => (reason.clone(), sequence.clone()),
    };
    let word = match reason.with_calls(calls_tools) {
        StopReason::EndTurn if refuses => "refusal",
        StopReason::EndTurn => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::ToolUse => "tool_use",
        // Anthropic's filters end an answer so too.
        StopReason::ContentFilter | StopReason::Refusal => "refusal",
        StopReason::Pause => "pause_turn",
        StopReason::Other(word) if origin == Dialect::Anthropic => return (word, sequence),
        StopReason::Other(_) if calls_tools => "tool_use",
        StopReason::Other(_) => "end_turn",
    };
    (word.to_owned(), sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back() {
        for word in [
            "end_turn",
            "max_tokens",
            "stop_sequence",
            "tool_use",
            "pause_turn",
            "refusal",
            "model_context_window_exceeded",
            "a_new_word",
        ] {
            let stop = to_canonical(word, Some("x".into()), false);
            let written = from_canonical(Some(&stop), Dialect::Anthropic, false, false);
            assert_eq!(written, (word.to_owned(), Some("x".into())));
        }
    }

    #[test]
    fn words_of_others_become_the_nearest() {
        let word = |reason, calls, refuses| {
            from_canonical(Some(&Stop::new(reason)), Dialect::OpenAiChat, calls, refuses).0
        };
        assert_eq!(word(StopReason::EndTurn, false, true), "refusal");
        assert_eq!(word(StopReason::EndTurn, true, false), "tool_use");
        assert_eq!(word(StopReason::ContentFilter, false, false), "refusal");
        assert_eq!(word(StopReason::Other("eos".into()), false, false), "end_turn");
        assert_eq!(from_canonical(None, Dialect::Gemini, true, false).0, "tool_use");
    }

    /// Some servers that imitate Anthropic's end every answer with `end_turn`.
    #[test]
    fn calls_are_not_an_end_of_turn() {
        assert_eq!(to_canonical("end_turn", None, true).reason, StopReason::ToolUse);
    }
}
