//! `finishReason`: every word, and what it comes to.

use crate::canonical::{FailureClass, StopReason};

/// What a finish reason comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The answer ended.
    Stop(StopReason),
    /// There is no answer: what the model wrote can't be used.
    Fail(FailureClass, &'static str),
}

/// What `word` comes to. `STOP` after calls is mended by [`StopReason::with_calls`]: the dialect has no word for them.
pub(super) fn read(word: &str) -> Finish {
    let stop = Finish::Stop;
    match word {
        "STOP" => stop(StopReason::EndTurn),
        // The answer can be gone on with by a token that only this dialect has; for others it is cut off.
        "MAX_TOKENS" | "CONTINUATION" => stop(StopReason::MaxTokens),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR"
        | "ESCALATION" => stop(StopReason::ContentFilter),
        "MALFORMED_FUNCTION_CALL" => {
            Finish::Fail(FailureClass::Upstream, "the model wrote a tool call that can't be read")
        }
        "UNEXPECTED_TOOL_CALL" => {
            Finish::Fail(FailureClass::Upstream, "the model called a tool that it was not given")
        }
        "TOO_MANY_TOOL_CALLS" => {
            Finish::Fail(FailureClass::Upstream, "the model called the provider's tools too often")
        }
        "MALFORMED_RESPONSE" => {
            Finish::Fail(FailureClass::Upstream, "the model wrote an answer that can't be read")
        }
        "MISSING_THOUGHT_SIGNATURE" => Finish::Fail(
            FailureClass::BadRequest,
            "a call in the conversation came back without its thought signature: send it as it was received",
        ),
        "PUP_LIMITED_DISABLED" => {
            Finish::Fail(FailureClass::Forbidden, "the provider limited or disabled the account")
        }
        // OTHER, IMAGE_OTHER, NO_IMAGE, FINISH_REASON_UNSPECIFIED, and what is not known yet.
        other => stop(StopReason::Other(other.to_owned())),
    }
}

/// The word for a client.
pub(super) fn write(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::ToolUse | StopReason::Pause => "STOP",
        StopReason::MaxTokens | StopReason::ContextFull => "MAX_TOKENS",
        StopReason::ContentFilter | StopReason::Refusal => "SAFETY",
        StopReason::Other(word) => match word.as_str() {
            "IMAGE_OTHER" => "IMAGE_OTHER",
            "NO_IMAGE" => "NO_IMAGE",
            "FINISH_REASON_UNSPECIFIED" => "FINISH_REASON_UNSPECIFIED",
            _ => "OTHER",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_meaning() {
        use StopReason::{ContentFilter, EndTurn, MaxTokens, Other};
        for (word, reason) in [
            ("STOP", EndTurn),
            ("MAX_TOKENS", MaxTokens),
            ("CONTINUATION", MaxTokens),
            ("SAFETY", ContentFilter),
            ("RECITATION", ContentFilter),
            ("LANGUAGE", ContentFilter),
            ("BLOCKLIST", ContentFilter),
            ("PROHIBITED_CONTENT", ContentFilter),
            ("SPII", ContentFilter),
            ("IMAGE_SAFETY", ContentFilter),
            ("IMAGE_PROHIBITED_CONTENT", ContentFilter),
            ("IMAGE_RECITATION", ContentFilter),
            ("MODEL_ARMOR", ContentFilter),
            ("ESCALATION", ContentFilter),
            ("OTHER", Other("OTHER".into())),
            ("IMAGE_OTHER", Other("IMAGE_OTHER".into())),
            ("NO_IMAGE", Other("NO_IMAGE".into())),
            ("FINISH_REASON_UNSPECIFIED", Other("FINISH_REASON_UNSPECIFIED".into())),
            ("SOMETHING_NEW", Other("SOMETHING_NEW".into())),
        ] {
            assert_eq!(read(word), Finish::Stop(reason), "{word}");
        }
    }

    #[test]
    fn what_gives_no_answer_is_a_failure() {
        for word in [
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MALFORMED_RESPONSE",
            "MISSING_THOUGHT_SIGNATURE",
            "PUP_LIMITED_DISABLED",
        ] {
            assert!(matches!(read(word), Finish::Fail(..)), "{word}");
        }
    }

    #[test]
    fn words_come_back() {
        for word in ["STOP", "MAX_TOKENS", "SAFETY", "OTHER", "IMAGE_OTHER", "NO_IMAGE"] {
            let Finish::Stop(reason) = read(word) else { panic!("{word}") };
            assert_eq!(write(&reason), word);
        }
        assert_eq!(write(&StopReason::Other("pause".into())), "OTHER");
    }
}
