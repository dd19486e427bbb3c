//! What chat completions and Responses say in the same words.

use serde_json::Value;

use crate::canonical::{Amount, Dialect, Effort, ImageDetail, ThinkingRequest, Unreadable};

/// Fields that both endpoints have by one name and one meaning, and no other dialect has.
const COMMON_FIELDS: [&str; 4] =
    ["service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"];

/// Whether a foreign field of `origin` goes into `target` as it came.
pub(super) fn takes_foreign(target: Dialect, origin: Dialect, name: &str) -> bool {
    let openai = |dialect| matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    origin == target || (openai(origin) && openai(target) && COMMON_FIELDS.contains(&name))
}

/// Reads a word for how hard to think.
pub(super) fn read_effort(word: &str, field: &str) -> Result<Amount, Unreadable> {
    Ok(match word {
        "none" => Amount::Off,
        "minimal" => Amount::Effort(Effort::Minimal),
        "low" => Amount::Effort(Effort::Low),
        "medium" => Amount::Effort(Effort::Medium),
        "high" => Amount::Effort(Effort::High),
        "xhigh" => Amount::Effort(Effort::ExtraHigh),
        "max" => Amount::Effort(Effort::Max),
        other => {
            let problem = format!("must be none, minimal, low, medium, high or xhigh, got `{other}`");
            return Err(Unreadable::new(field, problem));
        }
    })
}

/// The word for how hard to think; `None` where the model decides.
pub(super) fn effort_word(thinking: &ThinkingRequest) -> Option<&'static str> {
    let effort = match thinking.amount? {
        Amount::Off => return Some("none"),
        Amount::Dynamic => return None,
        Amount::Effort(effort) => effort,
        Amount::Budget(tokens) => Effort::from_budget(tokens),
    };
    Some(match effort {
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        // OpenAI has no word for more.
        Effort::ExtraHigh | Effort::Max => "xhigh",
    })
}

/// Reads an image's `detail`; a word that only OpenAI has is `None`.
pub(super) fn read_detail(word: &str) -> Option<ImageDetail> {
    match word {
        "auto" => Some(ImageDetail::Auto),
        "low" => Some(ImageDetail::Low),
        "high" => Some(ImageDetail::High),
        _ => None,
    }
}

/// An image's `detail`.
pub(super) fn detail_word(detail: ImageDetail) -> &'static str {
    match detail {
        ImageDetail::Auto => "auto",
        ImageDetail::Low => "low",
        ImageDetail::High => "high",
    }
}

/// `modalities` asks for what happens anyway.
pub(super) fn is_text_only(value: &Value) -> bool {
    value.as_array().is_some_and(|all| all.iter().all(|one| one == "text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_thinking_comes_back() {
        for word in ["none", "minimal", "low", "medium", "high", "xhigh"] {
            let amount = Some(read_effort(word, "reasoning_effort").expect(word));
            assert_eq!(effort_word(&ThinkingRequest { amount, shown: None }), Some(word));
        }
        assert!(read_effort("harder", "x").is_err_and(|error| error.problem.contains("harder")));
        let budget = ThinkingRequest { amount: Some(Amount::Budget(10_000)), shown: None };
        assert_eq!(effort_word(&budget), Some("high"));
    }

    #[test]
    fn common_fields_pass_between_openais_endpoints_only() {
        let takes = |target, origin| takes_foreign(target, origin, "service_tier");
        assert!(takes(Dialect::OpenAiChat, Dialect::OpenAiResponses));
        assert!(!takes(Dialect::OpenAiChat, Dialect::Anthropic));
        assert!(!takes_foreign(Dialect::OpenAiResponses, Dialect::OpenAiChat, "logit_bias"));
        assert!(takes_foreign(Dialect::OpenAiChat, Dialect::OpenAiChat, "logit_bias"));
    }
}
