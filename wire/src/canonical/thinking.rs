//! How much a model should think, and whether the caller sees it.

use super::Dialect;

/// What the caller asked of the model's thinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThinkingRequest {
    /// How much.
    pub amount: Option<Amount>,
    /// Whether the answer shows it.
    pub shown: Option<ThinkingShown>,
}

impl ThinkingRequest {
    /// Whether a caller that speaks `origin` expects to see it: as it says, or as its dialect does where it says nothing.
    /// The models of Anthropic's that take a budget show their thinking.
    pub fn shown_to(&self, origin: Dialect) -> Option<ThinkingShown> {
        match (self.shown, self.amount, origin) {
            (None, Some(Amount::Budget(_)), Dialect::Anthropic) => Some(ThinkingShown::Shown),
            (shown, _, _) => shown,
        }
    }
}

/// How much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Not at all.
    Off,
    /// The model decides (Anthropic's `adaptive`, Gemini's budget of -1).
    Dynamic,
    /// A word for it.
    Effort(Effort),
    /// At most so many tokens.
    Budget(u32),
}

/// Whether and how thinking is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingShown {
    /// It is left out.
    Hidden,
    /// It is shown, as the provider sees fit.
    Shown,
    /// In short (Responses' summaries).
    Concise,
    /// At length.
    Detailed,
}

/// A word for how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much (`xhigh`).
    ExtraHigh,
    /// As much as there is (`max`); it has no bound.
    Max,
}

impl Effort {
    /// Every word, least first.
    pub const ALL: [Self; 6] =
        [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::ExtraHigh, Self::Max];

    /// A budget for dialects that count tokens. No provider publishes such a table; this one doubles or more at
    /// each step and starts at Anthropic's least.
    pub fn budget_tokens(self) -> u32 {
        match self {
            Self::Minimal => 1_024,
            Self::Low => 4_096,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::ExtraHigh => 32_768,
            Self::Max => 65_536,
        }
    }

    /// The least word whose budget holds `tokens`. `Max` costs as much as the model likes, so it stands only for what
    /// is at least its budget.
    pub fn from_budget(tokens: u32) -> Self {
        if tokens >= Self::Max.budget_tokens() {
            return Self::Max;
        }
        Self::ALL
            .into_iter()
            .find(|effort| tokens <= effort.budget_tokens())
            .map_or(Self::ExtraHigh, |effort| effort.min(Self::ExtraHigh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_a_budget_in_anthropics_dialect_sees_what_is_thought() {
        let asked = |shown, amount| ThinkingRequest { amount: Some(amount), shown };
        let budget = Amount::Budget(2_048);
        assert_eq!(asked(None, budget).shown_to(Dialect::Anthropic), Some(ThinkingShown::Shown));
        let hidden = Some(ThinkingShown::Hidden);
        assert_eq!(asked(hidden, budget).shown_to(Dialect::Anthropic), hidden);
        assert_eq!(asked(None, budget).shown_to(Dialect::Gemini), None);
        assert_eq!(asked(None, Amount::Dynamic).shown_to(Dialect::Anthropic), None);
    }

    #[test]
    fn a_word_survives_the_way_through_tokens() {
        for effort in Effort::ALL {
            assert_eq!(Effort::from_budget(effort.budget_tokens()), effort);
        }
        assert_eq!(Effort::from_budget(u32::MAX), Effort::Max);
        assert_eq!(Effort::from_budget(40_000), Effort::ExtraHigh, "not more than was asked");
        assert_eq!(Effort::from_budget(1_025), Effort::Low);
    }
}
