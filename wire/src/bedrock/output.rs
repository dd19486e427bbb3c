//! `outputConfig`: the answer's form, and how much the model takes upon itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{
    Amount, Effort, Extra, Field, ForeignField, Inexpressible, Losses, OutputFormat as Form, ThinkingRequest,
    ThinkingShown, Unreadable, keep_foreign,
};

/// What answers are like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutputConfig {
    /// The form of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_format: Option<OutputFormat>,
    /// `low`, `medium`, `high`, `xhigh` or `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The form of an answer's text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputFormat {
    /// `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is held to.
    pub structure: OutputStructure,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a text is held to; one of the fields is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutputStructure {
    /// A schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<JsonSchema>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonSchema {
    /// The schema, as text.
    pub schema: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is read of it.
pub(super) struct Wishes {
    pub(super) format: Option<Form>,
    pub(super) thinking: Option<ThinkingRequest>,
}

/// Reads it.
pub(super) fn to_canonical(
    config: OutputConfig,
    foreign: &mut Vec<ForeignField>,
) -> Result<Wishes, Unreadable> {
    let OutputConfig { text_format, effort, extra } = config;
    keep_foreign("outputConfig", extra, foreign);
    let amount = effort.as_deref().map(read_effort).transpose()?.map(Amount::Effort);
    let thinking = amount.map(|amount| ThinkingRequest { amount: Some(amount), shown: None });
    let format = text_format.map(|format| read_format(format, foreign)).transpose()?;
    Ok(Wishes { format, thinking })
}

fn read_format(format: OutputFormat, foreign: &mut Vec<ForeignField>) -> Result<Form, Unreadable> {
    const PATH: &str = "outputConfig.textFormat";
    let OutputFormat { kind, structure: OutputStructure { json_schema, extra: within }, extra } = format;
    keep_foreign(PATH, extra, foreign);
    keep_foreign(&format!("{PATH}.structure"), within, foreign);
    if kind != "json_schema" {
        return Err(Unreadable::new(format!("{PATH}.type"), "it is `json_schema`"));
    }
    let path = format!("{PATH}.structure.jsonSchema");
    let Some(JsonSchema { schema, name, description, extra }) = json_schema else {
        return Err(Unreadable::new(path, "give the JSON Schema"));
    };
    keep_foreign(&path, extra, foreign);
    let schema: Value = serde_json::from_str(&schema).map_err(|error| {
        Unreadable::new(format!("{path}.schema"), format!("it is the text of a schema: {error}"))
    })?;
    Ok(Form::JsonSchema { name, description, schema, strict: Some(true) })
}

/// Writes it; `None` where it would say nothing.
pub(super) fn from_canonical(
    format: Option<&Form>,
    thinking: Option<ThinkingRequest>,
    losses: &mut Losses,
) -> Result<Option<OutputConfig>, Inexpressible> {
    let text_format = match format {
        None | Some(Form::Text) => None,
        Some(Form::JsonObject) => {
            losses.lose(Field::OutputFormat.name(losses.origin()), "give the JSON Schema of the object")?;
            None
        }
        // Its answers follow the schema to the letter.
        Some(Form::JsonSchema { name, description, schema, strict: _ }) => Some(OutputFormat {
            kind: "json_schema".to_owned(),
            structure: OutputStructure {
                json_schema: Some(JsonSchema {
                    schema: schema.to_string(),
                    name: name.clone(),
                    description: description.clone(),
                    extra: Extra::new(),
                }),
                extra: Extra::new(),
            },
            extra: Extra::new(),
        }),
    };
    let effort = effort(thinking, losses)?;
    let config = OutputConfig { text_format, effort, extra: Extra::new() };
    Ok((config != OutputConfig::default()).then_some(config))
}

/// Whether a model thinks is its own affair here, and how much is one word.
fn effort(thinking: Option<ThinkingRequest>, losses: &mut Losses) -> Result<Option<String>, Inexpressible> {
    let Some(ThinkingRequest { amount, shown }) = thinking else { return Ok(None) };
    let origin = losses.origin();
    match shown {
        // It shows what it shows.
        None | Some(ThinkingShown::Shown | ThinkingShown::Concise | ThinkingShown::Detailed) => {}
        Some(ThinkingShown::Hidden) => losses.waive(Field::ThinkingShown.name(origin)),
    }
    let effort = match amount {
        None | Some(Amount::Dynamic) => return Ok(None),
        Some(Amount::Off | Amount::Budget(0)) => {
            losses.lose(
                Field::Thinking.name(origin),
                "Bedrock can't forbid it: ask a model that does not think",
            )?;
            return Ok(None);
        }
        Some(Amount::Effort(effort)) => effort,
        Some(Amount::Budget(tokens)) => Effort::from_budget(tokens),
    };
    Ok(Some(write_effort(effort).to_owned()))
}

fn read_effort(effort: &str) -> Result<Effort, Unreadable> {
    match effort {
        "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::ExtraHigh),
        "max" => Ok(Effort::Max),
        _ => Err(Unreadable::new("outputConfig.effort", "it is `low`, `medium`, `high`, `xhigh` or `max`")),
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
