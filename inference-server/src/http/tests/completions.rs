use serde_json::{Value, json};

use super::support::{TestServer, completion};

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn a_prompt_goes_on() {
    let server = TestServer::start().await;
    let (status, answer) = server.post(PATH, &completion(json!("abc"), json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["text"], "defghijklmnopqrs", "16 tokens unless asked for");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "completion_tokens": 16, "total_tokens": 19}));
}

#[tokio::test]
async fn prompts_come_as_texts_tokens_and_lists() {
    let server = TestServer::start().await;
    for (prompt, expected) in [
        (json!(["v", "x"]), vec!["wxyz", "yz"]),
        (json!([118]), vec!["wxyz"]),
        (json!([[118], [120, 121]]), vec!["wxyz", "z"]),
    ] {
        let (_, answer) = server.post(PATH, &completion(prompt, json!({}))).await;
        let texts: Vec<&Value> = answer["choices"].as_array().unwrap().iter().map(|c| &c["text"]).collect();
        assert_eq!(texts, expected);
    }
    let (_, answer) = server.post(PATH, &completion(json!(["v", "x"]), json!({"n": 2}))).await;
    let texts: Vec<&Value> = answer["choices"].as_array().unwrap().iter().map(|c| &c["text"]).collect();
    assert_eq!(texts, ["wxyz", "wxyz", "yz", "yz"]);
    assert_eq!(answer["usage"]["prompt_tokens"], 2, "a prompt counts once");
}

#[tokio::test]
async fn echo_puts_the_prompt_and_its_log_probabilities_in_front() {
    let server = TestServer::start().await;
    let fields = json!({"echo": true, "logprobs": 1, "max_tokens": 2});
    let (_, answer) = server.post(PATH, &completion(json!("abc"), fields.clone())).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "abcde");
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 4]));
    assert_eq!(logprobs["token_logprobs"][0], Value::Null);
    assert!(logprobs["token_logprobs"][1].as_f64().unwrap() > -3.0);
    assert_eq!(logprobs["top_logprobs"][3]["d"], logprobs["token_logprobs"][3]);
    let mut fields = fields;
    fields["stream"] = json!(true);
    let chunks = server.stream(PATH, &completion(json!("abc"), fields)).await;
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "abcde");
    assert_eq!(chunks[0]["choices"][0]["logprobs"]["tokens"], json!(["a", "b", "c"]));
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["text_offset"], json!([3]));
}

#[tokio::test]
async fn a_stream_ends_with_its_reason() {
    let server = TestServer::start().await;
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = server.stream(PATH, &completion(json!("x"), fields)).await;
    let texts: Vec<&Value> = chunks[..3].iter().map(|chunk| &chunk["choices"][0]["text"]).collect();
    assert_eq!(texts, ["y", "z", ""]);
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[3]["usage"]["total_tokens"], 4);
}
