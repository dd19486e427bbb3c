//! Why a choice ended.

use super::super::FinishReason;
use crate::canonical::{Dialect, StopReason};

/// The canonical reason.
pub(super) fn to_canonical(reason: FinishReason) -> StopReason {
    match reason {
        FinishReason::Stop => StopReason::EndTurn,
        FinishReason::Length => StopReason::MaxTokens,
        FinishReason::ToolCalls => StopReason::ToolUse,
        FinishReason::ContentFilter => StopReason::ContentFilter,
        FinishReason::FunctionCall => StopReason::Other("function_call".to_owned()),
        FinishReason::Other(word) => StopReason::Other(word),
    }
}

/// OpenAI's word. It has none for a stop string, a pause, or other dialects' own reasons: they are `stop`.
pub(super) fn from_canonical(reason: &StopReason, origin: Dialect) -> FinishReason {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::Pause => FinishReason::Stop,
        StopReason::MaxTokens | StopReason::ContextFull => FinishReason::Length,
        StopReason::ToolUse => FinishReason::ToolCalls,
        StopReason::ContentFilter | StopReason::Refusal => FinishReason::ContentFilter,
        StopReason::Other(word) => match (origin, word.as_str()) {
            (Dialect::OpenAiChat | Dialect::OpenAiCompletions, "function_call") => FinishReason::FunctionCall,
            (Dialect::OpenAiChat | Dialect::OpenAiCompletions, word) => FinishReason::Other(word.to_owned()),
            (Dialect::OpenAiResponses | Dialect::Anthropic | Dialect::Gemini | Dialect::Converse, _) => {
                FinishReason::Stop
            }
        },
    }
}
