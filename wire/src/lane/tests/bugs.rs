//! One test for each bug of other gateways that this part can have.

use serde_json::{Value, json};

use super::{ARRAY, LIMIT, SSE, ask, failed, lane, native, question, sent, stamp, streamed, upstreams};
use crate::canonical::{Failure, FailureClass, Provider, Signature, Unsupported, Usage};
use crate::lane::{Body, Ended, Operation, Speaks, read};

/// Doors of conversations.
const DOORS: [Operation; 6] = [
    Operation::ChatCompletions,
    Operation::Completions,
    Operation::Responses,
    Operation::Messages,
    SSE,
    ARRAY,
];

fn events(datas: &[Value]) -> String {
    datas
        .iter()
        .map(|data| match data["type"].as_str() {
            Some(name) => format!("event: {name}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        })
        .collect()
}

/// What Anthropic streams: a text, then a call, and cached tokens told at the start only.
fn anthropic() -> String {
    let block = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta =
        |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    events(&[
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "up",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 6,
            "cache_read_input_tokens": 4, "cache_creation_input_tokens": 30, "output_tokens": 1}}}),
        block(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "a"})),
        stop(0),
        block(1, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        delta(1, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(1, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(1),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ])
}

fn lines(out: &str) -> Vec<Value> {
    let data = out.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

/// Bug 1 (litellm #9812, higress #4148): cached tokens charged twice, or at the full price.
#[test]
fn bug_1_cached_tokens_are_metered_once_in_either_lane() {
    let used =
        Usage { input_uncached: 6, cache_read: 4, cache_write_5m: 30, output_visible: 9, ..Usage::default() };
    for door in DOORS {
        if door == Operation::Completions {
            continue;
        }
        let (out, observed) =
            streamed(lane(door, true, &native(Operation::Messages)), &[anthropic().as_bytes()]);
        assert_eq!(observed.usage, Some(used), "{door}");
        assert_eq!(observed.ended, Some(Ended::Whole));
        if door == Operation::ChatCompletions {
            let usage = &lines(&out).pop().expect("a usage")["usage"];
            assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(40), &json!(9)));
        }
    }
    let body = json!({"id": "c", "model": "up", "choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 9,
        "total_tokens": 49, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 30}}});
    let chat = lane(Operation::ChatCompletions, false, &Speaks::engine());
    assert_eq!(chat.whole(&stamp(), 200, body.to_string().as_bytes()).expect("an answer").usage, Some(used));
}

/// An error as each dialect writes it into a 200.
fn error_inside(operation: Operation) -> Value {
    match operation {
        Operation::Messages => {
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "secret"}})
        }
        SSE | ARRAY | Operation::GenerateContent => {
            json!({"error": {"code": 503, "message": "secret", "status": "UNAVAILABLE"}})
        }
        Operation::Responses => json!({"type": "error", "code": "server_is_overloaded", "message": "secret",
            "error": {"code": "server_is_overloaded", "message": "secret", "type": "x"}}),
        _ => json!({"error": {"message": "secret", "type": "x", "code": "server_is_overloaded"}}),
    }
}

/// Bug 2 (litellm #24004, #36768): a status of 200 with an error inside was counted as success.
#[test]
fn bug_2_an_error_inside_a_200_is_a_failure() {
    for door in DOORS {
        for speaks in upstreams() {
            for stream in [false, true] {
                let outbound = ask(door, &question(door, stream), &speaks).expect("a way");
                let error = error_inside(outbound.operation);
                let whole = outbound.lane.whole(&stamp(), 200, error.to_string().as_bytes());
                let failure = whole.expect_err("no answer");
                assert_eq!(failure.class, FailureClass::Overloaded, "{door} at {}", outbound.operation);
                if !outbound.lane.streams() {
                    continue;
                }
                let text = match outbound.operation {
                    ARRAY => format!("[{error}]"),
                    // So Google writes it: as no event.
                    SSE => format!("{error}\n\n"),
                    _ => events(&[error]),
                };
                let (out, observed) = streamed(outbound.lane, &[text.as_bytes()]);
                assert_eq!(
                    failed(&observed).class,
                    FailureClass::Overloaded,
                    "{door} at {}",
                    outbound.operation
                );
                assert!(!out.contains("secret") && !observed.meaningful, "{door}: {out}");
            }
        }
    }
}

/// Bug 2 again: the event's name alone says that it is an error.
#[test]
fn bug_2_an_event_named_error_is_one_whatever_it_holds() {
    for (operation, speaks) in
        [(Operation::Messages, native(Operation::Messages)), (Operation::Responses, Speaks::openai())]
    {
        let text = "event: error\ndata: {\"message\":\"secret\"}\n\n";
        let (out, observed) = streamed(lane(operation, true, &speaks), &[text.as_bytes()]);
        assert_eq!((out.as_str(), failed(&observed).class), ("", FailureClass::Upstream), "{operation}");
    }
}

/// Bug 2 again (litellm #36768): a Responses answer that failed was a `stop`.
#[test]
fn bug_2_a_failed_response_is_a_failure() {
    let response = json!({"id": "r", "status": "failed", "model": "up", "output": [],
        "error": {"code": "rate_limit_exceeded", "message": "secret"}});
    for door in [Operation::Responses, Operation::Messages] {
        let stream = events(&[
            json!({"type": "response.created", "response": {"id": "r", "model": "up", "output": []}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a"}),
            json!({"type": "response.failed", "response": response}),
        ]);
        let (out, observed) = streamed(lane(door, true, &Speaks::openai()), &[stream.as_bytes()]);
        assert_eq!(failed(&observed).class, FailureClass::RateLimited, "{door}");
        assert!(observed.meaningful && !out.contains("secret"), "{door}");
        let whole =
            lane(door, false, &Speaks::openai()).whole(&stamp(), 200, response.to_string().as_bytes());
        assert_eq!(whole.expect_err("no answer").class, FailureClass::RateLimited, "{door}");
    }
}

/// Bug 8 (litellm #25321, #13373, #32357): the `/v1/messages` door lost the first piece of a call where one block gave
/// way to another, and its indexes did not match.
#[test]
fn bug_8_no_piece_of_a_call_is_lost_between_blocks() {
    let chunk = |delta: Value| json!({"id": "c", "model": "up", "choices": [{"index": 0, "delta": delta}]});
    let call = |index: u32, id: &str, text: &str| {
        chunk(json!({"tool_calls": [{"index": index, "id": id, "type": "function",
            "function": {"name": "f", "arguments": text}}]}))
    };
    let more = |index: u32, text: &str| {
        chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}))
    };
    let mut stream = events(&[
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning_content": "hm"})),
        chunk(json!({"content": "a"})),
        call(0, "call_1", "{\"a\""),
        more(0, ":1}"),
        call(1, "call_2", "{\"b\""),
        more(1, ":2}"),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ]);
    stream.push_str("data: [DONE]\n\n");
    let (out, observed) = streamed(lane(Operation::Messages, true, &Speaks::engine()), &[stream.as_bytes()]);
    assert_eq!(observed.ended, Some(Ended::Whole));
    let said = lines(&out);
    assert_eq!(said.iter().filter(|event| event["type"] == "message_start").count(), 1);
    let mut open = None;
    let mut blocks: Vec<(String, String)> = Vec::new();
    for event in &said {
        match event["type"].as_str().expect("a type") {
            "content_block_start" => {
                assert!(open.is_none(), "one block at a time");
                assert_eq!(event["index"], json!(blocks.len()));
                open = event["index"].as_u64();
                blocks.push((event["content_block"]["type"].as_str().expect("a type").into(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open, "a delta is for the open block");
                let delta = &event["delta"];
                let text = ["text", "thinking", "partial_json"].iter().find_map(|name| delta[*name].as_str());
                blocks.last_mut().expect("a block").1.push_str(text.unwrap_or_default());
            }
            "content_block_stop" => assert_eq!(event["index"].as_u64(), open.take()),
            _ => {}
        }
    }
    let expected =
        [("thinking", "hm"), ("text", "a"), ("tool_use", r#"{"a":1}"#), ("tool_use", r#"{"b":2}"#)];
    assert_eq!(blocks, expected.map(|(kind, text)| (kind.to_owned(), text.to_owned())));
    let stop = said.iter().find(|event| event["type"] == "message_delta").expect("an end");
    assert_eq!(stop["delta"]["stop_reason"], "tool_use");
}

/// Bug 9 (bifrost #1437, #2210): Gemini's thought signature was lost on the way through another dialect.
#[test]
fn bug_9_a_thought_signature_comes_back_and_never_goes_to_another() {
    let answer = json!({"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "U0lHTkVE"}]}, "finishReason": "STOP"}],
        "modelVersion": "up"});
    let google = native(SSE);
    let whole = lane(Operation::ChatCompletions, false, &google)
        .whole(&stamp(), 200, answer.to_string().as_bytes())
        .expect("an answer");
    let answer: Value = serde_json::from_slice(&whole.body.expect("written")).expect("JSON");
    let message = answer["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    let mut turn = question(Operation::ChatCompletions, false);
    let messages = turn["messages"].as_array_mut().expect("messages");
    messages.push(message);
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "1"}));
    let outbound = ask(Operation::ChatCompletions, &turn, &google).expect("a way");
    let body = sent(&turn, &outbound);
    assert_eq!(body["contents"][1]["parts"][0]["thoughtSignature"], "U0lHTkVE", "{body}");
    // The conversation goes on at our engine: the id is opened first, though the dialect is the client's own.
    let outbound = ask(Operation::ChatCompletions, &turn, &Speaks::engine()).expect("a way");
    assert!(matches!(outbound.body, Body::Written(_)) && !outbound.lane.translates());
    let body = sent(&turn, &outbound);
    let text = body.to_string();
    assert!(!text.contains("weighbridge") && !text.contains("U0lHTkVE"), "{text}");
    assert_eq!(body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]);
    assert_eq!(body["model"], "up");
}

/// Bug 10 (opencode #3077): Anthropic's thinking signature was lost between turns.
#[test]
fn bug_10_a_thinking_signature_comes_back_through_every_door() {
    let answer = json!({"id": "m", "type": "message", "role": "assistant", "model": "up", "stop_reason": "tool_use",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "EqRkC+/="},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}],
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let anthropic = native(Operation::Messages);
    let whole = lane(Operation::Responses, false, &anthropic)
        .whole(&stamp(), 200, answer.to_string().as_bytes())
        .expect("an answer");
    let answer: Value = serde_json::from_slice(&whole.body.expect("written")).expect("JSON");
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend(answer["output"].as_array().expect("items").iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": "toolu_1", "output": "1"}));
    let turn = json!({"model": "ns/m", "input": input});
    let outbound = ask(Operation::Responses, &turn, &anthropic).expect("a way");
    let body = sent(&turn, &outbound);
    assert_eq!(
        body["messages"][1]["content"][0],
        json!({"type": "thinking", "thinking": "hm", "signature": "EqRkC+/="})
    );
    // OpenAI would refuse what another encrypted.
    let outbound = ask(Operation::Responses, &turn, &Speaks::openai()).expect("a way");
    let body = sent(&turn, &outbound).to_string();
    assert!(
        matches!(outbound.body, Body::Written(_)) && !body.contains("EqRkC") && !body.contains("d2VpZ2hi"),
        "{body}"
    );
    // What was never sealed passes as it came, signature and all.
    let own = json!({"model": "ns/m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "EqRkC+/="}]}]});
    let outbound = ask(Operation::Messages, &own, &anthropic).expect("a way");
    assert!(matches!(outbound.body, Body::Edited(ref edits) if edits.len() == 1));
}

/// Bug 12 (litellm #3490, Kong #14535): a stream's usage was missing, or had another dialect's shape.
#[test]
fn bug_12_a_stream_is_metered_whether_or_not_its_client_asked() {
    let chunk = json!({"id": "c", "model": "up", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]});
    let usage = json!({"id": "c", "model": "up", "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}});
    let stream = format!("{}data: [DONE]\n\n", events(&[chunk, usage]));
    for door in DOORS {
        let mut body = question(door, true);
        if door == Operation::ChatCompletions {
            body["stream_options"] = json!({"include_usage": false});
        }
        let outbound = ask(door, &body, &Speaks::engine()).expect("a way");
        let asked = sent(&body, &outbound);
        assert_eq!(asked["stream_options"], json!({"include_usage": true}), "{door}");
        if outbound.operation != Operation::ChatCompletions {
            continue;
        }
        let (out, observed) = streamed(outbound.lane, &[stream.as_bytes()]);
        assert_eq!(observed.usage.map(|usage| usage.total()), Some(4), "{door}");
        let told = match door {
            Operation::Messages => out.contains(r#""output_tokens":1"#),
            Operation::Responses => out.contains(r#""total_tokens":4"#),
            SSE | ARRAY => out.contains(r#""totalTokenCount":4"#),
            // This client said that it does not want it.
            _ => !out.contains("prompt_tokens"),
        };
        assert!(told, "{door}: {out}");
    }
}

/// Bug 12 in a request that is written anew in its own dialect.
#[test]
fn bug_12_a_request_that_was_opened_asks_for_the_usage_too() {
    let id = crate::canonical::seal::seal_call_id(
        "call_1",
        Some(&Signature { provider: Provider::Gemini, data: "s".into() }),
    );
    let call = json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"model": "ns/m", "stream": true, "messages": [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "content": "1"}]});
    let outbound = ask(Operation::ChatCompletions, &body, &Speaks::engine()).expect("a way");
    assert!(matches!(outbound.body, Body::Written(_)));
    assert_eq!(sent(&body, &outbound)["stream_options"], json!({"include_usage": true}));
    let usage = json!({"id": "c", "model": "up", "choices": [], "usage": {"prompt_tokens": 3}});
    let (out, observed) = streamed(outbound.lane, &[events(&[usage]).as_bytes()]);
    assert_eq!((out.as_str(), observed.usage.map(|usage| usage.total())), ("", Some(3)));
}

/// Bug 14 (Envoy PR #1486, vercel/ai #12218): the reason to end was wrong where the answer calls tools.
#[test]
fn bug_14_calls_end_with_the_doors_own_reason() {
    let google = json!({"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {}}}]}, "finishReason": "STOP"}], "modelVersion": "up"});
    for (door, reason) in [
        (Operation::ChatCompletions, r#""finish_reason":"tool_calls""#),
        (Operation::Messages, r#""stop_reason":"tool_use""#),
        (Operation::Responses, r#""type":"function_call""#),
    ] {
        let (out, observed) =
            streamed(lane(door, true, &native(SSE)), &[format!("data: {google}\n\n").as_bytes()]);
        assert_eq!(observed.ended, Some(Ended::Whole));
        assert!(out.contains(reason), "{door}: {out}");
    }
    let (out, _) = streamed(
        lane(Operation::ChatCompletions, true, &native(Operation::Messages)),
        &[anthropic().as_bytes()],
    );
    assert!(out.contains(r#""finish_reason":"tool_calls""#), "{out}");
}

/// Bug 24 (open-octo PR #646, unity-gateway #491): parameters of OpenAI's were forwarded to providers that refuse what
/// they do not know.
#[test]
fn bug_24_no_unknown_parameter_reaches_another_dialect() {
    let mut body = question(Operation::ChatCompletions, true);
    body["prompt_cache_key"] = json!("k");
    body["logit_bias"] = json!({"1": 2});
    let text = body.to_string();
    let door = super::at(Operation::ChatCompletions);
    for speaks in [native(Operation::Messages), native(SSE)] {
        let inbound = read(&door, text.as_bytes()).expect("reads");
        let refused: Failure = inbound.outbound(&speaks, "up", Unsupported::Refuse, &[]).expect_err("a wish");
        assert_eq!(refused.param.as_deref(), Some("logit_bias"));
        let outbound = inbound.outbound(&speaks, "up", Unsupported::Drop, &[]).expect("dropped");
        assert_eq!(outbound.dropped, ["prompt_cache_key", "logit_bias"]);
        let sent = sent(&body, &outbound).to_string();
        for name in ["prompt_cache_key", "logit_bias", "stream_options"] {
            assert!(!sent.contains(name), "{sent}");
        }
    }
    // At home they pass untouched.
    let outbound = ask(Operation::ChatCompletions, &body, &Speaks::openai()).expect("a way");
    assert_eq!(sent(&body, &outbound)["logit_bias"], body["logit_bias"]);
}

/// ClickHouse/nerve #393: pings pass, and a stream without `message_stop` is truncated though its reason to end came.
#[test]
fn nerve_393_pings_pass_and_a_stream_without_its_end_is_truncated() {
    let whole = anthropic().replacen(
        "event: content_block_stop",
        "event: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_stop",
        1,
    );
    let at = whole.find("event: message_stop").expect("its end");
    for door in [Operation::Messages, Operation::ChatCompletions] {
        let lane = lane(door, true, &native(Operation::Messages));
        let (out, observed) = streamed(lane.clone(), &[&whole.as_bytes()[..at]]);
        assert_eq!(failed(&observed).class, FailureClass::TruncatedStream, "{door}");
        assert!(out.contains("ping"), "{door}");
        let mut stream = lane.stream(&stamp(), LIMIT);
        let observed = stream.push(whole.as_bytes(), &mut Vec::new());
        assert_eq!(observed.ended, Some(Ended::Whole), "{door}: known before the connection closes");
    }
}

/// Bug 19 (higress #4688, vercel/ai #15308): what one account keeps was asked of another. It is refused by name in either
/// lane, also where the upstream itself would take it.
#[test]
fn bug_19_what_one_account_keeps_is_refused_by_name() {
    for speaks in upstreams() {
        for (field, value) in [
            ("previous_response_id", json!("resp_1")),
            ("store", json!(true)),
            ("background", json!(true)),
            ("conversation", json!("conv_1")),
        ] {
            let mut body = question(Operation::Responses, true);
            body[field] = value;
            let refused = ask(Operation::Responses, &body, &speaks).expect_err("it needs a store");
            assert_eq!((refused.class, refused.param.as_deref()), (FailureClass::BadRequest, Some(field)));
            assert!(refused.message.contains("nothing is stored here"), "{refused}");
            for nothing in [json!(null), json!(false)] {
                body[field] = nothing;
                if field != "previous_response_id" || body[field].is_null() {
                    ask(Operation::Responses, &body, &speaks).expect("it asks for nothing");
                }
            }
        }
    }
}
