//! What the caller knows about the upstream's model, since this crate keeps no table of models.

/// How to ask this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelProfile {
    /// `max_tokens` for a request that says none, since Anthropic demands it; `None`: such a request is refused.
    pub default_max_tokens: Option<u32>,
    /// How it is asked to think.
    pub thinking: ThinkingForm,
    /// It takes `temperature`, `top_p` and `top_k`. Not so under API version `2026-10-21`, and newer models refuse
    /// them under the older one too.
    pub sampling: bool,
    /// It takes instructions in the midst of a conversation (`role: "system"`, Claude Opus 4.8 and later).
    pub system_turns: bool,
}

/// The two ways to ask for thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingForm {
    /// `{"type":"adaptive"}` and `output_config.effort`: Claude 4.6 and later.
    Adaptive,
    /// `{"type":"enabled","budget_tokens":…}`: up to Claude 4.5.
    Budget,
}

impl ModelProfile {
    /// What a model's name says of it: `claude-opus-4-6`, `claude-3-7-sonnet-latest`. A name that says no version is taken
    /// for an older model's, since imitators of this dialect know the older forms.
    pub fn of(model: &str) -> Self {
        let version = version(model);
        let thinking = if version >= (4, 6) { ThinkingForm::Adaptive } else { ThinkingForm::Budget };
        let system_turns = version >= (5, 0) || (model.contains("opus") && version >= (4, 8));
        Self { default_max_tokens: Some(DEFAULT_MAX_TOKENS), thinking, sampling: true, system_turns }
    }
}

/// What is asked for where a client of another dialect says nothing: every model can write as much.
const DEFAULT_MAX_TOKENS: u32 = 4_096;

/// Whether a model is one of Anthropic's, by its name at whichever provider.
pub fn is_claude(model: &str) -> bool {
    model.contains("claude")
}

/// Major and minor version in a name; dates have more digits.
fn version(model: &str) -> (u32, u32) {
    let short =
        |part: &&str| part.len() <= 2 && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let name = model.rsplit('/').next().unwrap_or_default();
    let mut numbers = name.split(['-', '.', '@']).skip_while(|part| !short(part)).take_while(short);
    let mut next = || numbers.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_says_how_it_is_asked_to_think() {
        for (model, expected) in [
            ("claude-3-5-sonnet-20241022", (3, 5)),
            ("claude-3-7-sonnet-latest", (3, 7)),
            ("claude-opus-4-20250514", (4, 0)),
            ("claude-sonnet-4-5-20250929", (4, 5)),
            ("claude-opus-4-6", (4, 6)),
            ("claude-opus-4.8", (4, 8)),
            ("claude-sonnet-5", (5, 0)),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (4, 5)),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", (3, 5)),
            ("claude-opus-4-6@20260205", (4, 6)),
            ("kimi", (0, 0)),
        ] {
            assert_eq!(version(model), expected, "{model}");
            let adaptive = ModelProfile::of(model).thinking == ThinkingForm::Adaptive;
            assert_eq!(adaptive, expected >= (4, 6), "{model}");
        }
        assert!(ModelProfile::of("claude-opus-4-8").system_turns);
        assert!(!ModelProfile::of("claude-sonnet-4-8").system_turns);
    }
}
