use proptest::prelude::*;
use serde_json::{Value, json};

use super::{echo, envelope};
use crate::canonical::{
    Choice, Dialect, FailureClass, Part, Response, Stop, StopReason, Thinking, ToolCall, Unsupported,
};
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::responses::{Echo, response};

fn answer(output: Value, status: &str, fields: Value) -> Value {
    let mut answer = json!({
        "id": "resp_1", "object": "response", "created_at": 7.0, "status": status, "error": null,
        "incomplete_details": null, "model": "m", "output": output, "tools": [], "temperature": 1.0,
    });
    for (name, value) in fields.as_object().cloned().unwrap_or_default() {
        answer[name] = value;
    }
    answer
}

fn read(answer: &Value) -> Response {
    response::read(answer.to_string().as_bytes()).expect("an answer")
}

#[test]
fn a_failed_answer_is_a_failure_and_no_stop() {
    let error = json!({"error": {"code": "rate_limit_exceeded", "message": "m"}});
    let class = |answer: Value| response::read(answer.to_string().as_bytes()).expect_err("a failure").class;
    assert_eq!(class(answer(json!([]), "failed", error.clone())), FailureClass::RateLimited);
    assert_eq!(class(answer(json!([]), "failed", Value::Null)), FailureClass::Upstream);
    assert_eq!(class(answer(json!([]), "in_progress", Value::Null)), FailureClass::Upstream);
    assert_eq!(class(error), FailureClass::RateLimited);
    assert_eq!(response::read(b"<html>").expect_err("no answer").class, FailureClass::Upstream);
}

#[test]
fn ends_are_told_apart() {
    let stop = |status: &str, reason: Value| {
        read(&answer(json!([]), status, json!({"incomplete_details": reason}))).choices.remove(0).stop
    };
    let because = |reason: &str| json!({"reason": reason});
    assert_eq!(stop("completed", Value::Null), Some(Stop::new(StopReason::EndTurn)));
    assert_eq!(stop("incomplete", because("max_output_tokens")), Some(Stop::new(StopReason::MaxTokens)));
    assert_eq!(stop("incomplete", because("content_filter")), Some(Stop::new(StopReason::ContentFilter)));
}

#[test]
fn items_are_parts_in_their_order() {
    let response = read(&answer(
        json!([
            {"type": "reasoning", "id": "rs_1", "summary": [
                {"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "t", "annotations": [], "logprobs": [
                    {"token": "t", "logprob": -0.5, "bytes": [116], "top_logprobs": []}]},
                {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1.0}"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ]),
        "completed",
        json!({"service_tier": "default", "usage": {
            "input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14}}),
    ));
    let choice = &response.choices[0];
    let call = ToolCall {
        id: "c1".into(),
        name: "f".into(),
        arguments: "{\"a\": 1.0}".into(),
        ..ToolCall::default()
    };
    let thinking = Thinking { text: "a\n\nb".into(), signature: None, id: Some("rs_1".into()) };
    assert_eq!(
        choice.parts[..4],
        [Part::Thinking(thinking), Part::text("t"), Part::Refusal("no".into()), Part::ToolCall(call),]
    );
    assert!(matches!(&choice.parts[4], Part::Foreign(part) if part.kind == "web_search_call"));
    assert_eq!(choice.stop, Some(Stop::new(StopReason::ToolUse)));
    assert_eq!(choice.logprobs.as_ref().map(|logprobs| logprobs.content.len()), Some(1));
    assert_eq!(response.created, Some(7));
    let usage = response.usage.expect("usage");
    assert_eq!((usage.input_uncached, usage.cache_read, usage.output_visible, usage.reasoning), (5, 4, 3, 2));
    let foreign: Vec<String> = response.foreign.iter().map(|field| field.path()).collect();
    assert_eq!(foreign, ["service_tier"], "what only repeats the request is no news");
}

#[test]
fn an_answer_repeats_its_request_and_says_that_nothing_is_stored() {
    let request = json!({"model": "m", "input": "x", "instructions": "i", "temperature": 0.5,
        "tools": [{"type": "function", "name": "f"}], "metadata": {"k": "v"}});
    let request: ResponsesRequest = serde_json::from_value(request).expect("parses");
    let response = Response {
        origin: Dialect::Anthropic,
        id: "msg".into(),
        created: None,
        model: "up".into(),
        choices: vec![Choice {
            index: 0,
            parts: vec![Part::text("hi")],
            stop: Some(Stop::new(StopReason::MaxTokens)),
            logprobs: None,
        }],
        usage: None,
        foreign: Vec::new(),
    };
    let written = response::from_canonical(&response, &envelope(), Echo::of(&request), Unsupported::Refuse);
    let answer = json!(written.expect("expressible").message);
    for (name, value) in [
        ("id", json!("resp_1")),
        ("status", json!("incomplete")),
        ("incomplete_details", json!({"reason": "max_output_tokens"})),
        ("previous_response_id", Value::Null),
        ("instructions", json!("i")),
        ("temperature", json!(0.5)),
        ("tools", json!([{"type": "function", "name": "f"}])),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
        ("metadata", json!({"k": "v"})),
    ] {
        assert_eq!(answer[name], value, "{name}");
    }
    let item = &answer["output"][0];
    assert!(item["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "{item}");
    assert_eq!(
        item["content"],
        json!([{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}])
    );
}

#[test]
fn a_second_answer_that_nobody_asked_for_is_left_out() {
    let choice = |index| Choice {
        index,
        parts: vec![Part::text("hi")],
        stop: Some(Stop::new(StopReason::EndTurn)),
        logprobs: None,
    };
    let response = Response {
        origin: Dialect::OpenAiChat,
        id: String::new(),
        created: None,
        model: String::new(),
        choices: vec![choice(0), choice(1)],
        usage: None,
        foreign: Vec::new(),
    };
    let written = response::from_canonical(&response, &envelope(), echo(), Unsupported::Refuse).expect("one");
    assert_eq!((written.message.output.len(), written.dropped), (1, vec!["choices[1]".to_owned()]));
}

fn item() -> impl Strategy<Value = Value> {
    let text = "[a-z €😀]{1,12}";
    let token = json!({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
        {"token": "b", "logprob": -1.5, "bytes": null}]});
    let citation =
        json!({"type": "url_citation", "start_index": 0, "end_index": 1, "url": "u", "title": "t"});
    let part = prop_oneof![
        text.prop_map(|text| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})),
        text.prop_map(move |text| {
            json!({"type": "output_text", "text": text, "annotations": [citation.clone()], "logprobs": []})
        }),
        text.prop_map(|why| json!({"type": "refusal", "refusal": why})),
    ];
    let last = text.prop_map(move |text| {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": [token.clone()]})
    });
    prop_oneof![
        (proptest::collection::vec(part, 0..3), last).prop_map(|(mut content, last)| {
            content.push(last);
            json!({"type": "message", "status": "completed", "role": "assistant", "content": content})
        }),
        (text, text).prop_map(|(text, data)| {
            let summary = json!([{"type": "summary_text", "text": text}]);
            json!({"type": "reasoning", "summary": summary, "encrypted_content": data})
        }),
        text.prop_map(|data| json!({"type": "reasoning", "summary": [], "encrypted_content": data})),
        "[a-z0-9]{1,8}".prop_map(|id| {
            json!({"type": "function_call", "status": "completed", "call_id": id, "name": "f", "arguments": "{\"a\": 1.0}"})
        }),
    ]
}

fn without_ids(mut output: Value) -> Value {
    for item in output.as_array_mut().expect("a list") {
        item.as_object_mut().expect("an item").shift_remove("id");
    }
    output
}

proptest! {
    /// Items come back but for their ids, which name nothing where nothing is stored. Log probabilities are kept for
    /// the whole answer, so they stand at its last text; one message has them here.
    #[test]
    fn an_answer_comes_back(items in proptest::collection::vec(item(), 0..5)) {
        let messages = items.iter().filter(|item| item["type"] == "message").count();
        prop_assume!(messages <= 1);
        let given = answer(json!(items), "completed", Value::Null);
        let response = read(&given);
        let back = response::from_canonical(&response, &envelope(), echo(), Unsupported::Refuse).expect("its own");
        prop_assert_eq!(without_ids(json!(back.message.output)), given["output"].clone());
    }
}
