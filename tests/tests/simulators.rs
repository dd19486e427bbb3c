//! The provider simulators, held to the providers' word by the providers' own clients.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use http::Method;
use serde_json::{Value, json};
use weighbridge_tests::door::{Answer, Client, Form};
use weighbridge_tests::matrix::{Ability, CLIENTS, Clients, Dialect, Server, Table, Upstream};
use weighbridge_tests::simulator::Simulator;

/// Every client of a dialect against the simulator itself; fails with the details of each cell that did.
async fn clients_of(dialect: Dialect, scenarios: usize) {
    let clients = Clients::install().await.expect("the clients");
    let simulator = Simulator::start().await.expect("a simulator");
    let base_url = format!("http://{}", simulator.address());
    let server = Server { base_url, key: "weighbridge-test".to_owned() };
    let upstream = Upstream {
        name: "simulator".to_owned(),
        model: "faithful".to_owned(),
        abilities: Ability::SIMULATED.to_vec(),
        faults: "{}".to_owned(),
        simulated: true,
        signed: true,
        ..Upstream::default()
    };
    let mut table = Table::default();
    for client in CLIENTS.iter().filter(|client| client.dialect == dialect) {
        table.add(clients.run(client, &server, std::slice::from_ref(&upstream)).await.expect("it runs"));
    }
    let failures = table.failures();
    assert!(failures.is_empty(), "{table}\n{failures}");
    assert_eq!(table.cells(), scenarios, "a scenario more or less than this test knows of");
}

#[tokio::test]
async fn openai_clients_find_chat_and_embeddings_as_openai_makes_them() {
    clients_of(Dialect::Chat, 111).await;
}

#[tokio::test]
async fn openai_clients_find_responses_as_openai_makes_them() {
    clients_of(Dialect::Responses, 106).await;
}

#[tokio::test]
async fn anthropic_clients_find_messages_as_anthropic_makes_them() {
    clients_of(Dialect::Messages, 108).await;
}

#[tokio::test]
async fn gemini_clients_find_generate_content_as_google_makes_it() {
    clients_of(Dialect::Generate, 69).await;
}

const CONTENTS: &str = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// One request of each dialect that streams, to a model that misbehaves.
fn asks(model: &str) -> [(String, String); 5] {
    Form::ALL.map(|form| (form.path(model, true), form.body(model, true, "hi")))
}

async fn answer(simulator: &Simulator, path: &str, body: &str) -> anyhow::Result<Answer> {
    let mut client = Client::connect(simulator.address()).await?;
    client.open(Method::POST, path, &[VERSION], body.to_owned()).await?.whole().await
}

async fn text(simulator: &Simulator, path: &str, body: &str) -> String {
    let answer = answer(simulator, path, body).await.expect("answered");
    assert_eq!(answer.status, 200, "{path}");
    answer.text().expect("text").to_owned()
}

/// The text without what differs between two answers: the number in their ids and signatures.
fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    for piece in text.split_inclusive("sim") {
        kept.push_str(if kept.ends_with("sim") {
            piece.trim_start_matches(|digit: char| digit.is_ascii_digit())
        } else {
            piece
        });
    }
    kept
}

#[tokio::test]
async fn a_drip_is_the_same_stream_in_every_dialect() {
    let simulator = Simulator::start().await.expect("a simulator");
    for ((path, body), (drip_path, drip_body)) in asks("normal").into_iter().zip(asks("drip")) {
        let whole = text(&simulator, &path, &body).await;
        let drip = text(&simulator, &drip_path, &drip_body).await;
        assert_eq!(without_numbers(&drip).replace("drip", "normal"), without_numbers(&whole), "{path}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_has_no_end_mark_in_any_dialect() {
    let simulator = Simulator::start().await.expect("a simulator");
    let marks = ["[DONE]", "response.completed", "message_stop", "finishReason", "]\r\n"];
    for (((path, body), (_, whole)), mark) in asks("truncated").into_iter().zip(asks("normal")).zip(marks) {
        let truncated = text(&simulator, &path, &body).await;
        assert!(truncated.contains("Hello") && !truncated.contains(mark), "{path}: {truncated}");
        let ended = text(&simulator, &path.replace("truncated", "normal"), &whole).await;
        assert!(ended.starts_with('[') || ended.contains(mark), "{path}: {ended}");
    }
    for (path, body) in asks("cut") {
        answer(&simulator, &path, &body).await.expect_err("the connection breaks");
    }
}

#[tokio::test]
async fn an_error_after_200_is_said_as_each_dialect_says_it() {
    let simulator = Simulator::start().await.expect("a simulator");
    let said = [
        "data: {\"error\":{\"message\":\"out of luck\"",
        "event: response.failed\ndata: ",
        "event: error\ndata: {\"type\":\"error\"",
        "\n{\n  \"error\": {\n",
        ",\r\n{\n  \"error\": {\n",
    ];
    for ((path, body), said) in asks("error-in-stream").into_iter().zip(said) {
        let text = text(&simulator, &path, &body).await;
        assert!(
            text.contains("Hello") && text.contains(said) && text.contains("out of luck"),
            "{path}: {text}"
        );
    }
    for (path, body) in asks("error-in-200") {
        let answer = answer(&simulator, &path, &body).await.expect("answered");
        assert_eq!(answer.status, 200);
        let json = answer.json().expect("JSON");
        let inner = json.get(0).unwrap_or(&json);
        assert_eq!(inner["error"]["message"], "inside", "{path}");
    }
}

#[tokio::test]
async fn each_hint_of_a_limit_is_where_its_provider_has_it() {
    let simulator = Simulator::start().await.expect("a simulator");
    for (model, header) in [
        ("limited-no-hint", None),
        ("limited-retry-after", Some("retry-after")),
        ("limited-retry-after-date", Some("retry-after")),
        ("limited-retry-after-ms", Some("retry-after-ms")),
        ("limited-openai-resets", Some("x-ratelimit-reset-tokens")),
        ("limited-anthropic-resets", Some("anthropic-ratelimit-input-tokens-reset")),
        ("limited-retry-info", None),
    ] {
        for (path, body) in asks(model) {
            let answer = answer(&simulator, &path, &body).await.expect("answered");
            assert_eq!(answer.status, 429, "{path} {model}");
            let names = [
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-reset-tokens",
                "anthropic-ratelimit-input-tokens-reset",
            ];
            for name in names {
                assert_eq!(answer.headers.contains_key(name), header == Some(name), "{path} {model} {name}");
            }
            let told = answer.text().expect("text").contains("\"retryDelay\":\"7s\"");
            assert_eq!(told, model == "limited-retry-info" && path.contains("Generate"), "{path} {model}");
        }
    }
}

#[tokio::test]
async fn a_stalled_stream_goes_on_when_it_is_released() {
    let simulator = Simulator::start().await.expect("a simulator");
    for (path, body) in asks("stall") {
        let mut client = Client::connect(simulator.address()).await.expect("connected");
        let stream = client.open(Method::POST, &path, &[VERSION], body).await.expect("begun");
        simulator.wait_for(|counts| counts.waiting == 1).await;
        let before = simulator.counts().finished;
        simulator.release(1);
        let answer = stream.whole().await.expect("it ends");
        assert!(answer.text().expect("text").contains("😀"), "{path}");
        simulator.wait_for(|counts| counts.finished > before).await;
    }
}

#[tokio::test]
async fn a_slow_drip_gives_no_byte_more_than_is_released() {
    let (path, body) = asks("slow-drip")[2].clone();
    let unhindered = Simulator::start().await.expect("a simulator");
    unhindered.release(1 << 20);
    let whole = text(&unhindered, &path, &body).await;
    let (first, _) = whole.split_once("\n\n").expect("an event");

    let simulator = Simulator::start().await.expect("a simulator");
    let mut client = Client::connect(simulator.address()).await.expect("connected");
    let mut stream = client.open(Method::POST, &path, &[VERSION], body).await.expect("begun");
    simulator.release(first.len() + 2);
    assert_eq!(stream.event().await.expect("an event"), Some(format!("{first}\n\n")));
    simulator.wait_for(|counts| counts.waiting == 1).await;
    assert!(!stream.has_more());
    drop((stream, client));
    simulator.wait_for(|counts| counts.abandoned == 1).await;
}

#[tokio::test]
async fn a_huge_answer_and_a_wrong_type_are_right_but_for_that() {
    let simulator = Simulator::start().await.expect("a simulator");
    for (path, body) in asks("huge") {
        assert!(text(&simulator, &path, &body).await.len() > 16 << 20, "{path}");
    }
    for (path, body) in asks("wrong-type") {
        let answer = answer(&simulator, &path, &body).await.expect("answered");
        assert_eq!(answer.headers["content-type"], "text/plain");
        assert!(answer.text().expect("text").contains("Hello"), "{path}");
    }
}

#[tokio::test]
async fn a_blocked_prompt_is_told_as_each_dialect_tells_it() {
    let simulator = Simulator::start().await.expect("a simulator");
    let told = [
        r#""finish_reason":"content_filter""#,
        r#""reason":"content_filter""#,
        r#""stop_reason":"refusal""#,
        r#""blockReason":"PROHIBITED_CONTENT""#,
        r#""blockReason": "PROHIBITED_CONTENT""#,
    ];
    for ((path, body), told) in asks("blocked").into_iter().zip(told) {
        let text = text(&simulator, &path, &body).await;
        assert!(text.contains(told) && !text.contains("Hello"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_cached_prompt_is_written_once_and_read_after_by_each_convention() {
    let simulator = Simulator::start().await.expect("a simulator");
    let chat = r#"{"model":"faithful","prompt_cache_key":"k",
                   "messages":[{"role":"user","content":"a long question"}]}"#;
    let first =
        answer(&simulator, "/v1/chat/completions", chat).await.expect("answered").json().expect("JSON");
    let second =
        answer(&simulator, "/v1/chat/completions", chat).await.expect("answered").json().expect("JSON");
    let details = |answer: &Value| answer["usage"]["prompt_tokens_details"].clone();
    assert_eq!(
        first["usage"]["prompt_tokens"], second["usage"]["prompt_tokens"],
        "the total includes what is cached"
    );
    assert_eq!(details(&first)["cache_write_tokens"], details(&second)["cached_tokens"]);
    assert_eq!(details(&second)["cache_write_tokens"], 0);

    let mut body = json!({"model": "faithful", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "a long question", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}]});
    let ask = async |path, body: &Value| {
        answer(&simulator, path, &body.to_string()).await.expect("answered").json().expect("JSON")
    };
    let all = ask("/v1/messages/count_tokens", &body).await["input_tokens"].as_u64().expect("a number");
    body["max_tokens"] = json!(9);
    let first = ask("/v1/messages", &body).await["usage"].clone();
    let second = ask("/v1/messages", &body).await["usage"].clone();
    for (usage, cached) in [(&first, "cache_creation_input_tokens"), (&second, "cache_read_input_tokens")] {
        let parts = [&usage["input_tokens"], &usage[cached]].map(|part| part.as_u64().expect("a number"));
        assert_eq!(parts.iter().sum::<u64>(), all, "the count leaves out what is cached: {usage}");
    }
    assert_eq!(first["cache_creation_input_tokens"], second["cache_read_input_tokens"]);
    body["stream"] = json!(true);
    let told = format!(r#""input_tokens":{}"#, second["input_tokens"]);
    let streamed = text(&simulator, "/v1/messages", &body.to_string()).await;
    assert_eq!(streamed.matches(&told).count(), 2, "at the beginning and at the end: {streamed}");
    assert_eq!(first["cache_creation"]["ephemeral_1h_input_tokens"], first["cache_creation_input_tokens"]);
    assert_eq!(first["cache_creation"]["ephemeral_5m_input_tokens"], 0);
    assert_eq!(second["cache_creation_input_tokens"], 0);
    assert!(second["cache_read_input_tokens"].as_u64() > Some(0));
    let counts = simulator.counts();
    let twice = second["cache_read_input_tokens"].as_u64();
    assert_eq!(Some(counts.cache_read_tokens - counts.cache_write_tokens), twice, "one was read twice");

    let path = "/v1beta/models/faithful:generateContent";
    let mut body: Value = serde_json::from_str(CONTENTS).expect("JSON");
    let plain = ask(path, &body).await["usageMetadata"].clone();
    body["cachedContent"] = json!("cachedContents/a");
    let cached = ask(path, &body).await["usageMetadata"].clone();
    assert_eq!(plain["promptTokenCount"], cached["promptTokenCount"], "the total includes what is cached");
    assert!(plain["cachedContentTokenCount"].is_null(), "what is zero is left out");
    assert!(cached["cachedContentTokenCount"].as_u64() > Some(0));
}

#[tokio::test]
async fn what_a_provider_does_not_know_is_refused() {
    let simulator = Simulator::start().await.expect("a simulator");
    for (path, body, said) in [
        (
            "/v1/chat/completions",
            json!({"model": "faithful", "messages": [{"role": "user", "content": "hi"}], "top_k": 3}),
            "Unknown parameter: 'top_k'.",
        ),
        (
            "/v1/responses",
            json!({"model": "faithful", "input": "hi", "stop": ["x"]}),
            "Unknown parameter: 'stop'.",
        ),
        (
            "/v1/messages",
            json!({"model": "faithful", "max_tokens": 9, "seed": 1,
                   "messages": [{"role": "user", "content": "hi"}]}),
            "seed: Extra inputs are not permitted",
        ),
        (
            "/v1/messages",
            json!({"model": "faithful", "messages": [{"role": "user", "content": "hi"}]}),
            "max_tokens: Field required",
        ),
        (
            "/v1beta/models/faithful:generateContent",
            json!({"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"functionDeclarations": [
                {"name": "f", "parameters": {"type": "OBJECT",
                                             "properties": {"a": {"type": "STRING", "const": "x"}}}}]}]}),
            "Unknown name \"const\" at 'tools[0].function_declarations[0].parameters.properties[a]'",
        ),
    ] {
        let answer = answer(&simulator, path, &body.to_string()).await.expect("answered");
        assert_eq!(answer.status, 400, "{path}");
        let message = answer.json().expect("JSON")["error"]["message"].to_string().replace('\\', "");
        assert!(message.contains(said), "{path}: {message}");
    }
}
