//! Tools, and which of them to call.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::CacheControl;
use super::part::NO_CUSTOM_TOOLS;
use crate::canonical::{
    self, Dialect, Extra, Field, ForeignField, ForeignPart, FunctionTool, Inexpressible, Losses, Place,
    Request, Unreadable, keep_foreign,
};

/// A tool. Anthropic's own tools (`web_search_20250305`, …) have a `type` other than `custom`, and no schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `custom` or absent for a function that the caller runs.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its input; an object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// The input must follow the schema to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Cache the prompt up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which tool to call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolChoice {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `tool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One call an answer at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_parallel_tool_use: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads tool `index`.
pub(super) fn tool_to_canonical(
    tool: Tool,
    index: usize,
    foreign: &mut Vec<ForeignField>,
) -> Result<canonical::Tool, Unreadable> {
    let path = Place::Tool(index).path(Dialect::Anthropic);
    if let Some(kind) = tool.kind.clone().filter(|kind| kind != "custom") {
        let value = serde_json::to_value(tool).map_err(|error| Unreadable::new(path, error.to_string()))?;
        return Ok(canonical::Tool::Foreign(ForeignPart { dialect: Dialect::Anthropic, kind, value }));
    }
    let Tool { kind: _, name, description, input_schema, strict, cache_control, extra } = tool;
    let missing = |field: &str| Unreadable::new(format!("{path}.{field}"), "a tool has one: add it");
    let name = name.ok_or_else(|| missing("name"))?;
    let parameters = Some(input_schema.ok_or_else(|| missing("input_schema"))?);
    keep_foreign(&path, extra, foreign);
    let cache = cache_control.as_ref().map(CacheControl::to_mark);
    Ok(canonical::Tool::Function(FunctionTool { name, description, parameters, strict, cache }))
}

/// Reads the choice, and whether several calls are allowed in one answer.
pub(super) fn choice_to_canonical(
    choice: ToolChoice,
    foreign: &mut Vec<ForeignField>,
) -> Result<(canonical::ToolChoice, Option<bool>), Unreadable> {
    let ToolChoice { kind, name, disable_parallel_tool_use, extra } = choice;
    keep_foreign("tool_choice", extra, foreign);
    let choice = match kind.as_str() {
        "auto" => canonical::ToolChoice::Auto,
        "any" => canonical::ToolChoice::Required,
        "none" => canonical::ToolChoice::None,
        "tool" => canonical::ToolChoice::Function(name.ok_or_else(|| {
            Unreadable::new("tool_choice.name", "say which tool must be called, or use the type `any`")
        })?),
        _ => return Err(Unreadable::new("tool_choice.type", "it is `auto`, `any`, `tool` or `none`")),
    };
    Ok((choice, disable_parallel_tool_use.map(|disabled| !disabled)))
}

/// Writes the tools and the choice of them.
pub(super) fn from_canonical(
    request: &Request,
    losses: &mut Losses,
) -> Result<(Vec<Tool>, Option<ToolChoice>), Inexpressible> {
    let mut tools = Vec::with_capacity(request.tools.len());
    for (index, tool) in request.tools.iter().enumerate() {
        let allowed = match (&request.tool_choice, tool) {
            // Anthropic's choice names one tool or none, so the others are not offered.
            (
                Some(canonical::ToolChoice::Allowed { names, required: _ }),
                canonical::Tool::Function(tool),
            ) => names.contains(&tool.name),
            _ => true,
        };
        if allowed {
            tools.extend(write_tool(tool, index, losses)?);
        }
    }
    if let Some(canonical::ToolChoice::Custom(_)) = &request.tool_choice {
        losses.lose(Field::ToolChoice.name(request.origin), NO_CUSTOM_TOOLS)?;
    }
    if tools.is_empty() && !matches!(request.tool_choice, Some(canonical::ToolChoice::Function(_))) {
        let field = Field::ToolChoice.name(request.origin);
        return match &request.tool_choice {
            Some(
                canonical::ToolChoice::Required | canonical::ToolChoice::Allowed { required: true, names: _ },
            ) => Err(losses.refuse(field, "a call is demanded, and there is no tool to call")),
            // Without tools the choice says nothing, and Anthropic refuses it.
            _ => Ok((tools, None)),
        };
    }
    let mut choice = request.tool_choice.as_ref().and_then(write_choice);
    // Absent and true are the same: several calls are allowed.
    if request.parallel_tool_calls == Some(false) {
        let choice =
            choice.get_or_insert_with(|| ToolChoice { kind: "auto".to_owned(), ..ToolChoice::default() });
        if choice.kind != "none" {
            choice.disable_parallel_tool_use = Some(true);
        }
    }
    Ok((tools, choice))
}

/// `None` for a tool that is not there.
fn write_choice(choice: &canonical::ToolChoice) -> Option<ToolChoice> {
    let (kind, name) = match choice {
        canonical::ToolChoice::Auto => ("auto", None),
        canonical::ToolChoice::None => ("none", None),
        canonical::ToolChoice::Required => ("any", None),
        canonical::ToolChoice::Function(name) => ("tool", Some(name.clone())),
        canonical::ToolChoice::Custom(_) => return None,
        canonical::ToolChoice::Allowed { required: true, names: _ } => ("any", None),
        canonical::ToolChoice::Allowed { required: false, names: _ } => ("auto", None),
    };
    Some(ToolChoice { kind: kind.to_owned(), name, ..ToolChoice::default() })
}

fn write_tool(
    tool: &canonical::Tool,
    index: usize,
    losses: &mut Losses,
) -> Result<Option<Tool>, Inexpressible> {
    let path = Place::Tool(index).path(losses.origin());
    let FunctionTool { name, description, parameters, strict, cache } = match tool {
        canonical::Tool::Function(tool) => tool,
        canonical::Tool::Custom(_) => {
            losses.lose(path, NO_CUSTOM_TOOLS)?;
            return Ok(None);
        }
        canonical::Tool::Foreign(ForeignPart { dialect: Dialect::Anthropic, kind: _, value }) => {
            let tool = serde_json::from_value(value.clone());
            return tool.map(Some).map_err(|error| losses.refuse(path, error.to_string()));
        }
        canonical::Tool::Foreign(ForeignPart { dialect: _, kind: _, value: _ }) => {
            losses.lose(path, "only its own dialect has this tool: leave it out, or give a function")?;
            return Ok(None);
        }
    };
    let input_schema = match parameters {
        None => json!({"type": "object", "properties": {}}),
        Some(Value::Object(schema)) => {
            let mut schema = schema.clone();
            // Anthropic demands the word that others take for granted.
            schema.entry("type").or_insert_with(|| "object".into());
            Value::Object(schema)
        }
        Some(_) => return Err(losses.refuse(path, "the schema of a tool's arguments is an object")),
    };
    Ok(Some(Tool {
        kind: None,
        name: Some(name.clone()),
        description: description.clone(),
        input_schema: Some(input_schema),
        strict: *strict,
        cache_control: cache.map(CacheControl::from_mark),
        extra: Extra::new(),
    }))
}
