use serde_json::{Value, json};

use super::super::proto_json::parse;
use super::*;
use crate::canonical::Dialect;

fn read(body: &Value) -> Result<Request, Unreadable> {
    to_canonical(parse(body.to_string().as_bytes())?, "gemini-2.5-pro")
}

fn write(request: &Request, service: Service) -> Value {
    let upstream = Upstream { service, ..Upstream::default() };
    let written = from_canonical(request, upstream, Unsupported::Refuse).expect("expressible").message;
    serde_json::to_value(written).expect("JSON")
}

#[test]
fn three_forms_ask_the_same() {
    let contents = json!([{"role": "user", "parts": [{"text": "q"}]}]);
    let instruction = json!({"parts": [{"text": "s"}]});
    let inner = json!({"contents": contents, "systemInstruction": instruction, "model": "models/other"});
    let whole = read(&json!({"generateContentRequest": inner})).expect("reads");
    let vertex =
        read(&json!({"model": "x", "contents": contents, "system_instruction": instruction})).expect("reads");
    assert_eq!(whole, vertex);
    assert_eq!((whole.model.as_str(), whole.origin), ("gemini-2.5-pro", Dialect::Gemini));
    assert!(read(&json!({"contents": contents})).is_ok());
    let both = read(&json!({"contents": contents, "generateContentRequest": inner})).expect_err("ambiguous");
    assert_eq!(both.field, "generateContentRequest");

    let written = write(&whole, Service::GeminiApi);
    assert_eq!(written["generateContentRequest"]["model"], "models/gemini-2.5-pro");
    assert_eq!(written["generateContentRequest"]["contents"], contents);
    let written = write(&whole, Service::Vertex);
    assert_eq!((&written["contents"], &written["systemInstruction"]), (&contents, &instruction));
    assert_eq!(written.get("generateContentRequest"), None);
}

#[test]
fn the_answer_comes_back() {
    let count = TokenCount { input: 12, cached: Some(4) };
    assert_eq!(response_to_canonical(&response_from_canonical(count)), count);
    let wire: CountTokensResponse =
        parse(br#"{"totalTokens": 3, "promptTokensDetails": []}"#).expect("reads");
    assert_eq!(response_to_canonical(&wire), TokenCount { input: 3, cached: None });
}
