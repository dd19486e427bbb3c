//! Tools and calls of a chat completion, as they stand in `extra`: the message types keep them there, so that an
//! engine which serves no tools refuses them by name.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::super::Extra;

/// An entry of `tools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// `function`, or `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionDefinition>,
    /// The custom tool, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionDefinition {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments; absent: it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Follow the schema to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An entry of a message's `tool_calls`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageToolCall {
    /// The call's id. Some servers give none.
    #[serde(default)]
    pub id: Option<String>,
    /// `function` (also where absent), or `custom`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// What is called, where it is a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<CalledFunction>,
    /// What is called, where it is a custom tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CalledCustom>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The function of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// The arguments as JSON text. Some servers send the object itself; it is kept as its text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub arguments: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The custom tool of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalledCustom {
    /// Its name.
    pub name: String,
    /// The free text that it is called with.
    #[serde(default)]
    pub input: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of a call in a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Which call of the answer. Some servers leave it out.
    #[serde(default)]
    pub index: Option<u32>,
    /// In the first piece of a call.
    #[serde(default)]
    pub id: Option<String>,
    /// In the first piece of a call.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// What is new.
    #[serde(default)]
    pub function: Option<FunctionDelta>,
    /// What is new, where a custom tool is called.
    #[serde(default)]
    pub custom: Option<CustomDelta>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of a called function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionDelta {
    /// In the first piece.
    #[serde(default)]
    pub name: Option<String>,
    /// More of the arguments' text.
    #[serde(default)]
    pub arguments: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of a called custom tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CustomDelta {
    /// In the first piece.
    #[serde(default)]
    pub name: Option<String>,
    /// More of the free text.
    #[serde(default)]
    pub input: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

fn text_or_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null => String::new(),
        json => json.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_text_even_where_a_server_sends_an_object() {
        for (given, text) in
            [(r#""{\"a\": 1.0}""#, r#"{"a": 1.0}"#), (r#"{"a":1}"#, r#"{"a":1}"#), ("null", "")]
        {
            let json = format!(r#"{{"name":"f","arguments":{given}}}"#);
            let called: CalledFunction = serde_json::from_str(&json).expect("parses");
            assert_eq!(called.arguments, text);
        }
    }
}
