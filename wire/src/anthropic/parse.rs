//! From bytes to a message type, or to a failure that a caller can act on.

use serde::de::DeserializeOwned;

use crate::canonical::{Failure, FailureClass};

/// Parses a body.
///
/// # Errors
/// A [`FailureClass::BadRequest`] that names the field by its path, such as `messages[2].role`, or says where the
/// body stops being JSON.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| refusal(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| refusal(".", &error))?;
    Ok(value)
}

fn refusal(path: &str, error: &serde_json::Error) -> Failure {
    if !error.is_data() {
        return Failure::new(FailureClass::BadRequest, format!("the body is not JSON: {error}"));
    }
    let text = without_position(error);
    let (param, message) = match (missing_field(&text), path) {
        (Some(field), ".") => (field.to_owned(), format!("`{field}` is missing: add it")),
        (Some(field), path) => (format!("{path}.{field}"), format!("`{path}.{field}` is missing: add it")),
        (None, ".") => return Failure::new(FailureClass::BadRequest, text),
        (None, path) => (path.to_owned(), format!("`{path}`: {text}")),
    };
    let mut failure = Failure::new(FailureClass::BadRequest, message);
    failure.param = Some(param);
    failure
}

/// The error without its position, which means nothing to someone who sent one line.
pub(super) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn missing_field(text: &str) -> Option<&str> {
    text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
}

#[cfg(test)]
mod tests {
    use super::super::request::MessagesRequest;
    use super::*;

    fn refused(body: &str) -> Failure {
        parse::<MessagesRequest>(body.as_bytes()).expect_err("must be refused")
    }

    #[test]
    fn a_bad_field_is_named_by_its_path() {
        for (body, param, word) in [
            (r#"{"messages":[]}"#, "model", "missing"),
            (r#"{"model":"m","messages":[{"content":"a"}]}"#, "messages[0].role", "missing"),
            (r#"{"model":"m","messages":[],"max_tokens":-1}"#, "max_tokens", "-1"),
            (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, "messages[0].content", "string"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
                "messages[0].content[0].text",
                "missing",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"text":"a"}]}]}"#,
                "messages[0].content[0].type",
                "missing",
            ),
        ] {
            let failure = refused(body);
            assert_eq!(failure.param.as_deref(), Some(param), "{}", failure.message);
            assert!(failure.message.contains(word), "{}", failure.message);
            assert_eq!(failure.class, FailureClass::BadRequest);
        }
    }

    #[test]
    fn what_is_not_json_says_so() {
        for body in ["", "{", "{} x", r#"{"model":"m","messages":[]} []"#] {
            assert!(!refused(body).message.is_empty());
        }
        assert!(refused("{").message.contains("not JSON"));
    }

    /// A block is read from its raw text, so the depth of what nests in it must be limited there too.
    #[test]
    fn nesting_is_limited_everywhere() {
        let nested = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
        for deep in [
            nested(r#"{"type":"tool_result","tool_use_id":"a","content":["#, "]}"),
            format!(r#"{{"type":"novel","x":{}}}"#, nested("[", "]")),
            format!(r#"{{"type":"text","text":"a","x":{}}}"#, nested("[", "]")),
        ] {
            refused(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{deep}]}}]}}"#));
        }
    }
}
