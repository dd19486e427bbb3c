//! `stopReason`.

use crate::canonical::{Dialect, Failure, FailureClass, Stop, StopReason};

/// Reads why an answer ended.
///
/// # Errors
/// Where there is no answer: what the model wrote can't be used.
pub(super) fn to_canonical(word: &str, calls_tools: bool) -> Result<Stop, Failure> {
    let reason = match word {
        "end_turn" => StopReason::EndTurn,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "model_context_window_exceeded" => StopReason::ContextFull,
        "malformed_tool_use" => return Err(broken(word, "the model wrote a tool call that can't be read")),
        "malformed_model_output" => return Err(broken(word, "the model wrote an answer that can't be read")),
        other => StopReason::Other(other.to_owned()),
    };
    Ok(Stop::new(reason.with_calls(calls_tools)))
}

fn broken(word: &str, what: &str) -> Failure {
    let mut failure = Failure::new(FailureClass::Upstream, what);
    failure.code = Some(word.to_owned());
    failure.origin = Some(Dialect::Converse);
    failure
}

/// Writes why an answer of `origin` ended.
pub(super) fn from_canonical(stop: Option<&Stop>, origin: Dialect, calls_tools: bool) -> String {
    let reason = stop.map_or(StopReason::EndTurn, |stop| stop.reason.clone());
    let word = match reason.with_calls(calls_tools) {
        StopReason::EndTurn => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::ToolUse => "tool_use",
        StopReason::ContentFilter | StopReason::Refusal => "content_filtered",
        StopReason::Other(word) if origin == Dialect::Converse => return word,
        StopReason::Other(_) if calls_tools => "tool_use",
        // It has no word for a pause: its own tools do not take one.
        StopReason::Pause | StopReason::Other(_) => "end_turn",
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_but_those_of_broken_answers() {
        for word in [
            "end_turn",
            "tool_use",
            "max_tokens",
            "stop_sequence",
            "content_filtered",
            "model_context_window_exceeded",
            "something_new",
        ] {
            let stop = to_canonical(word, false).expect("an end");
            assert_eq!(from_canonical(Some(&stop), Dialect::Converse, false), word);
        }
        let guarded = to_canonical("guardrail_intervened", false).expect("an end");
        assert_eq!(guarded.reason, StopReason::ContentFilter);
        for word in ["malformed_tool_use", "malformed_model_output"] {
            let failure = to_canonical(word, true).expect_err("no answer");
            assert_eq!((failure.class, failure.code.as_deref()), (FailureClass::Upstream, Some(word)));
        }
        // Calls end with their own word, whatever the upstream says.
        let stop = to_canonical("end_turn", true).expect("an end");
        assert_eq!(stop.reason, StopReason::ToolUse);
        assert_eq!(from_canonical(None, Dialect::Gemini, true), "tool_use");
    }
}
