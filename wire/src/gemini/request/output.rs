//! The answer's form: `responseMimeType`, `responseSchema` and `responseJsonSchema`.

use serde_json::Value;

use super::super::generation_config::GenerationConfig;
use super::super::schema::{from_json_schema, to_json_schema};
use super::super::service::SchemaForm;
use crate::canonical::{Field, ForeignField, Inexpressible, Losses, OutputFormat};

const JSON: &str = "application/json";

/// Reads the three fields. A media type that other dialects lack (`text/x.enum`) goes to `foreign`.
pub(super) fn read(
    mime_type: Option<String>,
    schema: Option<Value>,
    json_schema: Option<Value>,
    foreign: &mut Vec<ForeignField>,
) -> Option<OutputFormat> {
    let schema =
        json_schema.or_else(|| schema.as_ref().map(to_json_schema)).filter(|schema| !schema.is_null());
    match (mime_type.as_deref(), schema) {
        (None | Some(JSON), Some(schema)) => {
            Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
        }
        (Some(JSON), None) => Some(OutputFormat::JsonObject),
        (Some("text/plain"), None) => Some(OutputFormat::Text),
        (None, None) => None,
        (Some(other), schema) => {
            let mut keep = |name: &str, value: Value| {
                foreign.push(ForeignField { parent: "generationConfig".into(), name: name.into(), value });
            };
            keep("responseMimeType", other.into());
            if let Some(schema) = schema {
                keep("responseJsonSchema", schema);
            }
            None
        }
    }
}

/// Writes `format` into `config`.
pub(super) fn write(
    format: &OutputFormat,
    form: SchemaForm,
    config: &mut GenerationConfig,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    match format {
        OutputFormat::Text => config.response_mime_type = Some("text/plain".to_owned()),
        OutputFormat::JsonObject => config.response_mime_type = Some(JSON.to_owned()),
        // Gemini needs no name, and always holds to the schema.
        OutputFormat::JsonSchema { name: _, description, schema, strict: _ } => {
            config.response_mime_type = Some(JSON.to_owned());
            let mut schema = schema.clone();
            if let (Some(description), Value::Object(schema)) = (description, &mut schema) {
                schema.entry("description").or_insert_with(|| description.as_str().into());
            }
            match form {
                SchemaForm::Json => config.response_json_schema = Some(schema),
                SchemaForm::OpenApi => {
                    let path = Field::OutputFormat.name(losses.origin());
                    config.response_schema = Some(from_json_schema(&schema, path, losses)?);
                }
            }
        }
    }
    Ok(())
}
