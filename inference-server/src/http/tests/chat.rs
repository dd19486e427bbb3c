use serde_json::{Value, json};

use super::support::{MODEL, TestServer, chat, completion};

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn an_answer_has_openais_shape() {
    let server = TestServer::start().await;
    let (status, answer) = server.post(PATH, &chat("tuv", json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(
        answer,
        json!({
            "id": answer["id"], "object": "chat.completion", "created": answer["created"], "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "wxyz", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            // Three special tokens, and a token for each other byte of the rendered prompt.
            "usage": {"prompt_tokens": 25, "completion_tokens": 5, "total_tokens": 30},
            "system_fingerprint": "fp_test",
        })
    );
}

#[tokio::test]
async fn a_stream_opens_flows_ends_and_tells_its_usage() {
    let server = TestServer::start().await;
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = server.stream(PATH, &chat("w", fields)).await;
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({"role": "assistant", "content": "", "refusal": null}));
    assert_eq!(deltas[1..4], [&json!({"content": "x"}), &json!({"content": "y"}), &json!({"content": "z"})]);
    assert_eq!(deltas[4], &json!({}));
    let ends: Vec<&Value> = chunks[..5].iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(ends, [&Value::Null, &Value::Null, &Value::Null, &Value::Null, &json!("stop")]);
    assert!(chunks[..5].iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    assert_eq!(chunks[5]["choices"], json!([]));
    assert_eq!(chunks[5]["usage"]["completion_tokens"], 4);
    assert_eq!(chunks.len(), 6);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk")
    );
}

/// The gateway meters by it when the client leaves before the usage.
#[tokio::test]
async fn a_stream_says_at_its_start_how_long_the_prompt_is() {
    let server = TestServer::start().await;
    for (path, body, tokens) in [
        (PATH, chat("tuv", json!({"stream": true})), 25),
        // Two prompts of two choices each: a prompt is read once.
        ("/v1/completions", completion(json!(["ab", "c"]), json!({"stream": true, "n": 2})), 3),
    ] {
        // One step: the answer has begun, and its end is not computed yet.
        server.gate.close();
        server.gate.permit(1);
        let response = server.send("POST", path, body.to_string().into_bytes()).await;
        assert_eq!(response.headers()["x-weighbridge-prompt-tokens"], tokens.to_string());
        server.gate.open();
        drop(response);
        server.until(|load| load.used_blocks == 0).await;
    }
}

#[tokio::test]
async fn without_include_usage_no_chunk_speaks_of_usage() {
    let server = TestServer::start().await;
    let chunks = server.stream(PATH, &chat("w", json!({"stream": true}))).await;
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn stops_limits_and_choices_are_obeyed() {
    let server = TestServer::start().await;
    let (_, answer) = server.post(PATH, &chat("a", json!({"stop": ["ef"], "n": 3}))).await;
    let texts: Vec<&Value> =
        answer["choices"].as_array().unwrap().iter().map(|c| &c["message"]["content"]).collect();
    assert_eq!(texts, ["bcd", "bcd", "bcd"]);
    assert_eq!(answer["usage"]["completion_tokens"], 15);
    for field in ["max_tokens", "max_completion_tokens"] {
        let (_, answer) = server.post(PATH, &chat("a", json!({field: 2}))).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "bc");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
    }
}

#[tokio::test]
async fn several_choices_stream_side_by_side() {
    let server = TestServer::start().await;
    let chunks = server.stream(PATH, &chat("v", json!({"stream": true, "n": 2}))).await;
    for index in 0..2 {
        let own = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        let text: String = own.filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(text, "wxyz");
    }
}

#[tokio::test]
async fn log_probabilities_come_with_each_token() {
    let server = TestServer::start().await;
    let fields = json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 2});
    let (_, answer) = server.post(PATH, &chat("a", fields.clone())).await;
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 2);
    assert_eq!(content[0]["token"], "b");
    assert_eq!(content[0]["bytes"], json!([98]));
    assert_eq!(content[0]["top_logprobs"][0]["token"], "b");
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    let mut fields = fields;
    fields["stream"] = json!(true);
    let chunks = server.stream(PATH, &chat("a", fields)).await;
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["content"][0], content[0]);
}

#[tokio::test]
async fn a_seed_repeats_an_answer() {
    let server = TestServer::start().await;
    let fields = json!({"temperature": 1.6, "seed": 7, "max_tokens": 20, "ignore_eos": true,
                        "logit_bias": {"33": -100, "35": -100, "63": -100}});
    let first = server.post(PATH, &chat("Q", fields.clone())).await.1;
    let second = server.post(PATH, &chat("Q", fields)).await.1;
    assert_eq!(first["choices"], second["choices"]);
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn every_seed_is_a_seed() {
    let server = TestServer::start().await;
    for seed in [i64::MIN, -1, 0, i64::MAX] {
        let fields = json!({"seed": seed, "max_tokens": 1, "n": 2});
        let (status, answer) = server.post(PATH, &chat("y", fields)).await;
        assert_eq!((status, &answer["choices"][1]["message"]["content"]), (200, &json!("z")), "{answer}");
    }
}

#[tokio::test]
async fn harmless_fields_and_empty_ones_are_taken() {
    let server = TestServer::start().await;
    let fields = json!({"user": "u", "metadata": {"a": "b"}, "store": false, "service_tier": "auto", "tools": [], "tool_choice": "auto",
    "response_format": {"type": "text"}, "logit_bias": null, "frequency_penalty": null,
    "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "assistant", "content": "hm", "refusal": null, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
    ]});
    let (status, answer) = server.post(PATH, &chat("", fields)).await;
    // Parts reach this template as one text.
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("z")), "{answer}");
}
