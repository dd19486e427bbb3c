//! `thinkingConfig`: Gemini 2 counts tokens, Gemini 3 has levels.

use super::super::generation_config::ThinkingConfig;
use super::super::service::Generation;
use crate::canonical::{
    Amount, Dialect, Effort, Extra, Field, Inexpressible, Losses, ThinkingRequest, ThinkingShown, Unreadable,
};

/// The largest budget that every model of Gemini 2.5 takes; a word for much must not be refused as too much.
const MAX_EFFORT_BUDGET: u32 = 24_576;

const PATH: &str = "generationConfig.thinkingConfig";

/// Reads it; what it does not know goes to `extra`.
pub(super) fn read(config: ThinkingConfig) -> Result<(ThinkingRequest, Extra), Unreadable> {
    let ThinkingConfig { include_thoughts, thinking_budget, thinking_level, extra } = config;
    let level = thinking_level.as_deref().map(read_level).transpose()?.flatten();
    let amount = match (thinking_budget, level) {
        (Some(_), Some(_)) => return Err(Unreadable::new(PATH, "give a budget or a level, not both")),
        (None, level) => level.map(Amount::Effort),
        (Some(0), None) => Some(Amount::Off),
        (Some(-1), None) => Some(Amount::Dynamic),
        (Some(budget), None) => Some(Amount::Budget(u32::try_from(budget).map_err(|_| {
            Unreadable::new(
                format!("{PATH}.thinkingBudget"),
                "give tokens, 0 for none, or -1 to let the model decide",
            )
        })?)),
    };
    let shown =
        include_thoughts.map(|shown| if shown { ThinkingShown::Shown } else { ThinkingShown::Hidden });
    Ok((ThinkingRequest { amount, shown }, extra))
}

fn read_level(level: &str) -> Result<Option<Effort>, Unreadable> {
    Ok(Some(match level.to_ascii_uppercase().as_str() {
        "MINIMAL" => Effort::Minimal,
        "LOW" => Effort::Low,
        "MEDIUM" => Effort::Medium,
        "HIGH" => Effort::High,
        "XHIGH" => Effort::ExtraHigh,
        "THINKING_LEVEL_UNSPECIFIED" => return Ok(None),
        _ => {
            let problem = format!("`{level}` is none of MINIMAL, LOW, MEDIUM, HIGH and XHIGH");
            return Err(Unreadable::new(format!("{PATH}.thinkingLevel"), problem));
        }
    }))
}

/// Writes it for a model of `generation`.
pub(super) fn write(
    thinking: ThinkingRequest,
    generation: Generation,
    losses: &mut Losses,
) -> Result<ThinkingConfig, Inexpressible> {
    let ThinkingRequest { amount, shown: _ } = thinking;
    let mut config = ThinkingConfig {
        include_thoughts: thinking.shown_to(losses.origin()).map(|shown| match shown {
            ThinkingShown::Hidden => false,
            ThinkingShown::Shown | ThinkingShown::Concise | ThinkingShown::Detailed => true,
        }),
        ..ThinkingConfig::default()
    };
    let levelled = match generation {
        Generation::Levelled => true,
        Generation::Budgeted | Generation::Unknown => false,
    };
    match amount {
        None => {}
        Some(Amount::Off) if levelled => {
            let field = Field::Thinking.name(losses.origin());
            losses.lose(field, "Gemini 3 always thinks: ask for the least instead")?;
            config.thinking_level = Some("MINIMAL".to_owned());
        }
        Some(Amount::Off) => config.thinking_budget = Some(0),
        // Gemini 3 decides where nothing is said.
        Some(Amount::Dynamic) if levelled => {}
        Some(Amount::Dynamic) => config.thinking_budget = Some(-1),
        Some(Amount::Effort(effort)) if levelled => {
            config.thinking_level = Some(level(effort, losses.origin()).to_owned());
        }
        Some(Amount::Effort(effort)) => {
            config.thinking_budget = Some(effort.budget_tokens().min(MAX_EFFORT_BUDGET).into());
        }
        Some(Amount::Budget(tokens)) => config.thinking_budget = Some(tokens.into()),
    }
    Ok(config)
}

fn level(effort: Effort, origin: Dialect) -> &'static str {
    match effort {
        Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        // Few models know XHIGH, so it is said only where the caller said it in these words.
        Effort::ExtraHigh if origin == Dialect::Gemini => "XHIGH",
        Effort::High | Effort::ExtraHigh | Effort::Max => "HIGH",
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::proto_json::parse;
    use super::*;
    use crate::canonical::Unsupported;

    fn amount(config: &str) -> Result<Option<Amount>, Unreadable> {
        read(parse(config.as_bytes())?).map(|(thinking, _)| thinking.amount)
    }

    fn written(amount: Amount, generation: Generation) -> (Option<i64>, Option<String>) {
        let mut losses = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Gemini);
        let request = ThinkingRequest { amount: Some(amount), shown: None };
        let config = write(request, generation, &mut losses).expect("expressible");
        (config.thinking_budget, config.thinking_level)
    }

    #[test]
    fn budgets_and_levels_are_read() {
        assert_eq!(amount(r#"{"thinkingBudget": 0}"#), Ok(Some(Amount::Off)));
        assert_eq!(amount(r#"{"thinking_budget": "-1"}"#), Ok(Some(Amount::Dynamic)));
        assert_eq!(amount(r#"{"thinkingBudget": 512}"#), Ok(Some(Amount::Budget(512))));
        assert_eq!(amount(r#"{"thinkingLevel": "low"}"#), Ok(Some(Amount::Effort(Effort::Low))));
        assert_eq!(amount("{}"), Ok(None));
        for bad in [
            r#"{"thinkingBudget": -2}"#,
            r#"{"thinkingLevel": "SOME"}"#,
            r#"{"thinkingBudget": 1, "thinkingLevel": "LOW"}"#,
        ] {
            assert!(amount(bad).is_err_and(|error| error.field.starts_with(PATH)), "{bad}");
        }
    }

    #[test]
    fn each_generation_is_told_in_its_own_words() {
        let low = Amount::Effort(Effort::Low);
        assert_eq!(written(low, Generation::Budgeted), (Some(4_096), None));
        assert_eq!(written(low, Generation::Levelled), (None, Some("LOW".into())));
        assert_eq!(written(Amount::Effort(Effort::Max), Generation::Budgeted), (Some(24_576), None));
        assert_eq!(written(Amount::Dynamic, Generation::Unknown), (Some(-1), None));
        assert_eq!(written(Amount::Off, Generation::Budgeted), (Some(0), None));
        let mut losses = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Gemini);
        let off = ThinkingRequest { amount: Some(Amount::Off), shown: None };
        let refused = write(off, Generation::Levelled, &mut losses).expect_err("can't be off");
        assert_eq!(refused.field, "reasoning_effort");
    }
}
