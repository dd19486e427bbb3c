//! `toolConfig`: the tools, and which of them to call.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ModelProfile;
use super::content::CachePoint;
use super::part::{NO_CUSTOM_TOOLS, cache_point};
use crate::canonical::{
    self, Dialect, Extra, Field, ForeignField, ForeignPart, FunctionTool, Inexpressible, Losses, Part, Place,
    Request, Unreadable, keep_foreign,
};

/// The tools of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolConfig {
    /// The tools, and where the prompt is cached among them.
    pub tools: Vec<Tool>,
    /// Which to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A tool; one of the fields is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tool {
    /// A function that the caller runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_spec: Option<ToolSpec>,
    /// Cache the prompt up to here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_point: Option<CachePoint>,
    /// A tool that the provider runs (`systemTool`), and what comes later.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A function that the caller runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of its arguments.
    pub input_schema: InputSchema,
    /// The arguments must follow the schema to the letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The schema of a tool's arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputSchema {
    /// JSON Schema; an object's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which tool to call; one of the fields is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolChoice {
    /// The model decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto: Option<Extra>,
    /// At least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Extra>,
    /// This one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<NamedTool>,
    /// Choices not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One tool by its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedTool {
    /// The name.
    pub name: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads the tools and the choice of them.
pub(super) fn to_canonical(
    config: ToolConfig,
    request: &mut Request,
    foreign: &mut Vec<ForeignField>,
) -> Result<(), Unreadable> {
    let ToolConfig { tools, tool_choice, extra } = config;
    keep_foreign("toolConfig", extra, foreign);
    for (index, tool) in tools.into_iter().enumerate() {
        let path = Place::Tool(index).path(Dialect::Converse);
        match tool {
            Tool { cache_point: Some(point), .. } => {
                if let Some(canonical::Tool::Function(last)) = request.tools.last_mut() {
                    last.cache.get_or_insert(super::part::mark(&point));
                }
            }
            Tool { tool_spec: Some(spec), cache_point: None, extra } => {
                keep_foreign(&path, extra, foreign);
                request.tools.push(canonical::Tool::Function(function(spec, &path, foreign)?));
            }
            Tool { tool_spec: None, cache_point: None, extra } => {
                let kind = extra.keys().next().cloned().unwrap_or_default();
                let value = Value::Object(extra);
                let part = ForeignPart { dialect: Dialect::Converse, kind, value };
                request.tools.push(canonical::Tool::Foreign(part));
            }
        }
    }
    request.tool_choice = tool_choice.map(|choice| read_choice(choice, foreign)).transpose()?.flatten();
    Ok(())
}

fn function(spec: ToolSpec, path: &str, foreign: &mut Vec<ForeignField>) -> Result<FunctionTool, Unreadable> {
    let ToolSpec { name, description, input_schema: InputSchema { json, extra: inner }, strict, extra } =
        spec;
    if name.is_empty() {
        return Err(Unreadable::new(format!("{path}.toolSpec.name"), "a tool has one: add it"));
    }
    let parameters = json.ok_or_else(|| {
        Unreadable::new(format!("{path}.toolSpec.inputSchema.json"), "give the JSON Schema of the arguments")
    })?;
    keep_foreign(&format!("{path}.toolSpec"), extra, foreign);
    keep_foreign(&format!("{path}.toolSpec.inputSchema"), inner, foreign);
    Ok(FunctionTool { name, description, parameters: Some(parameters), strict, cache: None })
}

fn read_choice(
    choice: ToolChoice,
    foreign: &mut Vec<ForeignField>,
) -> Result<Option<canonical::ToolChoice>, Unreadable> {
    let ToolChoice { auto, any, tool, extra } = choice;
    keep_foreign("toolConfig.toolChoice", extra, foreign);
    match (auto, any, tool) {
        (Some(_), None, None) => Ok(Some(canonical::ToolChoice::Auto)),
        (None, Some(_), None) => Ok(Some(canonical::ToolChoice::Required)),
        (None, None, Some(NamedTool { name, extra: _ })) => Ok(Some(canonical::ToolChoice::Function(name))),
        (None, None, None) => Ok(None),
        _ => Err(Unreadable::new("toolConfig.toolChoice", "give one of `auto`, `any` and `tool`")),
    }
}

/// Writes the tools and the choice of them; `None` where there are no tools.
pub(super) fn from_canonical(
    request: &Request,
    profile: ModelProfile,
    losses: &mut Losses,
) -> Result<Option<ToolConfig>, Inexpressible> {
    let Request { origin, tools, tool_choice, .. } = request;
    let choice_field = Field::ToolChoice.name(*origin);
    let called = called(request);
    let mut written = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let allowed = match (tool_choice, tool) {
            // The choice names one tool or none, so the others are not offered.
            (
                Some(canonical::ToolChoice::Allowed { names, required: _ }),
                canonical::Tool::Function(tool),
            ) => names.contains(&tool.name),
            _ => true,
        };
        if allowed {
            written.extend(write_tool(tool, index, profile, losses)?);
        }
    }
    let mut choice = None;
    match tool_choice {
        None
        | Some(canonical::ToolChoice::Auto | canonical::ToolChoice::Allowed { required: false, names: _ }) => {
        }
        Some(
            canonical::ToolChoice::Required | canonical::ToolChoice::Allowed { required: true, names: _ },
        ) => {
            if written.is_empty() {
                return Err(losses.refuse(choice_field, "a call is demanded, and there is no tool to call"));
            }
            choice = Some(ToolChoice { any: Some(Extra::new()), ..ToolChoice::default() });
        }
        Some(canonical::ToolChoice::Function(name)) => {
            let tool = NamedTool { name: name.clone(), extra: Extra::new() };
            choice = Some(ToolChoice { tool: Some(tool), ..ToolChoice::default() });
        }
        Some(canonical::ToolChoice::Custom(_)) => losses.lose(choice_field, NO_CUSTOM_TOOLS)?,
        // To offer no tools is to forbid them, but for a conversation with calls, which wants its tools.
        Some(canonical::ToolChoice::None) if !called.is_empty() => {
            losses.lose(choice_field, "Bedrock has no way to forbid calls: leave the choice out")?;
        }
        Some(canonical::ToolChoice::None) => written.clear(),
    }
    if written.is_empty() {
        // Bedrock refuses a conversation with calls where there are no tools. Callers do not send them with their last
        // question, so what was called is declared by its name.
        written = called.into_iter().map(declared).collect();
    }
    if written.is_empty() {
        return Ok(None);
    }
    Ok(Some(ToolConfig { tools: written, tool_choice: choice, extra: Extra::new() }))
}

/// Names of the tools that the conversation has called.
fn called(request: &Request) -> BTreeSet<&str> {
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    parts
        .filter_map(|part| if let Part::ToolCall(call) = part { Some(call.name.as_str()) } else { None })
        .collect()
}

fn declared(name: &str) -> Tool {
    let spec = ToolSpec {
        name: name.to_owned(),
        input_schema: InputSchema { json: Some(json!({"type": "object"})), extra: Extra::new() },
        ..ToolSpec::default()
    };
    Tool { tool_spec: Some(spec), ..Tool::default() }
}

/// The tool and the cache point behind it.
fn write_tool(
    tool: &canonical::Tool,
    index: usize,
    profile: ModelProfile,
    losses: &mut Losses,
) -> Result<Vec<Tool>, Inexpressible> {
    let path = Place::Tool(index).path(losses.origin());
    let FunctionTool { name, description, parameters, strict, cache } = match tool {
        canonical::Tool::Function(tool) => tool,
        canonical::Tool::Custom(_) => {
            losses.lose(path, NO_CUSTOM_TOOLS)?;
            return Ok(Vec::new());
        }
        canonical::Tool::Foreign(ForeignPart {
            dialect: Dialect::Converse,
            kind: _,
            value: Value::Object(extra),
        }) => {
            return Ok(vec![Tool { extra: extra.clone(), ..Tool::default() }]);
        }
        canonical::Tool::Foreign(_) => {
            losses.lose(path, "only its own dialect has this tool: leave it out, or give a function")?;
            return Ok(Vec::new());
        }
    };
    let schema = match parameters {
        None => json!({"type": "object", "properties": {}}),
        Some(Value::Object(schema)) => {
            let mut schema = schema.clone();
            // Bedrock demands the word that others take for granted.
            schema.entry("type").or_insert_with(|| "object".into());
            Value::Object(schema)
        }
        Some(_) => return Err(losses.refuse(path, "the schema of a tool's arguments is an object")),
    };
    let spec = ToolSpec {
        name: name.clone(),
        // An empty one is refused.
        description: description.clone().filter(|description| !description.is_empty()),
        input_schema: InputSchema { json: Some(schema), extra: Extra::new() },
        // To say that it need not be so is to say nothing, and older models refuse the word.
        strict: strict.filter(|strict| *strict),
        extra: Extra::new(),
    };
    let point = cache_point(*cache, profile, &path, losses);
    let point = point.map(|point| Tool { cache_point: Some(point), ..Tool::default() });
    Ok([Some(Tool { tool_spec: Some(spec), ..Tool::default() }), point].into_iter().flatten().collect())
}
