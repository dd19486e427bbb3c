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
