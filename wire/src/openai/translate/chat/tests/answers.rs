use proptest::prelude::*;
use serde_json::{Value, json};

use super::{envelope, mint};
use crate::canonical::{
    Choice, Citation, CitationSource, Dialect, FailureClass, Location, Part, Provider, RedactedThinking,
    Response, Signature, Span, Stop, StopReason, Text, Thinking, ToolCall, Unsupported,
};
use crate::openai::translate::chat::{request, response};

fn answer(message: Value, finish: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
    })
}

fn read(answer: &Value) -> Response {
    response::read(answer.to_string().as_bytes(), &mut mint()).expect("an answer")
}

fn canonical(origin: Dialect, parts: Vec<Part>, reason: StopReason) -> Response {
    Response {
        origin,
        id: "x".into(),
        created: None,
        model: "up".into(),
        choices: vec![Choice { index: 0, parts, stop: Some(Stop::new(reason)), logprobs: None }],
        usage: None,
        foreign: Vec::new(),
    }
}

fn written(response: &Response) -> Value {
    json!(response::from_canonical(response, &envelope(), Unsupported::Refuse).expect("expressible").message)
}

#[test]
fn an_error_under_200_is_a_failure() {
    for body in [
        r#"{"error":{"message":"m","code":429}}"#,
        r#"{"id":"i","object":"o","created":1,"model":"m","choices":[],"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
    ] {
        let failure = response::read(body.as_bytes(), &mut mint()).expect_err("an error");
        assert_eq!(failure.class, FailureClass::RateLimited);
    }
    assert_eq!(response::read(b"<html>", &mut mint()).expect_err("no answer").class, FailureClass::Upstream);
}

#[test]
fn calls_without_id_get_one_and_end_in_tool_use() {
    let call = json!({"function": {"name": "f", "arguments": {"a": 1}}});
    let response = read(&answer(json!({"role": "assistant", "content": "", "tool_calls": [call]}), "stop"));
    let [Part::ToolCall(call)] = response.choices[0].parts.as_slice() else { panic!("one call") };
    assert!(call.id.starts_with("call_"), "{}", call.id);
    assert_eq!(call.arguments, r#"{"a":1}"#);
    assert_eq!(response.choices[0].stop, Some(Stop::new(StopReason::ToolUse)));
}

/// Through a client that sends back what it got, thinking, its signatures and a call's signature come back byte for
/// byte, and in their order.
#[test]
fn signatures_survive_a_client() {
    let signature = |provider, data: &str| Some(Signature { provider, data: data.into() });
    let parts = vec![
        Part::Thinking(Thinking {
            text: "a".into(),
            signature: signature(Provider::Anthropic, "s+/="),
            id: None,
        }),
        Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data: "d==".into() }),
        Part::Text(Text {
            text: "t".into(),
            signature: signature(Provider::Gemini, "dGV4dA=="),
            ..Text::default()
        }),
        Part::ToolCall(ToolCall {
            id: "c1".into(),
            name: "f".into(),
            arguments: "{\"a\": 1.0}".into(),
            signature: signature(Provider::Gemini, "Y2FsbA=="),
            cache: None,
        }),
        Part::Thinking(Thinking {
            text: String::new(),
            signature: signature(Provider::OpenAi, "e"),
            id: Some("rs".into()),
        }),
    ];
    let answer = written(&canonical(Dialect::Gemini, parts.clone(), StopReason::ToolUse));
    let message = answer.pointer("/choices/0/message").expect("a message");
    let body = json!({"model": "m", "messages": [message]});
    let back = request::to_canonical(serde_json::from_value(body).expect("parses")).expect("makes sense");
    assert_eq!(back.turns[0].parts, parts);
}

#[test]
fn citations_count_in_characters_of_the_whole_text() {
    let web = |span| Citation {
        span,
        source: CitationSource::Web { url: "u".into(), title: Some("t".into()) },
        cited_text: None,
        foreign: None,
    };
    let text = |text: &str, citation| {
        Part::Text(Text { text: text.into(), citations: vec![citation], ..Text::default() })
    };
    let parts = vec![text("€uro", web(None)), text("abc", web(Some(Span { start: 1, end: 2 })))];
    let answer = written(&canonical(Dialect::Anthropic, parts, StopReason::EndTurn));
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "€uroabc");
    let span = |index: usize| {
        let citation = &message["annotations"][index]["url_citation"];
        (citation["start_index"].as_u64(), citation["end_index"].as_u64())
    };
    assert_eq!((span(0), span(1)), ((Some(0), Some(4)), (Some(5), Some(6))));
}

#[test]
fn an_answer_is_not_refused_for_its_sources() {
    let document = Citation {
        span: None,
        source: CitationSource::Document {
            index: 0,
            title: None,
            location: Location::Pages(Span { start: 1, end: 2 }),
        },
        cited_text: None,
        foreign: None,
    };
    let cited = Part::Text(Text { text: "a".into(), citations: vec![document], ..Text::default() });
    let response = canonical(Dialect::Anthropic, vec![Part::text("x"), cited], StopReason::EndTurn);
    let dropped = response::from_canonical(&response, &envelope(), Unsupported::Refuse).expect("written");
    assert_eq!(dropped.dropped, ["content[1].citations"]);
    assert_eq!(dropped.message.choices[0].message.content.as_deref(), Some("xa"));
}

#[test]
fn reasons_have_openais_words() {
    for (reason, word) in [
        (StopReason::EndTurn, "stop"),
        (StopReason::StopSequence, "stop"),
        (StopReason::MaxTokens, "length"),
        (StopReason::ContextFull, "length"),
        (StopReason::ToolUse, "tool_calls"),
        (StopReason::Refusal, "content_filter"),
        (StopReason::ContentFilter, "content_filter"),
        (StopReason::Pause, "stop"),
        (StopReason::Other("RECITATION".into()), "stop"),
    ] {
        let answer = written(&canonical(Dialect::Gemini, vec![], reason));
        assert_eq!(answer["choices"][0]["finish_reason"], word);
        assert_eq!(
            answer["choices"][0]["message"]["content"], "",
            "an answer without a word is empty, not null"
        );
    }
}

#[test]
fn a_servers_remarks_pass_or_are_reported_and_never_withhold_an_answer() {
    let mut given = answer(json!({"role": "assistant", "content": "a", "refusal": null}), "stop");
    given["service_tier"] = json!("flex");
    given["system_fingerprint"] = json!("fp");
    given["choices"][0]["content_filter_results"] = json!({"hate": 0});
    given["choices"][0]["message"]["provider_specific"] = json!(1);
    let response = read(&given);
    let translated = response::from_canonical(&response, &envelope(), Unsupported::Refuse).expect("whole");
    assert_eq!(translated.dropped, Vec::<String>::new());
    let choice = &translated.message.choices[0];
    assert_eq!(choice.extra.get("content_filter_results"), Some(&json!({"hate": 0})));
    assert_eq!(choice.message.extra.get("provider_specific"), Some(&json!(1)));
    assert_eq!(translated.message.system_fingerprint.as_deref(), Some("fp"));
    assert_eq!(translated.message.extra.get("service_tier"), Some(&json!("flex")));
}

fn message() -> impl Strategy<Value = (Value, &'static str)> {
    let text = "[a-z €😀]{1,12}";
    let call = ("[a-z0-9]{1,6}", prop_oneof![Just("{}"), Just("{ \"a\":1.0}")]).prop_map(|(id, arguments)| {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
    });
    let calls = proptest::collection::vec(call, 1..4);
    prop_oneof![
        text.prop_map(|text| (json!({"role": "assistant", "content": text, "refusal": null}), "stop")),
        text.prop_map(|text| (json!({"role": "assistant", "content": text, "refusal": null}), "length")),
        Just((json!({"role": "assistant", "content": "", "refusal": null}), "content_filter")),
        text.prop_map(|why| (json!({"role": "assistant", "content": null, "refusal": why}), "stop")),
        (text, text).prop_map(|(text, why)| {
            (json!({"role": "assistant", "content": text, "refusal": null, "reasoning_content": why}), "stop")
        }),
        (text, calls.clone()).prop_map(|(text, calls)| {
            (
                json!({"role": "assistant", "content": text, "refusal": null, "tool_calls": calls}),
                "tool_calls",
            )
        }),
        calls.prop_map(|calls| {
            (
                json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": calls}),
                "tool_calls",
            )
        }),
        text.prop_map(|text| {
            let citation = json!({"start_index": 0, "end_index": 1, "title": "t", "url": "u"});
            let annotations = json!([{"type": "url_citation", "url_citation": citation}]);
            let message =
                json!({"role": "assistant", "content": text, "refusal": null, "annotations": annotations});
            (message, "stop")
        }),
        text.prop_map(|text| (
            json!({"role": "assistant", "content": text, "refusal": null}),
            "word_of_tomorrow"
        )),
    ]
}

proptest! {
    #[test]
    fn an_answer_comes_back(messages in proptest::collection::vec(message(), 1..4), with_logprobs in any::<bool>()) {
        let top = json!([{"token": "b", "logprob": -1.5, "bytes": null}]);
        let token = json!([{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top}]);
        let logprobs = json!({"content": token, "refusal": null});
        let choices: Vec<Value> = messages.iter().enumerate().map(|(index, (message, reason))| json!({
            "index": index, "message": message, "finish_reason": reason,
            "logprobs": if with_logprobs { logprobs.clone() } else { Value::Null },
        })).collect();
        let given = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m", "choices": choices,
            "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
                      "prompt_tokens_details": {"cached_tokens": 4},
                      "completion_tokens_details": {"reasoning_tokens": 2, "accepted_prediction_tokens": 1}},
            "system_fingerprint": "fp", "service_tier": "default",
        });
        prop_assert_eq!(written(&read(&given)), given);
    }
}
