//! Whole answers, raw and translated.

use serde_json::{Value, json};

use super::{ARRAY, SSE, ask, lane, native, question, sent, stamp, upstreams};
use crate::canonical::{Dialect, FailureClass, Usage};
use crate::lane::{Operation, Speaks, error};

/// An answer of each operation, which all say the same.
fn answer(operation: Operation) -> Value {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4}});
    match operation {
        Operation::ChatCompletions => json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "up", "usage": usage,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
        }),
        Operation::Completions => json!({
            "id": "c", "object": "text_completion", "created": 1, "model": "up", "usage": usage,
            "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}],
        }),
        Operation::Responses => json!({
            "id": "r", "object": "response", "created_at": 1, "model": "up", "status": "completed",
            "output": [{"type": "message", "id": "i", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "a", "annotations": []}]}],
            "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 12},
        }),
        Operation::Messages => json!({
            "id": "m", "type": "message", "role": "assistant", "model": "up", "stop_reason": "end_turn",
            "stop_sequence": null, "content": [{"type": "text", "text": "a"}],
            "usage": {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 2},
        }),
        Operation::GenerateContent | Operation::StreamGenerateContent { .. } => json!({
            "candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2,
                "totalTokenCount": 12},
            "modelVersion": "up",
        }),
        Operation::Embeddings => json!({
            "object": "list", "model": "up", "usage": {"prompt_tokens": 3, "total_tokens": 3},
            "data": [{"object": "embedding", "index": 1, "embedding": [2.0]},
                {"object": "embedding", "index": 0, "embedding": [1.0]}],
        }),
        Operation::Rerank => json!({
            "model": "up", "results": [{"index": 0, "relevance_score": 0.5}], "usage": {"prompt_tokens": 3},
        }),
        Operation::CountMessageTokens => json!({"input_tokens": 5}),
        Operation::CountTokens => json!({"totalTokens": 5}),
        Operation::EmbedContent => json!({"embedding": {"values": [1.0]}}),
        Operation::BatchEmbedContents => json!({"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}),
    }
}

const CONVERSATIONS: [Operation; 5] = [
    Operation::ChatCompletions,
    Operation::Completions,
    Operation::Responses,
    Operation::Messages,
    Operation::GenerateContent,
];

fn used() -> Usage {
    Usage { input_uncached: 6, cache_read: 4, output_visible: 2, ..Usage::default() }
}

#[test]
fn a_raw_answer_differs_in_the_models_name_only() {
    for operation in CONVERSATIONS.into_iter().chain([Operation::Embeddings, Operation::Rerank]) {
        let body = serde_json::to_string_pretty(&answer(operation)).expect("writes");
        let lane = lane(operation, false, &native(operation));
        let whole = lane.whole(&stamp(), 200, body.as_bytes()).expect("an answer");
        let out = String::from_utf8(whole.body.expect("renamed")).expect("UTF-8");
        assert_eq!(out, body.replace("\"up\"", "\"ns/m\""), "{operation}");
        let named = lane.whole(&stamp(), 200, out.as_bytes()).expect("an answer");
        assert_eq!(named.body, None, "what has the name already passes as it came");
        if CONVERSATIONS.contains(&operation) {
            assert_eq!(whole.usage, Some(used()), "{operation}");
        } else {
            assert_eq!(whole.usage.map(|usage| usage.total()), Some(3), "{operation}");
        }
    }
}

/// Whatever the two dialects, a client reads the words and the counts that the upstream wrote.
#[test]
fn an_answer_says_the_same_through_every_door() {
    for door in CONVERSATIONS {
        for speaks in upstreams() {
            let outbound = ask(door, &question(door, false), &speaks).expect("a way");
            let body = answer(outbound.operation).to_string();
            let whole = outbound.lane.whole(&stamp(), 200, body.as_bytes()).expect("an answer");
            assert_eq!(whole.usage, Some(used()), "{door} at {}", outbound.operation);
            let mut out: Value = serde_json::from_slice(&whole.body.expect("written")).expect("JSON");
            let expected = answer(door);
            for at in [
                "/usage/prompt_tokens",
                "/usage/input_tokens",
                "/usage/output_tokens",
                "/usage/cache_read_input_tokens",
                "/usageMetadata/promptTokenCount",
                "/usageMetadata/candidatesTokenCount",
                "/choices/0/message/content",
                "/choices/0/text",
                "/choices/0/finish_reason",
                "/content/0/text",
                "/stop_reason",
                "/status",
                "/output/0/content/0/text",
                "/candidates/0/content/parts/0/text",
                "/candidates/0/finishReason",
            ] {
                assert_eq!(out.pointer(at), expected.pointer(at), "{door} at {}: {at}", outbound.operation);
            }
            let name = if door == Operation::GenerateContent { "modelVersion" } else { "model" };
            assert_eq!(out[name].take(), json!("ns/m"), "{door}");
            if outbound.lane.translates() {
                let id = out["id"].as_str().or(out["responseId"].as_str()).unwrap_or_default();
                assert!(id.ends_with('1'), "{door}: our name of it, in {id}");
            }
        }
    }
}

/// Who promised a place compares, whichever lane the answer takes.
#[test]
fn where_an_answer_was_made_is_observed_in_both_lanes() {
    let speaks = native(Operation::Messages);
    for (stated, place) in [(json!("us"), Some("us")), (Value::Null, None), (json!(7), None)] {
        let mut said = answer(Operation::Messages);
        said["usage"]["inference_geo"] = stated;
        for door in [Operation::Messages, Operation::ChatCompletions, Operation::GenerateContent] {
            let whole = lane(door, false, &speaks).whole(&stamp(), 200, said.to_string().as_bytes());
            assert_eq!(whole.expect("an answer").place.as_deref(), place, "{door}");
        }
    }
}

#[test]
fn counting_crosses_between_those_who_count() {
    for (door, speaks) in [
        (Operation::CountMessageTokens, native(Operation::GenerateContent)),
        (Operation::CountTokens, native(Operation::Messages)),
        (Operation::CountTokens, native(Operation::GenerateContent)),
    ] {
        let question = question(door, false);
        let outbound = ask(door, &question, &speaks).expect("a way");
        assert!(sent(&question, &outbound).to_string().contains("\"q\""));
        let body = answer(outbound.operation).to_string();
        let whole = outbound.lane.whole(&stamp(), 200, body.as_bytes()).expect("a count");
        let out = whole.body.map_or(body.clone().into_bytes(), |body| body);
        assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), answer(door));
        assert_eq!(whole.usage, None, "counting is not paid");
    }
    let refused = ask(Operation::CountTokens, &question(Operation::CountTokens, false), &Speaks::engine());
    assert_eq!(refused.expect_err("nobody counts there").class, FailureClass::BadRequest);
}

#[test]
fn embeddings_cross_between_openai_and_google() {
    let google = native(Operation::GenerateContent);
    let outbound =
        ask(Operation::Embeddings, &question(Operation::Embeddings, false), &google).expect("a way");
    assert_eq!(
        (outbound.operation, outbound.path.as_str()),
        (Operation::BatchEmbedContents, "/v1beta/models/up:batchEmbedContents")
    );
    let mut body = answer(Operation::BatchEmbedContents);
    body["usageMetadata"] = json!({"promptTokenCount": 3});
    let whole = outbound.lane.whole(&stamp(), 200, body.to_string().as_bytes()).expect("vectors");
    let out: Value = serde_json::from_slice(&whole.body.expect("written")).expect("JSON");
    assert_eq!((&out["data"][1]["embedding"][0], &out["model"]), (&json!(2.0), &json!("ns/m")));
    assert_eq!(whole.usage.map(|usage| usage.input()), Some(3));

    let mut question_of = question(Operation::Embeddings, false);
    question_of["encoding_format"] = json!("base64");
    let outbound = ask(Operation::Embeddings, &question_of, &google).expect("a way");
    let whole = outbound.lane.whole(&stamp(), 200, body.to_string().as_bytes()).expect("vectors");
    assert!(String::from_utf8_lossy(&whole.body.expect("written")).contains("\"AACAPw==\""));

    for (door, vectors) in [(Operation::BatchEmbedContents, 2), (Operation::EmbedContent, 1)] {
        let outbound = ask(door, &question(door, false), &Speaks::engine()).expect("a way");
        assert_eq!(outbound.operation, Operation::Embeddings);
        let mut body = answer(Operation::Embeddings);
        if vectors == 1 {
            body["data"] = json!([{"object": "embedding", "index": 0, "embedding": [1.0]}]);
        }
        let whole = outbound.lane.whole(&stamp(), 200, body.to_string().as_bytes()).expect("vectors");
        let mut out: Value = serde_json::from_slice(&whole.body.expect("written")).expect("JSON");
        assert_eq!(out["usageMetadata"]["promptTokenCount"].take(), json!(3));
        out.as_object_mut().expect("an object").remove("usageMetadata");
        assert_eq!(out, answer(door));
        let two = outbound.lane.whole(&stamp(), 200, answer(Operation::Embeddings).to_string().as_bytes());
        assert_eq!(two.is_ok(), vectors == 2, "one text has one vector");
    }
}

#[test]
fn a_body_that_is_no_answer_is_the_upstreams_failure() {
    for operation in CONVERSATIONS.into_iter().chain([
        Operation::Embeddings,
        Operation::Rerank,
        Operation::CountMessageTokens,
        Operation::CountTokens,
        Operation::EmbedContent,
        Operation::BatchEmbedContents,
        SSE,
        ARRAY,
    ]) {
        for speaks in upstreams() {
            let Ok(outbound) = ask(operation, &question(operation, false), &speaks) else { continue };
            for body in ["", "<html>", "[]", "null", r#"{"detail":"boom"}"#, "{}", "\u{feff}{}"] {
                let whole = outbound.lane.whole(&stamp(), 200, body.as_bytes());
                let failure = whole.expect_err(body);
                assert_eq!(failure.class, FailureClass::Upstream, "{operation}: {body}");
            }
        }
    }
}

#[test]
fn an_upstreams_error_is_read_in_its_dialect_and_told_in_the_doors() {
    let google = r#"{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"52s"}]}}"#;
    let chat_at = |speaks: &Speaks| lane(Operation::ChatCompletions, false, speaks);
    let failure = chat_at(&native(SSE)).failure(429, None, google.as_bytes());
    assert_eq!((failure.class, failure.retry_after_seconds), (FailureClass::RateLimited, Some(52)));
    let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
    let failure = chat_at(&native(Operation::Messages)).failure(529, Some(3), anthropic.as_bytes());
    assert_eq!((failure.class, failure.retry_after_seconds), (FailureClass::Overloaded, Some(3)));
    // A status counts whatever the body is, where a whole answer was expected.
    for operation in CONVERSATIONS {
        let lane = lane(operation, false, &native(operation));
        let whole = lane.whole(&stamp(), 503, answer(operation).to_string().as_bytes());
        assert_eq!(whole.expect_err("a failure").class, FailureClass::Overloaded, "{operation}");
    }
    let whole = chat_at(&native(Operation::Messages)).whole(&stamp(), 529, anthropic.as_bytes());
    assert_eq!(whole.expect_err("a failure").class, FailureClass::Overloaded);

    for (dialect, status) in [
        (Dialect::OpenAiChat, 503),
        (Dialect::OpenAiCompletions, 503),
        (Dialect::OpenAiResponses, 503),
        (Dialect::Anthropic, 529),
        (Dialect::Gemini, 503),
    ] {
        let told = error(dialect, &failure);
        assert_eq!((told.status, told.retry_after_seconds), (status, Some(3)), "{dialect}");
    }
}

/// An upstream names the field at fault in its own dialect, and the caller may never have heard of it.
#[test]
fn a_field_that_the_upstream_refuses_has_the_callers_name() {
    let refusal = |param: &str| {
        json!({"error": {"message": format!("`{param}` is not supported by this server."), "param": param,
            "type": "invalid_request_error", "code": "unsupported_parameter"}})
        .to_string()
    };
    for (door, param, name) in [
        (Operation::Messages, "response_format", "output_config.format"),
        (Operation::Responses, "reasoning_effort", "reasoning.effort"),
        (SSE, "max_completion_tokens", "generationConfig.maxOutputTokens"),
        (Operation::Messages, "tools", "tools"),
        (Operation::ChatCompletions, "response_format", "response_format"),
        (Operation::Messages, "messages", "messages"),
    ] {
        let failure = lane(door, false, &Speaks::engine()).failure(400, None, refusal(param).as_bytes());
        assert_eq!(failure.param.as_deref(), Some(name), "{door}");
        assert!(failure.message.contains(&format!("`{name}`")), "{door}: {failure}");
        assert_eq!(failure.message.contains("(It is your"), param != name, "{door}: {failure}");
    }
}

/// The usage of Responses has every count that its clients' types ask for, and an answer no field that they do not know.
#[test]
fn a_responses_answer_has_what_openais_types_have() {
    let whole = lane(Operation::Responses, false, &Speaks::engine())
        .whole(&stamp(), 200, answer(Operation::ChatCompletions).to_string().as_bytes())
        .expect("an answer");
    let written: Value = serde_json::from_slice(&whole.body.expect("written")).expect("JSON");
    let details = json!({"cached_tokens": 4, "cache_write_tokens": 0});
    assert_eq!(written["usage"]["input_tokens_details"], details, "{written}");
    assert_eq!(written.get("store"), None, "{written}");
}

/// In Anthropic's dialect a budget is asked for to see the thinking; elsewhere that has to be said.
#[test]
fn who_gives_a_budget_in_anthropics_dialect_is_shown_the_thinking_everywhere() {
    let mut body = question(Operation::Messages, false);
    body["max_tokens"] = json!(4096);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
    let written =
        |body: &Value, speaks: &Speaks| sent(body, &ask(Operation::Messages, body, speaks).expect("a way"));
    assert_eq!(written(&body, &Speaks::openai())["reasoning"]["summary"], "auto");
    let config = |body: &Value| written(body, &native(SSE))["generationConfig"]["thinkingConfig"].clone();
    assert_eq!(config(&body)["includeThoughts"], true);
    body["thinking"]["display"] = json!("omitted");
    assert_eq!(written(&body, &Speaks::openai())["reasoning"].get("summary"), None);
    assert_eq!(config(&body)["includeThoughts"], false);
}
