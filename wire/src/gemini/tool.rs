//! Tools and the choice among them: the types.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::proto_json::one_or_many;
use crate::canonical::Extra;

/// A tool: functions of the caller, or, in `extra`, one of Google's own such as `googleSearch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tool {
    /// The caller's functions.
    #[serde(
        alias = "function_declarations",
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub function_declarations: Vec<FunctionDeclaration>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A function of the caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionDeclaration {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its parameters, in the subset of OpenAPI's schemas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Its parameters, as JSON Schema.
    #[serde(alias = "parameters_json_schema", skip_serializing_if = "Option::is_none")]
    pub parameters_json_schema: Option<Value>,
    /// Fields not known here, such as `behavior`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `toolConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolConfig {
    /// Which function to call.
    #[serde(alias = "function_calling_config", skip_serializing_if = "Option::is_none")]
    pub function_calling_config: Option<FunctionCallingConfig>,
    /// Fields not known here, such as `retrievalConfig`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `functionCallingConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionCallingConfig {
    /// `AUTO`, `ANY`, `NONE` or `VALIDATED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The only functions that may be called.
    #[serde(alias = "allowed_function_names", skip_serializing_if = "Vec::is_empty")]
    pub allowed_function_names: Vec<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
