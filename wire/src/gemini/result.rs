//! A tool's result: `functionResponse.response`, an object that by custom holds it in `output`, or in `result` where
//! Google's own client calls the function, and a failure in `error`.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// What results go by.
const RESULT: [&str; 2] = ["output", "result"];

/// The result as text, and whether it failed. What is no such custom's object is the result as a whole.
pub(super) fn read(response: Option<&RawValue>) -> (Option<String>, Option<bool>) {
    let Some(raw) = response else { return (None, None) };
    let whole = || (Some(raw.get().to_owned()), None);
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(raw.get()) else { return whole() };
    let mut fields = object.into_iter();
    match (fields.next(), fields.next()) {
        (Some((key, value)), None) if RESULT.contains(&key.as_str()) => (Some(text(value)), None),
        (Some((key, value)), None) if key == "error" => (Some(text(value)), Some(true)),
        _ => whole(),
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The object for a result: what is an object already keeps its bytes.
pub(super) fn write(text: &str, failed: bool) -> Result<Box<RawValue>, serde_json::Error> {
    if failed {
        return to_raw_value(&json!({"error": text}));
    }
    if let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) {
        // An object that would be taken for a failure, or be taken apart, is wrapped.
        let customary = RESULT.iter().chain(&["error"]).any(|key| object.contains_key(*key));
        if !customary {
            return RawValue::from_string(text.trim().to_owned());
        }
        return to_raw_value(&json!({"output": object}));
    }
    to_raw_value(&json!({"output": text}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(text: &str, failed: bool) -> (Option<String>, Option<bool>) {
        read(Some(&write(text, failed).expect("writes")))
    }

    #[test]
    fn results_come_back() {
        for text in [
            "",
            "sunny",
            "17",
            "[1]",
            r#"{"a": 1.0,  "b":1e2}"#,
            r#"{"error":"x"}"#,
            r#"{"output":1}"#,
            r#"{"result":"x"}"#,
        ] {
            assert_eq!(back(text, false), (Some(text.to_owned()), None), "{text}");
            assert_eq!(back(text, true), (Some(text.to_owned()), Some(true)), "{text}");
        }
    }

    #[test]
    fn an_object_keeps_its_bytes_and_a_text_becomes_output() {
        assert_eq!(write(r#" {"a": 1.0} "#, false).expect("writes").get(), r#"{"a": 1.0}"#);
        assert_eq!(write("sunny", false).expect("writes").get(), r#"{"output":"sunny"}"#);
        assert_eq!(write("down", true).expect("writes").get(), r#"{"error":"down"}"#);
    }

    #[test]
    fn what_other_clients_write_is_the_result() {
        let raw = RawValue::from_string(r#"{"result": "x", "output": "y"}"#.into()).expect("JSON");
        assert_eq!(read(Some(&raw)), (Some(r#"{"result": "x", "output": "y"}"#.into()), None));
        assert_eq!(read(None), (None, None));
        // google-genai escapes what is not ASCII, and a model should read words.
        let raw = RawValue::from_string(r#"{"result": "22.5 \u00b0C"}"#.into()).expect("JSON");
        assert_eq!(read(Some(&raw)), (Some("22.5 °C".into()), None));
    }
}
