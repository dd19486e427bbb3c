//! `thinking` and `output_config`: how much to think, whether to show it, and the answer's form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tool::ToolChoice;
use super::{ModelProfile, ThinkingForm};
use crate::canonical::{
    Amount, Effort, Extra, Field, ForeignField, Inexpressible, Losses, OutputFormat, ThinkingRequest,
    ThinkingShown, Unreadable, keep_foreign,
};

/// The least budget that Anthropic takes.
const LEAST_BUDGET: u32 = 1_024;

/// `thinking`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThinkingConfig {
    /// `adaptive`, `enabled`, `disabled`, or a newer word.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `enabled`: at least 1,024, and less than `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u32>,
    /// `summarized` or `omitted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ThinkingConfig {
    /// Whether the model may think.
    pub fn is_on(&self) -> bool {
        self.kind != "disabled"
    }
}

/// `output_config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputConfig {
    /// `low`, `medium`, `high`, `xhigh` or `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// The answer's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatConfig>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `output_config.format`, and the older `output_format`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FormatConfig {
    /// `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads how much to think.
pub(super) fn thinking_to_canonical(
    thinking: Option<ThinkingConfig>,
    effort: Option<String>,
    foreign: &mut Vec<ForeignField>,
) -> Result<Option<ThinkingRequest>, Unreadable> {
    let effort = effort.as_deref().map(read_effort).transpose()?;
    let Some(ThinkingConfig { kind, budget_tokens, display, extra }) = thinking else {
        return Ok(effort.map(|effort| ThinkingRequest { amount: Some(Amount::Effort(effort)), shown: None }));
    };
    keep_foreign("thinking", extra, foreign);
    let amount = match kind.as_str() {
        "disabled" => Some(Amount::Off),
        "adaptive" => Some(effort.map_or(Amount::Dynamic, Amount::Effort)),
        "enabled" => Some(Amount::Budget(budget_tokens.ok_or_else(|| {
            Unreadable::new("thinking.budget_tokens", "say how many tokens, at least 1024")
        })?)),
        _ => {
            // A newer way, which only Anthropic has.
            foreign.push(ForeignField {
                parent: "thinking".to_owned(),
                name: "type".to_owned(),
                value: kind.clone().into(),
            });
            effort.map(Amount::Effort)
        }
    };
    let shown = match display.as_deref() {
        None => None,
        Some("omitted") => Some(ThinkingShown::Hidden),
        Some("summarized") => Some(ThinkingShown::Shown),
        Some(_) => return Err(Unreadable::new("thinking.display", "it is `summarized` or `omitted`")),
    };
    // `Off` and `Budget` say it all; an effort beside them is the answer's, which only Anthropic has.
    if let (Some(Amount::Off | Amount::Budget(_)), Some(effort)) = (amount, effort) {
        foreign.push(ForeignField {
            parent: "output_config".to_owned(),
            name: "effort".to_owned(),
            value: write_effort(effort).into(),
        });
    }
    Ok(Some(ThinkingRequest { amount, shown }))
}

/// Writes how much to think, given `max_tokens`.
pub(super) fn thinking_from_canonical(
    thinking: Option<ThinkingRequest>,
    max_tokens: Option<u32>,
    profile: &ModelProfile,
    losses: &mut Losses,
) -> Result<(Option<ThinkingConfig>, Option<String>), Inexpressible> {
    let Some(ThinkingRequest { amount, shown }) = thinking else { return Ok((None, None)) };
    let field = Field::Thinking.name(losses.origin());
    let display = shown.map(|shown| match shown {
        ThinkingShown::Hidden => "omitted".to_owned(),
        // Anthropic has one way to show it.
        ThinkingShown::Shown | ThinkingShown::Concise | ThinkingShown::Detailed => "summarized".to_owned(),
    });
    let config = |kind: &str, budget_tokens| ThinkingConfig {
        kind: kind.to_owned(),
        budget_tokens,
        display: display.clone(),
        extra: Extra::new(),
    };
    let off = || ThinkingConfig { kind: "disabled".to_owned(), ..ThinkingConfig::default() };
    let budget = match (amount, profile.thinking) {
        (Some(Amount::Off), _) => return Ok((Some(off()), None)),
        (None, _) if shown.is_none() => return Ok((None, None)),
        // Whoever hides thinking did not ask for it.
        (None, _) if shown == Some(ThinkingShown::Hidden) => {
            losses.waive(Field::ThinkingShown.name(losses.origin()));
            return Ok((None, None));
        }
        (None | Some(Amount::Dynamic), ThinkingForm::Adaptive) => {
            return Ok((Some(config("adaptive", None)), None));
        }
        (Some(Amount::Effort(effort)), ThinkingForm::Adaptive) => {
            return Ok((Some(config("adaptive", None)), Some(write_effort(effort).to_owned())));
        }
        (Some(Amount::Budget(0)), _) => return Ok((Some(off()), None)),
        (Some(Amount::Budget(tokens)), ThinkingForm::Adaptive) => {
            let effort = write_effort(Effort::from_budget(tokens)).to_owned();
            return Ok((Some(config("adaptive", None)), Some(effort)));
        }
        (None | Some(Amount::Dynamic), ThinkingForm::Budget) => {
            losses.lose(field, "this model does not decide it itself: say how much to think")?;
            return Ok((None, None));
        }
        (Some(Amount::Effort(effort)), ThinkingForm::Budget) => {
            // A word leaves room; where the answer is short, so is the thinking.
            let below = max_tokens.map_or(u32::MAX, |most| most.saturating_sub(1));
            effort.budget_tokens().min(below)
        }
        (Some(Amount::Budget(tokens)), ThinkingForm::Budget) => tokens,
    };
    if budget < LEAST_BUDGET || max_tokens.is_some_and(|most| budget >= most) {
        losses.lose(field, "thinking takes at least 1024 tokens, and less than the whole answer may have")?;
        return Ok((None, None));
    }
    Ok((Some(config("enabled", Some(budget))), None))
}

/// With a budget of thinking, Anthropic refuses a choice of tools that demands a call.
pub(super) fn lose_if_forced(
    thinking: &mut Option<ThinkingConfig>,
    choice: Option<&ToolChoice>,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    let forced = choice.is_some_and(|choice| matches!(choice.kind.as_str(), "any" | "tool"));
    if forced && thinking.take_if(|thinking| thinking.kind == "enabled").is_some() {
        let fix = "this model does not think where a call is demanded: leave one of the two out";
        losses.lose(Field::Thinking.name(losses.origin()), fix)?;
    }
    Ok(())
}

fn read_effort(effort: &str) -> Result<Effort, Unreadable> {
    match effort {
        "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::ExtraHigh),
        "max" => Ok(Effort::Max),
        _ => Err(Unreadable::new("output_config.effort", "it is `low`, `medium`, `high`, `xhigh` or `max`")),
    }
}

fn write_effort(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::ExtraHigh => "xhigh",
        Effort::Max => "max",
    }
}

/// Reads the answer's form from `output_config.format`, or from `output_format`, its older place.
pub(super) fn format_to_canonical(
    format: Option<FormatConfig>,
    older: Option<FormatConfig>,
    foreign: &mut Vec<ForeignField>,
) -> Result<Option<OutputFormat>, Unreadable> {
    let (path, format) = match (format, older) {
        (None, None) => return Ok(None),
        (Some(format), None) => ("output_config.format", format),
        (None, Some(format)) => ("output_format", format),
        (Some(_), Some(_)) => {
            return Err(Unreadable::new(
                "output_format",
                "it is the older name of `output_config.format`: send one",
            ));
        }
    };
    let FormatConfig { kind, schema, extra } = format;
    if kind != "json_schema" {
        return Err(Unreadable::new(format!("{path}.type"), "it is `json_schema`"));
    }
    let schema = schema.ok_or_else(|| Unreadable::new(format!("{path}.schema"), "give the JSON Schema"))?;
    keep_foreign(path, extra, foreign);
    // Anthropic's answers follow the schema to the letter.
    Ok(Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: Some(true) }))
}

/// Writes the answer's form.
pub(super) fn format_from_canonical(
    format: Option<&OutputFormat>,
    losses: &mut Losses,
) -> Result<Option<FormatConfig>, Inexpressible> {
    let (description, schema) = match format {
        None | Some(OutputFormat::Text) => return Ok(None),
        Some(OutputFormat::JsonObject) => {
            losses.lose(Field::OutputFormat.name(losses.origin()), "give the JSON Schema of the object")?;
            return Ok(None);
        }
        // The name is a label, and the answer is at least as strict as was asked.
        Some(OutputFormat::JsonSchema { name: _, description, schema, strict: _ }) => (description, schema),
    };
    let mut schema = schema.clone();
    if let (Some(description), Value::Object(schema)) = (description, &mut schema) {
        schema.entry("description").or_insert_with(|| description.as_str().into());
    }
    Ok(Some(FormatConfig { kind: "json_schema".to_owned(), schema: Some(schema), extra: Extra::new() }))
}
