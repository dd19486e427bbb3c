//! What is read of a body, and what changes in one that passes.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::gemini::Framing;
use crate::lane::tests::{PROFILE, upstreams};

fn at(operation: Operation) -> Door<'static> {
    let in_path = operation.dialect() == crate::canonical::Dialect::Gemini;
    Door { operation, model_in_path: in_path.then_some(Cow::Borrowed("m")) }
}

/// The upstream that takes each operation as it comes.
fn native(operation: Operation) -> Speaks {
    upstreams().into_iter().find(|speaks| speaks.takes(operation)).expect("someone takes it")
}

fn apply(text: &str, body: &Body) -> String {
    match body {
        Body::Edited(edits) => String::from_utf8(splice(text, edits)).expect("UTF-8"),
        Body::Written(bytes) => String::from_utf8(bytes.clone()).expect("UTF-8"),
    }
}

fn sent(operation: Operation, text: &str, model: &str, set: &[(&str, Value)]) -> String {
    let inbound = read(&at(operation), text.as_bytes()).expect("reads");
    let outbound = inbound.outbound(&native(operation), model, Unsupported::Refuse, set).expect("a way");
    assert!(matches!(outbound.body, Body::Edited(_)), "{operation} is not written anew");
    assert!(outbound.dropped.is_empty() && !outbound.lane.translates());
    apply(text, &outbound.body)
}

fn rewritten(body: &str, model: &str) -> String {
    sent(Operation::ChatCompletions, body, model, &[])
}

#[test]
fn only_the_model_changes() {
    let body = "{ \"z\" : 1.50e2,\n\t\"model\":  \"a\" , \"\\u006d\": [ ], \"a\":\"\\ud83d\\ude00\" }";
    assert_eq!(rewritten(body, "b\"c"), body.replace("\"a\" ,", "\"b\\\"c\" ,"));
    assert_eq!(rewritten(body, "a"), body);
    let escaped = r#"{"model":"\u0061"}"#;
    assert_eq!(rewritten(escaped, "a"), escaped, "another spelling of the name is the name");
}

#[test]
fn usage_is_asked_for_in_streams_only() {
    assert_eq!(rewritten(r#"{"model":"m"}"#, "m"), r#"{"model":"m"}"#);
    for (given, expected) in [
        (r#""stream":true"#, r#""stream":true,"stream_options":{"include_usage":true}"#),
        (
            r#""stream_options":null,"stream":true"#,
            r#""stream_options":{"include_usage":true},"stream":true"#,
        ),
        (r#""stream":true,"stream_options":{ }"#, r#""stream":true,"stream_options":{"include_usage":true}"#),
        (
            r#""stream":true,"stream_options":{ "x":1}"#,
            r#""stream":true,"stream_options":{"include_usage":true, "x":1}"#,
        ),
        (
            r#""stream":true,"stream_options":{"include_usage": false}"#,
            r#""stream":true,"stream_options":{"include_usage": true}"#,
        ),
        (
            r#""stream":true,"stream_options":{"include_usage":true}"#,
            r#""stream":true,"stream_options":{"include_usage":true}"#,
        ),
    ] {
        let (given, expected) =
            (format!("{{{given},\"model\":\"m\"}}"), format!("{{{expected},\"model\":\"m\"}}"));
        assert_eq!(rewritten(&given, "m"), expected);
        assert_eq!(sent(Operation::Completions, &given, "m", &[]), expected);
        // Others say their usage anyway, and know no such option.
        for operation in [Operation::Responses, Operation::Messages, Operation::Embeddings, Operation::Rerank]
        {
            assert_eq!(sent(operation, &given, "m", &[]), given, "{operation}");
        }
    }
}

#[test]
fn bad_requests_name_the_field() {
    let refused = |operation, body: &str| read(&at(operation), body.as_bytes()).expect_err("must be refused");
    let chat = |body: &str| refused(Operation::ChatCompletions, body);
    assert_eq!(chat(r#"{"messages":[]}"#).param.as_deref(), Some("model"));
    assert_eq!(chat(r#"{"model":7}"#).param.as_deref(), Some("model"));
    assert_eq!(chat(r#"{"model":"m","stream":"yes"}"#).param.as_deref(), Some("stream"));
    assert_eq!(chat(r#"{"model":"m","stream_options":7}"#).param.as_deref(), Some("stream_options"));
    let option = chat(r#"{"model":"m","stream_options":{"include_usage":1}}"#);
    assert_eq!(option.param.as_deref(), Some("stream_options.include_usage"));
    let option = chat(r#"{"model":"m","stream_options":{"include_usage":true,"include_usage":true}}"#);
    assert_eq!(option.param.as_deref(), Some("stream_options.include_usage"));
    for twice in [r#"{"model":"a","model":"b"}"#, r#"{"model":"a","\u006dodel":"b"}"#] {
        let failure = refused(Operation::Messages, twice);
        assert_eq!(failure.param.as_deref(), Some("model"));
        assert!(failure.message.contains("twice"), "{failure}");
    }
    assert_eq!(refused(Operation::Messages, r#"{"model":"m","stream":1}"#).param.as_deref(), Some("stream"));
    let batch = refused(Operation::BatchEmbedContents, r#"{"requests":[{"model":"m"},{"model":7}]}"#);
    assert_eq!(batch.param.as_deref(), Some("requests[1].model"));
    let inner = refused(Operation::CountTokens, r#"{"generateContentRequest":[]}"#);
    assert_eq!(inner.param.as_deref(), Some("generateContentRequest"));
    assert_eq!(chat("[]").code, None);
    for broken in ["{", r#"{"model":"m"}x"#, ""] {
        assert_eq!(chat(broken).code.as_deref(), Some("invalid_json"));
        assert_eq!(chat(broken).class, FailureClass::BadRequest);
    }
    let latin = read(&at(Operation::Messages), b"{\"model\":\"\xe9\"}").expect_err("no UTF-8");
    assert!(latin.message.contains("byte 10"), "{latin}");
}

#[test]
fn deep_nesting_is_refused_wherever_it_is() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (operation, body) in [
        (Operation::ChatCompletions, format!(r#"{{"model":"m","x":{deep}}}"#)),
        (Operation::Messages, format!(r#"{{"model":"m","x":[{{"y":{deep}}}]}}"#)),
        (Operation::ChatCompletions, format!(r#"{{"model":"m","stream_options":{deep}}}"#)),
        (Operation::ChatCompletions, format!(r#"{{"model":"m","stream_options":{{"x":{deep}}}}}"#)),
        (Operation::Responses, format!(r#"{{"model":{deep}}}"#)),
        (Operation::GenerateContent, format!(r#"{{"contents":{deep}}}"#)),
        (Operation::CountTokens, format!(r#"{{"generateContentRequest":{{"contents":{deep}}}}}"#)),
        (Operation::BatchEmbedContents, format!(r#"{{"requests":{deep}}}"#)),
        (Operation::BatchEmbedContents, format!(r#"{{"requests":[{{"x":{deep}}}]}}"#)),
    ] {
        let failure = read(&at(operation), body.as_bytes()).expect_err("must be refused");
        assert_eq!(failure.class, FailureClass::BadRequest, "{operation}");
    }
}

#[test]
fn gemini_names_its_model_in_the_path_and_may_repeat_it() {
    let door = at(Operation::CountTokens);
    let text = r#"{"generate_content_request":{"model":"models/a","contents":[]}, "x":1}"#;
    let inbound = read(&door, text.as_bytes()).expect("reads");
    assert_eq!(inbound.model(), "m", "the path's word is the one that is routed");
    let expected = text.replace("models/a", "models/up");
    assert_eq!(sent(Operation::CountTokens, text, "up", &[]), expected);
    let batch = r#"{"requests":[{"model":"models/a"},{"model":"a"},{}]}"#;
    let expected = r#"{"requests":[{"model":"models/up"},{"model":"up"},{}]}"#;
    assert_eq!(sent(Operation::BatchEmbedContents, batch, "up", &[]), expected);
    let one = r#"{"requests":{"model":"models/a"}}"#;
    assert_eq!(sent(Operation::BatchEmbedContents, one, "models/up", &[]), one.replace("/a", "/up"));
    let stream = Operation::StreamGenerateContent { framing: Framing::Sse };
    let inbound = read(&at(stream), b"{}").expect("reads");
    assert!(inbound.stream() && inbound.include_usage());
    assert!(!read(&at(Operation::GenerateContent), br#"{"stream":true}"#).expect("reads").stream());
}

#[test]
fn fields_are_set_in_either_lane() {
    let set = [("store", json!(false)), ("inference_geo", json!("us"))];
    let text = r#"{"model":"m", "store" : true,"messages":[{"role":"user","content":"q"}],"max_tokens":9}"#;
    let expected = r#"{"inference_geo":"us","model":"up", "store" : false,"messages":[{"role":"user","content":"q"}],"max_tokens":9}"#;
    assert_eq!(sent(Operation::ChatCompletions, text, "up", &set), expected);
    let text = text.replace(r#" "store" : true,"#, "");
    let inbound = read(&at(Operation::ChatCompletions), text.as_bytes()).expect("reads");
    let outbound = inbound
        .outbound(&Speaks::anthropic(PROFILE), "up", Unsupported::Refuse, &[("inference_geo", json!("us"))])
        .expect("translated");
    let Body::Written(body) = outbound.body else { panic!("written anew") };
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&body["inference_geo"], &body["model"]), (&json!("us"), &json!("up")));
    let own = inbound.outbound(&Speaks::engine(), "up", Unsupported::Refuse, &[("model", json!("x"))]);
    assert_eq!(own.expect_err("the lane's own").class, FailureClass::Internal);
    let twice = br#"{"model":"m","store":true,"store":true}"#;
    let inbound = read(&at(Operation::ChatCompletions), twice).expect("reads");
    let refused = inbound.outbound(&Speaks::engine(), "up", Unsupported::Refuse, &set).expect_err("twice");
    assert_eq!(refused.param.as_deref(), Some("store"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\€😀\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{0,6}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Every operation that somebody takes as it comes, and whether its body names the model.
const OPERATIONS: [(Operation, bool); 12] = [
    (Operation::ChatCompletions, true),
    (Operation::Completions, true),
    (Operation::Responses, true),
    (Operation::Embeddings, true),
    (Operation::Rerank, true),
    (Operation::Messages, true),
    (Operation::CountMessageTokens, true),
    (Operation::GenerateContent, false),
    (Operation::StreamGenerateContent { framing: Framing::Array }, false),
    (Operation::CountTokens, false),
    (Operation::EmbedContent, true),
    (Operation::BatchEmbedContents, false),
];

proptest! {
    #[test]
    fn a_raw_request_differs_in_the_edited_values_only(
        before in proptest::collection::vec(("x[a-z]{0,6}", any_json()), 0..4),
        after in proptest::collection::vec(("y[a-z]{0,6}", any_json()), 0..4),
        old in "[a-z\"€/]{1,8}", new in "[a-z\"€/]{1,8}", stream: bool, pretty: bool,
        chosen in 0..OPERATIONS.len(), geo in proptest::option::of("[a-z]{2}"),
    ) {
        let (operation, named) = OPERATIONS[chosen];
        prop_assume!(!old.starts_with("models/"));
        let mut object = Map::new();
        object.extend(before);
        if named {
            object.insert("model".into(), json!(old));
        }
        object.insert("stream".into(), json!(stream));
        object.extend(after);
        let text = |object: &Map<String, Value>| {
            if pretty { serde_json::to_string_pretty(object) } else { serde_json::to_string(object) }.expect("writes")
        };
        let set: Vec<(&str, Value)> = geo.iter().map(|geo| ("inference_geo", json!(geo))).collect();
        let out = sent(operation, &text(&object), &new, &set);
        // The same bytes, but for what was asked.
        let mut expected = object.clone();
        if named {
            expected.insert("model".into(), json!(new));
        }
        let mut expected = text(&expected);
        if stream && matches!(operation, Operation::ChatCompletions | Operation::Completions) {
            let (said, then) = if pretty {
                ("\"stream\": true", r#","stream_options":{"include_usage":true}"#)
            } else {
                ("\"stream\":true", r#","stream_options":{"include_usage":true}"#)
            };
            let after = expected.rfind(said).map(|at| at + said.len()).expect("it streams");
            expected.insert_str(after, then);
        }
        if let Some(geo) = geo {
            expected.insert_str(1, &format!(r#""inference_geo":"{geo}","#));
        }
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64), chosen in 0..OPERATIONS.len()) {
        let _ = read(&at(OPERATIONS[chosen].0), &bytes);
    }
}
