//! Tools and the choice among them.

use serde_json::Value;

use super::super::foreign::ForeignFields;
use super::super::schema::{from_json_schema, to_json_schema};
use super::super::service::SchemaForm;
use super::super::tool::{FunctionCallingConfig, FunctionDeclaration, Tool as WireTool, ToolConfig};
use crate::canonical::{
    Dialect, Field, ForeignField, ForeignPart, FunctionTool, Inexpressible, Losses, Place, Tool, ToolChoice,
    Unreadable, keep_foreign,
};

/// Why a tool that takes free text can't be said.
pub(in crate::gemini) const NO_CUSTOM_TOOLS: &str =
    "Gemini's tools take an object and no free text: give a function with one string";

const CONFIG: &str = "toolConfig";
const CALLING: &str = "toolConfig.functionCallingConfig";

/// Reads the tools. Google's own are kept whole.
pub(super) fn read(tools: Vec<WireTool>, foreign: &mut Vec<ForeignField>) -> Result<Vec<Tool>, Unreadable> {
    let mut read = Vec::new();
    for WireTool { function_declarations, extra } in tools {
        for declaration in function_declarations {
            let path = Place::Tool(read.len()).path(Dialect::Gemini);
            let FunctionDeclaration { name, description, parameters, parameters_json_schema, extra } =
                declaration;
            if name.is_empty() {
                return Err(Unreadable::new(format!("{path}.name"), "give the function a name"));
            }
            keep_foreign(&path, extra, foreign);
            read.push(Tool::Function(FunctionTool {
                name,
                description,
                parameters: parameters_json_schema.or_else(|| parameters.as_ref().map(to_json_schema)),
                strict: None,
                cache: None,
            }));
        }
        for (kind, value) in extra {
            let value = Value::Object([(kind.clone(), value)].into_iter().collect());
            read.push(Tool::Foreign(ForeignPart { dialect: Dialect::Gemini, kind, value }));
        }
    }
    Ok(read)
}

/// Reads the choice. `VALIDATED` holds the arguments to their schemas, which is each function's `strict`.
pub(super) fn read_choice(
    config: ToolConfig,
    tools: &mut [Tool],
    foreign: &mut Vec<ForeignField>,
) -> Result<Option<ToolChoice>, Unreadable> {
    let ToolConfig { function_calling_config, extra } = config;
    keep_foreign(CONFIG, extra, foreign);
    let Some(calling) = function_calling_config else { return Ok(None) };
    let FunctionCallingConfig { mode, allowed_function_names: mut names, extra } = calling;
    keep_foreign(CALLING, extra, foreign);
    let allowed = |required, names: Vec<String>| Some(ToolChoice::Allowed { required, names });
    Ok(match mode.as_deref() {
        None | Some("AUTO" | "MODE_UNSPECIFIED") if names.is_empty() => mode.map(|_| ToolChoice::Auto),
        None | Some("AUTO" | "MODE_UNSPECIFIED") => allowed(false, names),
        Some("NONE") => Some(ToolChoice::None),
        Some("ANY") => match names.len() {
            0 => Some(ToolChoice::Required),
            1 => names.pop().map(ToolChoice::Function),
            _ => allowed(true, names),
        },
        Some("VALIDATED") => {
            for tool in tools {
                if let Tool::Function(function) = tool {
                    function.strict = Some(true);
                }
            }
            if names.is_empty() { Some(ToolChoice::Auto) } else { allowed(false, names) }
        }
        Some(other) => {
            let problem = format!("`{other}` is none of AUTO, ANY, NONE and VALIDATED");
            return Err(Unreadable::new(format!("{CALLING}.mode"), problem));
        }
    })
}

/// Writes the tools: all functions together, and each of Google's own by itself.
pub(super) fn write(
    tools: &[Tool],
    form: SchemaForm,
    foreign: &mut ForeignFields<'_>,
    losses: &mut Losses,
) -> Result<Vec<WireTool>, Inexpressible> {
    let mut function_declarations = Vec::new();
    let mut own = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let path = Place::Tool(index).path(losses.origin());
        match tool {
            Tool::Function(function) => {
                let mut declaration = write_function(function, &path, form, losses)?;
                declaration.extra = foreign.take(&path);
                function_declarations.push(declaration);
            }
            Tool::Custom(_) => losses.lose(path, NO_CUSTOM_TOOLS)?,
            Tool::Foreign(ForeignPart { dialect: Dialect::Gemini, kind: _, value: Value::Object(extra) }) => {
                own.push(WireTool { extra: extra.clone(), ..WireTool::default() });
            }
            Tool::Foreign(ForeignPart { dialect: _, kind, value: _ }) => {
                losses.lose(path, format!("Gemini has no `{kind}` tool"))?;
            }
        }
    }
    let functions = WireTool { function_declarations, ..WireTool::default() };
    let functions = Some(functions).filter(|tool| !tool.function_declarations.is_empty());
    Ok(functions.into_iter().chain(own).collect())
}

fn write_function(
    function: &FunctionTool,
    path: &str,
    form: SchemaForm,
    losses: &mut Losses,
) -> Result<FunctionDeclaration, Inexpressible> {
    // `strict` is the whole request's mode here.
    let FunctionTool { name, description, parameters, strict: _, cache } = function;
    if cache.is_some() {
        losses.waive(format!("{path}.cache_control"));
    }
    let mut declaration = FunctionDeclaration {
        name: name.clone(),
        description: description.clone(),
        ..FunctionDeclaration::default()
    };
    // An object without properties is refused; to say nothing means no parameters.
    if let Some(schema) = parameters.as_ref().filter(|schema| declares_something(schema)) {
        match form {
            SchemaForm::Json => declaration.parameters_json_schema = Some(schema.clone()),
            SchemaForm::OpenApi => {
                let schema = from_json_schema(schema, &format!("{path}.parameters"), losses)?;
                declaration.parameters = Some(schema).filter(declares_something);
            }
        }
    }
    Ok(declaration)
}

fn declares_something(schema: &Value) -> bool {
    schema.as_object().into_iter().flatten().any(|(keyword, value)| match keyword.as_str() {
        "type" | "$schema" | "title" | "description" => false,
        "additionalProperties" => value.is_object(),
        "properties" => value.as_object().is_some_and(|properties| !properties.is_empty()),
        "required" => value.as_array().is_some_and(|required| !required.is_empty()),
        _ => true,
    })
}

/// Writes the choice.
pub(super) fn write_choice(
    choice: Option<&ToolChoice>,
    tools: &[Tool],
    foreign: &mut ForeignFields<'_>,
    losses: &mut Losses,
) -> Result<Option<ToolConfig>, Inexpressible> {
    let strict =
        tools.iter().any(|tool| matches!(tool, Tool::Function(function) if function.strict == Some(true)));
    let (mode, names) = match choice {
        None | Some(ToolChoice::Auto) if strict => (Some("VALIDATED"), Vec::new()),
        None => (None, Vec::new()),
        Some(ToolChoice::Auto) => (Some("AUTO"), Vec::new()),
        Some(ToolChoice::None) => (Some("NONE"), Vec::new()),
        Some(ToolChoice::Required) => (Some("ANY"), Vec::new()),
        Some(ToolChoice::Function(name)) => (Some("ANY"), vec![name.clone()]),
        Some(ToolChoice::Custom(_)) => {
            losses.lose(Field::ToolChoice.name(losses.origin()), NO_CUSTOM_TOOLS)?;
            (None, Vec::new())
        }
        Some(ToolChoice::Allowed { required: true, names }) => (Some("ANY"), names.clone()),
        // AUTO takes no names, VALIDATED does.
        Some(ToolChoice::Allowed { required: false, names }) => (Some("VALIDATED"), names.clone()),
    };
    let known =
        |name: &String| tools.iter().any(|tool| matches!(tool, Tool::Function(tool) if tool.name == *name));
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(losses
            .refuse(Field::ToolChoice.name(losses.origin()), format!("there is no function `{unknown}`")));
    }
    let calling = FunctionCallingConfig {
        mode: mode.map(str::to_owned),
        allowed_function_names: names,
        extra: foreign.take(CALLING),
    };
    let config = ToolConfig {
        function_calling_config: Some(calling).filter(|calling| *calling != FunctionCallingConfig::default()),
        extra: foreign.take(CONFIG),
    };
    Ok(Some(config).filter(|config| *config != ToolConfig::default()))
}
