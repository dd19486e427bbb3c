//! From bytes to a request type, or to an error that a caller can act on.

use serde::de::DeserializeOwned;

use super::ApiError;

/// Parses a request body.
///
/// # Errors
/// A 400 in OpenAI's shape. Invalid JSON says where; a bad value has the field's path in `param` (such as
/// `messages[2].role`). JSON nested deeper than 128 is refused (serde_json's own limit).
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refusal(&path, error.inner())
    })?;
    json.end().map_err(|error| refusal(".", &error))?;
    Ok(value)
}

fn refusal(path: &str, error: &serde_json::Error) -> ApiError {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => {
            // serde_json adds a position that means nothing to someone who sent one line.
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let inside = (path != ".").then_some(path);
            match (missing_field(text), inside) {
                (Some(field), None) => missing(field, field),
                (Some(field), Some(path)) => missing(&format!("{path}.{field}"), field),
                (None, None) => ApiError::invalid_request(None, text),
                (None, Some(path)) => ApiError::invalid_request(Some(path), &format!("`{path}`: {text}")),
            }
        }
        Category::Io | Category::Syntax | Category::Eof => ApiError::invalid_json(&error.to_string()),
    }
}

fn missing(param: &str, field: &str) -> ApiError {
    let fix = match field {
        "model" => "name the model to use",
        "messages" => r#"give the conversation, such as [{"role": "user", "content": "Hello"}]"#,
        "prompt" => "give the text to go on from",
        "input" => "give the text, or a list of texts, to embed",
        "query" => "give the question that documents are to answer",
        "documents" => "give the list of texts to rank",
        "role" => "say who speaks, such as \"user\"",
        _ => "add it",
    };
    ApiError::invalid_request(Some(param), &format!("`{param}` is missing: {fix}."))
}

fn missing_field(text: &str) -> Option<&str> {
    text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
}

#[cfg(test)]
mod tests {
    use super::super::chat::ChatCompletionRequest;
    use super::super::completion::CompletionRequest;
    use super::*;

    fn refused(body: &str) -> ApiError {
        parse::<ChatCompletionRequest>(body.as_bytes()).expect_err("must be refused")
    }

    fn with(field: &str) -> String {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{field}}}"#)
    }

    #[test]
    fn integers_out_of_range_name_the_field_and_the_range() {
        for bad in ["-1", "0", "9223372036854775808", "1e300", "1.5", "18446744073709551616"] {
            let error = refused(&with(&format!(r#""max_tokens":{bad}"#)));
            assert_eq!(error.body.error.param.as_deref(), Some("max_tokens"), "{bad}");
            assert!(
                error.body.error.message.contains("from 1 to 4294967295"),
                "{}",
                error.body.error.message
            );
            assert_eq!(error.status, 400);
        }
        assert!(parse::<ChatCompletionRequest>(with(r#""max_tokens":4294967295"#).as_bytes()).is_ok());
        assert!(parse::<ChatCompletionRequest>(with(r#""max_tokens":null"#).as_bytes()).is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_type_names_the_field() {
        let error = refused(&with(r#""temperature":"hot""#));
        assert_eq!(error.body.error.param.as_deref(), Some("temperature"));
        let error = refused(r#"{"model":"m","messages":[{"role":"robot","content":"x"}]}"#);
        assert_eq!(error.body.error.param.as_deref(), Some("messages[0].role"));
        let error = refused(r#"{"model":"m","messages":[{"role":"user","content":7}]}"#);
        assert_eq!(error.body.error.param.as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn a_missing_field_is_named_with_the_fix() {
        for (body, param, fix) in [
            (r#"{"messages":[]}"#, "model", "`model` is missing: name the model"),
            (r#"{"model":"m"}"#, "messages", "`messages` is missing: give the conversation"),
            (
                r#"{"model":"m","messages":[{"content":"x"}]}"#,
                "messages[0].role",
                "is missing: say who speaks",
            ),
        ] {
            let error = refused(body).body.error;
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
            assert!(error.message.contains(fix), "{}", error.message);
        }
        let error = parse::<CompletionRequest>(br#"{"model":"m"}"#).expect_err("no prompt").body.error;
        assert_eq!(error.param.as_deref(), Some("prompt"));
        assert!(error.message.contains("give the text"), "{}", error.message);
    }

    #[test]
    fn nesting_is_limited_in_unknown_fields_too() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let error = refused(&with(&format!(r#""x":{deep}"#)));
        assert!(error.body.error.message.contains("recursion limit"), "{}", error.body.error.message);
    }

    #[test]
    fn text_after_the_object_is_refused() {
        assert_eq!(refused(&(with(r#""n":1"#) + "x")).body.error.code.as_deref(), Some("invalid_json"));
        assert_eq!(refused("").status, 400);
    }
}
