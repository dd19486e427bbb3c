//! Strictness where no CRD says how: `metadata`, and Secrets, which are Kubernetes' own types.

use k8s_openapi::ByteString;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of one of Kubernetes' own types, with everything it names put in its place.
pub fn schema_of<T: JsonSchema>() -> JSONSchemaProps {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    // Both sides are OpenAPI's; a schema that could not be read would know no field and let all through, which the
    // tests of this folder would see.
    serde_json::from_value(schema.to_value()).unwrap_or_default()
}

/// Drops what is null: for its own types the apiserver takes it as absent, and `kubectl create --dry-run` writes it.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Keys of a Secret whose values are not what `data` holds. No value is repeated.
pub fn not_base64(secret: &Value) -> Vec<String> {
    let data = secret.pointer("/data").and_then(Value::as_object);
    data.into_iter()
        .flatten()
        .filter(|(_, value)| serde_json::from_value::<ByteString>((*value).clone()).is_err())
        .map(|(key, _)| format!("data.{key}: is not base64: encode it, or write it as text under stringData"))
        .collect()
}
