//! From bytes to a message type.

use serde::de::DeserializeOwned;

use crate::canonical::Unreadable;

/// Parses a body.
///
/// # Errors
/// Names the field by its path, such as `messages[2].role`, or says where the body stops being JSON.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| unreadable(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| unreadable(".", &error))?;
    Ok(value)
}

fn unreadable(path: &str, error: &serde_json::Error) -> Unreadable {
    let text = error.to_string();
    if !error.is_data() {
        return Unreadable::new("body", format!("it is not JSON: {text}"));
    }
    // Its position means nothing to someone who sent one line.
    let text = text.split(" at line ").next().unwrap_or_default();
    let field = if path == "." { "body" } else { path };
    Unreadable::new(field, text)
}
