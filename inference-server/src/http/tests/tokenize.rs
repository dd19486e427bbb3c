use serde_json::{Value, json};

use super::support::{MODEL, TestServer, chat, completion};

const PATH: &str = "/tokenize";

async fn counted(server: &TestServer, body: Value) -> Value {
    let (status, answer) = server.post(PATH, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["tokens"].as_array().expect("ids").len() as u64,
        answer["count"].as_u64().expect("a count")
    );
    answer
}

#[tokio::test]
async fn a_prompt_has_as_many_tokens_as_its_answer_says() {
    let server = TestServer::start().await;
    let (_, answer) = server.post("/v1/chat/completions", &chat("tuv", json!({}))).await;
    let conversation = json!({"model": MODEL, "messages": [{"role": "user", "content": "tuv"}]});
    let count = counted(&server, conversation).await;
    assert_eq!(count["count"], answer["usage"]["prompt_tokens"]);
    assert_eq!(count["max_model_len"], 1024);

    let (_, answer) = server.post("/v1/completions", &completion(json!("tuv"), json!({}))).await;
    let text = counted(&server, json!({"model": MODEL, "prompt": "tuv", "user": "u"})).await;
    assert_eq!(text["count"], answer["usage"]["prompt_tokens"]);
    assert_eq!(
        counted(&server, json!({"model": MODEL, "prompt": "x".repeat(5000)})).await["max_model_len"],
        1024
    );
}

#[tokio::test]
async fn what_can_not_be_counted_is_refused_by_name() {
    let server = TestServer::start().await;
    let message = json!([{"role": "user", "content": "a"}]);
    for (body, field) in [
        (json!({"model": MODEL}), "messages"),
        (json!({"model": MODEL, "messages": []}), "messages"),
        (json!({"model": MODEL, "messages": message, "prompt": "a"}), "prompt"),
        (json!({"model": MODEL, "messages": message, "add_special_tokens": false}), "add_special_tokens"),
        (json!({"model": MODEL, "prompt": "a", "add_generation_prompt": true}), "add_generation_prompt"),
        (json!({"model": MODEL, "messages": message, "tools": [{"type": "function"}]}), "tools"),
        (json!({"model": MODEL, "prompt": "a".repeat((4 << 20) + 1)}), "prompt"),
        (json!({"model": MODEL, "prompt": 1}), "prompt"),
    ] {
        let (status, answer) = server.post(PATH, &body).await;
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(field)), "{answer}");
    }
    let (status, _) = server.post(PATH, &json!({"model": "nobody", "prompt": "a"})).await;
    assert_eq!(status, 404);
}
