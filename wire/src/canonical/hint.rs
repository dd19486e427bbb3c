//! Foreign fields that are only hints: they change speed, caching or framing, and no answer. A dialect that has no
//! such hint leaves it out without refusing. What is in no list here is the caller's wish, and is refused by name; so
//! is what chooses a price or a place (`service_tier`, `speed`, `inference_geo`). Beside them, the parts of an answer
//! that are only a record of how it came about.

use super::{Dialect, ForeignField, ForeignPart};

/// OpenAI's, of both its endpoints.
const OPENAI: [&str; 6] = [
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    // Predicted output saves time where it is right.
    "prediction",
    "include_obfuscation",
    // Which phase an earlier message of the model's was of.
    "phase",
];

/// Anthropic's.
const ANTHROPIC: [&str; 3] = ["cache_control", "defer_loading", "eager_input_streaming"];

/// Gemini's. A signature is for Gemini alone.
const GEMINI: [&str; 3] = ["mediaResolution", "streamFunctionCallArguments", "thoughtSignature"];

/// Whether `field`, which `origin`'s reader kept, is only a hint.
pub(super) fn is_hint(origin: Dialect, field: &ForeignField) -> bool {
    let names: &[&str] = match origin {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => &OPENAI,
        Dialect::Anthropic => &ANTHROPIC,
        Dialect::Gemini => &GEMINI,
        // `performanceConfig` and `serviceTier` choose a price.
        Dialect::Converse => &[],
    };
    names.contains(&field.name.as_str())
}

/// Items of Responses that say what a hosted tool did. What a client has to act on (`computer_call`,
/// `local_shell_call`, `mcp_approval_request`) and what it asked for (`image_generation_call`) is no record.
const RESPONSES_RECORDS: [&str; 6] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "mcp_call",
    "mcp_list_tools",
    "tool_search_call",
];

/// Gemini's parts of the same kind.
const GEMINI_RECORDS: [&str; 4] = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];

/// Converse's: the call of a system tool, and what it came to.
const CONVERSE_RECORDS: [&str; 2] = ["toolUse", "toolResult"];

/// Whether a part of an answer only records what a hosted tool did, within the provider.
pub(super) fn is_record(part: &ForeignPart) -> bool {
    let ForeignPart { dialect, kind, value: _ } = part;
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => false,
        Dialect::OpenAiResponses => RESPONSES_RECORDS.contains(&kind.as_str()),
        // `web_search_tool_result`, `code_execution_tool_result` and their kind.
        Dialect::Anthropic => {
            kind == "server_tool_use" || kind == "mcp_tool_use" || kind.ends_with("_tool_result")
        }
        Dialect::Gemini => GEMINI_RECORDS.contains(&kind.as_str()),
        Dialect::Converse => CONVERSE_RECORDS.contains(&kind.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_its_own_dialects_and_where_data_may_go_is_none() {
        let hint = |origin, name: &str| {
            is_hint(
                origin,
                &ForeignField { parent: "tools[0]".into(), name: name.into(), value: true.into() },
            )
        };
        assert!(hint(Dialect::Anthropic, "defer_loading"));
        assert!(hint(Dialect::OpenAiResponses, "prompt_cache_key"));
        assert!(hint(Dialect::Gemini, "mediaResolution"));
        assert!(!hint(Dialect::Gemini, "defer_loading"));
        assert!(!hint(Dialect::Anthropic, "inference_geo"));
        assert!(!hint(Dialect::OpenAiChat, "service_tier"));
        assert!(!hint(Dialect::Gemini, "safetySettings"));
    }
}
