//! Custom tools, which take free text. Both endpoints have them: chat completions wraps each in `custom`, and its
//! grammar in `grammar`; Responses has their fields at the top.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Extra;
use crate::canonical::{CustomFormat, CustomTool};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition<F> {
    name: String,
    description: Option<String>,
    format: Option<F>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Wrapped {
    Text,
    Grammar { grammar: Grammar },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Flat {
    Text,
    Grammar { definition: String, syntax: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grammar {
    definition: String,
    syntax: String,
}

/// Reads a chat tool's `custom`; `None` where it says more than is known here.
pub(super) fn read_wrapped(custom: Value) -> Option<CustomTool> {
    let Definition { name, description, format } = serde_json::from_value(custom).ok()?;
    let format = format.map(|format| match format {
        Wrapped::Text => CustomFormat::Text,
        Wrapped::Grammar { grammar: Grammar { definition, syntax } } => {
            CustomFormat::Grammar { definition, syntax }
        }
    });
    Some(CustomTool { name, description, format })
}

/// Reads a tool of Responses, without its `type`; `None` where it says more than is known here.
pub(super) fn read_flat(tool: Extra) -> Option<CustomTool> {
    let Definition { name, description, format } = serde_json::from_value(Value::Object(tool)).ok()?;
    let format = format.map(|format| match format {
        Flat::Text => CustomFormat::Text,
        Flat::Grammar { definition, syntax } => CustomFormat::Grammar { definition, syntax },
    });
    Some(CustomTool { name, description, format })
}

/// A tool of chat completions.
pub(super) fn write_wrapped(tool: &CustomTool) -> Value {
    let format = tool.format.as_ref().map(|format| match format {
        CustomFormat::Text => json!({"type": "text"}),
        CustomFormat::Grammar { definition, syntax } => {
            json!({"type": "grammar", "grammar": {"definition": definition, "syntax": syntax}})
        }
    });
    json!({"type": "custom", "custom": fields(tool, format)})
}

/// A tool of Responses.
pub(super) fn write_flat(tool: &CustomTool) -> Value {
    let format = tool.format.as_ref().map(|format| match format {
        CustomFormat::Text => json!({"type": "text"}),
        CustomFormat::Grammar { definition, syntax } => {
            json!({"type": "grammar", "definition": definition, "syntax": syntax})
        }
    });
    let mut flat = Extra::from_iter([("type".to_owned(), json!("custom"))]);
    flat.extend(fields(tool, format));
    Value::Object(flat)
}

fn fields(tool: &CustomTool, format: Option<Value>) -> Extra {
    let CustomTool { name, description, format: _ } = tool;
    let mut fields = Extra::from_iter([("name".to_owned(), json!(name))]);
    fields.extend(description.as_ref().map(|text| ("description".to_owned(), json!(text))));
    fields.extend(format.map(|format| ("format".to_owned(), format)));
    fields
}
