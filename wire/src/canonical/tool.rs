//! Tools, the model's calls of them, and their results.

use serde_json::Value;

use super::{CacheMark, ForeignPart, Part, Signature};

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    /// A function that the caller runs.
    Function(FunctionTool),
    /// A tool that the caller runs, and that takes free text.
    Custom(CustomTool),
    /// A tool that only one dialect has, such as a hosted search.
    Foreign(ForeignPart),
}

/// A function that the caller runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionTool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub parameters: Option<Value>,
    /// Arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMark>,
}

/// A tool that takes free text and no arguments (OpenAI's `custom`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomTool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What the text is held to; nothing where absent.
    pub format: Option<CustomFormat>,
}

/// What a custom tool's text is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomFormat {
    /// Nothing, said in so many words.
    Text,
    /// A grammar.
    Grammar {
        /// The grammar.
        definition: String,
        /// Its language: `lark` or `regex`.
        syntax: String,
    },
}

/// Which tool the model must or may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None may be called.
    None,
    /// At least one must be called.
    Required,
    /// This one must be called.
    Function(String),
    /// This one must be called; it takes free text.
    Custom(String),
    /// Only these may be called, or must be where `required`.
    Allowed {
        /// One must be called.
        required: bool,
        /// Their names.
        names: Vec<String>,
    },
}

/// The model calls a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Names this call; never empty. Where a provider gives none, one is minted ([`super::Mint`]).
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, a JSON object as raw text. Models write broken JSON at times, and it is kept as written.
    pub arguments: String,
    /// What its provider wants back with the call (Gemini's `thoughtSignature`).
    pub signature: Option<Signature>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMark>,
}

impl ToolCall {
    /// The arguments, `{}` where a model wrote nothing at all.
    pub fn arguments_or_empty(&self) -> &str {
        if self.arguments.trim().is_empty() { "{}" } else { &self.arguments }
    }

    /// The arguments as JSON, with their bytes kept, for dialects that hold an object and not its text.
    ///
    /// # Errors
    /// Where they are not one JSON object; says why.
    pub fn arguments_object(&self) -> Result<Box<serde_json::value::RawValue>, String> {
        let text = self.arguments_or_empty();
        let raw: Box<serde_json::value::RawValue> =
            serde_json::from_str(text).map_err(|error| format!("its arguments are not JSON ({error})"))?;
        if raw.get().starts_with('{') {
            Ok(raw)
        } else {
            Err("its arguments are not a JSON object".to_owned())
        }
    }
}

/// The model calls a tool with free text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomCall {
    /// Names this call; never empty.
    pub id: String,
    /// The tool.
    pub name: String,
    /// What the model wrote.
    pub input: String,
}

/// What a call came to, of a function or of a custom tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolResult {
    /// The call it answers, by [`ToolCall::id`].
    pub call_id: String,
    /// The tool's name, where the dialect says it (Gemini does); [`super::Request::tool_name`] finds it otherwise.
    pub name: Option<String>,
    /// What the tool said: text and images.
    pub parts: Vec<Part>,
    /// The tool failed. `None` where the dialect can't say (OpenAI's).
    pub is_error: Option<bool>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMark>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &str) -> ToolCall {
        ToolCall { arguments: arguments.into(), ..ToolCall::default() }
    }

    #[test]
    fn arguments_keep_their_bytes() {
        let odd = r#"{"b": 1.0,  "a":1e2, "big":123456789012345678901234567890}"#;
        assert_eq!(call(odd).arguments_object().expect("an object").get(), odd);
        assert_eq!(call(" ").arguments_object().expect("empty").get(), "{}");
    }

    #[test]
    fn broken_arguments_say_why() {
        assert!(call(r#"{"a":"#).arguments_object().is_err_and(|why| why.contains("not JSON")));
        assert!(call("[1]").arguments_object().is_err_and(|why| why.contains("not a JSON object")));
    }
}
