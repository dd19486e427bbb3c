use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{MODEL, TestServer, chat, completion, text};
use crate::http::body::{self, BodyMemory};

const CHAT: &str = "/v1/chat/completions";

/// Status, `param`, `code` and message of a refused request.
async fn refused(server: &TestServer, path: &str, body: &Value) -> (u16, String, String, String) {
    let (status, answer) = server.post(path, body).await;
    let field = |name: &str| answer["error"][name].as_str().unwrap_or("").to_owned();
    assert!(!field("message").is_empty(), "{answer}");
    (status, field("param"), field("code"), field("message"))
}

#[tokio::test]
async fn an_unknown_model_is_a_404_that_names_the_list() {
    let server = TestServer::start().await;
    let (status, param, code, message) = refused(&server, CHAT, &chat("a", json!({"model": "gpt-9"}))).await;
    assert_eq!((status, param.as_str(), code.as_str()), (404, "model", "model_not_found"));
    assert!(message.contains("gpt-9") && message.contains("/v1/models"), "{message}");
}

#[tokio::test]
async fn an_unknown_adapter_is_a_404_that_names_those_there_are() {
    let server = TestServer::start().await;
    for model in ["alias:legal", "team/simulated:tone"] {
        let (status, answer) = server.post(CHAT, &chat("y", json!({"model": model}))).await;
        assert_eq!((status, &answer["model"]), (200, &json!(model)));
    }
    let (status, param, code, message) =
        refused(&server, CHAT, &chat("a", json!({"model": "alias:none"}))).await;
    assert_eq!((status, param.as_str(), code.as_str()), (404, "model", "model_not_found"));
    assert!(
        message.contains("no adapter `none`") && message.contains("`alias:tone`, `alias:legal`"),
        "{message}"
    );
    let (status, .., message) = refused(&server, CHAT, &chat("a", json!({"model": "gpt-9:tone"}))).await;
    assert!(status == 404 && message.contains("gpt-9:tone"), "{message}");
}

#[tokio::test]
async fn max_tokens_out_of_range_names_the_field() {
    let server = TestServer::start().await;
    for bad in ["-1", "0", "9223372036854775808"] {
        for field in ["max_tokens", "max_completion_tokens"] {
            let body = format!(
                r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"a"}}],"{field}":{bad}}}"#
            );
            let response = server.send("POST", CHAT, body.into_bytes()).await;
            assert_eq!(response.status(), 400);
            let answer: Value = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!(answer["error"]["param"], field, "{bad}");
        }
    }
    let (status, param, code, message) =
        refused(&server, CHAT, &chat("a", json!({"max_tokens": 4_000_000}))).await;
    assert_eq!((status, param.as_str(), code.as_str()), (400, "max_tokens", "context_length_exceeded"));
    assert!(message.contains("1024") && message.contains("or less"), "{message}");
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_says_by_how_much() {
    let server = TestServer::start().await;
    for length in [1024, 5_000_000] {
        let long = "x".repeat(length);
        let (status, param, code, _) = refused(&server, CHAT, &chat(&long, json!({}))).await;
        assert_eq!((status, param.as_str(), code.as_str()), (400, "messages", "context_length_exceeded"));
        let (status, param, code, message) =
            refused(&server, "/v1/completions", &completion(json!(long), json!({}))).await;
        assert_eq!((status, param.as_str(), code.as_str()), (400, "prompt", "context_length_exceeded"));
        assert!(message.contains("1024"), "{message}");
    }
}

#[tokio::test]
async fn numbers_out_of_range_name_the_field() {
    let server = TestServer::start().await;
    for (field, bad) in [
        ("temperature", json!(2.5)),
        ("temperature", json!(-0.1)),
        ("top_p", json!(1.5)),
        ("n", json!(0)),
        ("n", json!(129)),
        ("n", json!(u32::MAX)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("top_k", json!(-2)),
        ("min_p", json!(2)),
        ("repetition_penalty", json!(0)),
        ("logit_bias", json!({"999999": 1})),
        ("logit_bias", json!({"-1": 1})),
        ("logit_bias", json!({"1": 101})),
        ("logit_bias", json!([1])),
        ("ignore_eos", json!("yes")),
        ("stop", json!([""])),
        ("stop", json!("x".repeat(513))),
        ("stop", json!(vec!["x"; 17])),
        ("top_logprobs", json!(1)),
        ("stream_options", json!({"include_usage": true})),
        ("messages", json!([])),
    ] {
        let (status, param, _, message) = refused(&server, CHAT, &chat("a", json!({field: bad}))).await;
        assert_eq!((status, param.as_str()), (400, field), "{bad}: {message}");
    }
}

/// The ends of what integers are read into, one beyond each, and what is no integer.
const NUMBERS: [&str; 15] = [
    "-9223372036854775808",
    "-9223372036854775809",
    "-2147483648",
    "-1",
    "0",
    "1",
    "2147483647",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-1e400",
];

/// llama.cpp CVE-2026-21869: a negative count from JSON was written behind a buffer. Whatever number stands in a field, it is
/// enforced or refused, and the next request is answered.
#[tokio::test]
async fn cve_2026_21869_every_integer_at_its_ends_is_answered_or_refused() {
    let server = TestServer::start().await;
    let user = json!([{"role": "user", "content": "y"}]);
    let chat = |more: &str| format!(r#"{{"model":"{MODEL}","messages":{user},"temperature":0,{more}}}"#);
    let completion = |more: &str| format!(r#"{{"model":"{MODEL}","prompt":"y","temperature":0,{more}}}"#);
    let greedy = |more: &str| format!(r#"{{"model":"{MODEL}","temperature":0,{more}}}"#);
    let bare = |more: &str| format!(r#"{{"model":"{MODEL}",{more}}}"#);
    type Body<'a> = &'a dyn Fn(&str) -> String;
    let ways: [(&str, Body<'_>, &[&str]); 4] = [
        (
            CHAT,
            &chat,
            &[
                r#""max_tokens":@"#,
                r#""max_completion_tokens":@"#,
                r#""n":@"#,
                r#""seed":@"#,
                r#""top_k":@"#,
                r#""logprobs":true,"top_logprobs":@"#,
                r#""logprobs":@"#,
                r#""best_of":@"#,
                r#""logit_bias":{"1":@}"#,
                r#""logit_bias":{"@":1}"#,
                r#""min_p":@"#,
                r#""repetition_penalty":@"#,
                r#""top_p":@"#,
                r#""presence_penalty":@"#,
            ],
        ),
        (
            "/v1/completions",
            &completion,
            &[
                r#""max_tokens":@"#,
                r#""n":@"#,
                r#""best_of":@"#,
                r#""logprobs":@"#,
                r#""seed":@"#,
                r#""top_k":@"#,
                r#""echo":true,"logprobs":@"#,
            ],
        ),
        ("/v1/completions", &greedy, &[r#""prompt":[@]"#, r#""prompt":[[@]]"#, r#""prompt":@"#]),
        ("/tokenize", &bare, &[r#""prompt":@"#, r#""prompt":"y","max_tokens":@"#]),
    ];
    for (path, body, fields) in ways {
        for field in fields {
            for number in NUMBERS {
                for stream in ["", r#","stream":true"#] {
                    let body = body(&format!("{}{stream}", field.replace('@', number)));
                    let response = server.send("POST", path, body.clone().into_bytes()).await;
                    let status = response.status().as_u16();
                    let answer = text(response).await;
                    match status {
                        200 => assert!(!answer.contains("\"error\""), "{body}: {answer}"),
                        400 => {
                            let answer: Value = serde_json::from_str(&answer).unwrap();
                            assert!(answer["error"]["message"].is_string(), "{body}: {answer}");
                        }
                        other => panic!("{body}: {other} {answer}"),
                    }
                }
            }
        }
    }
    server.until(|load| load.used_blocks == 0 && load.running == 0).await;
    let (status, _) = server.post(CHAT, &super::support::chat("y", json!({}))).await;
    assert_eq!(status, 200);
}

/// A parser that recurses ends the process: nothing of the kind reaches one, wherever in a request it stands.
#[tokio::test]
async fn json_that_is_nested_without_end_is_a_400() {
    const DEPTH: usize = 10_000;
    let server = TestServer::start().await;
    let nest = |open: &str, close: &str| format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
    for nest in [nest("[", "]"), nest("{\"a\":", "}"), nest("[{\"a\":", "}]")] {
        for (path, fields) in [
            (CHAT, r#""messages":@"#),
            (CHAT, r#""messages":[{"role":"user","content":@}]"#),
            (CHAT, r#""messages":[{"role":"user","content":"y","x":@}]"#),
            (CHAT, r#""messages":[{"role":"user","content":"y"}],"tools":[{"function":{"parameters":@}}]"#),
            (CHAT, r#""messages":[{"role":"user","content":"y"}],"metadata":@"#),
            (CHAT, r#""messages":[{"role":"user","content":"y"}],"x":@"#),
            ("/v1/completions", r#""prompt":@"#),
            ("/v1/completions", r#""prompt":"y","x":@"#),
            ("/v1/embeddings", r#""input":@"#),
            ("/v1/rerank", r#""query":"y","documents":@"#),
            ("/tokenize", r#""prompt":@"#),
            ("/tokenize", r#""messages":@"#),
        ] {
            let body = format!(r#"{{"model":"{MODEL}",{}}}"#, fields.replace('@', &nest));
            let response = server.send("POST", path, body.into_bytes()).await;
            assert_eq!(response.status(), 400, "{path} {fields}");
            let answer: Value = serde_json::from_str(&text(response).await).unwrap();
            assert!(answer["error"]["message"].is_string(), "{path} {fields}: {answer}");
        }
    }
    let (status, _) = server.post(CHAT, &chat("y", json!({}))).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn fields_that_are_not_served_are_refused_by_name() {
    let server = TestServer::start().await;
    for (field, value) in [
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("response_format", json!({"type": "json_object"})),
        ("store", json!(true)),
        ("audio", json!({"voice": "x"})),
        ("service_tier", json!("flex")),
        ("chat_template_kwargs", json!({"a": 1})),
        ("temprature", json!(1)),
    ] {
        let (status, param, code, message) = refused(&server, CHAT, &chat("a", json!({field: value}))).await;
        assert_eq!((status, param.as_str(), code.as_str()), (400, field, "unsupported_parameter"));
        assert!(message.contains(field), "{message}");
    }
    let tool_call = json!({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}]});
    let (status, param, ..) = refused(&server, CHAT, &chat("a", tool_call)).await;
    assert_eq!((status, param.as_str()), (400, "messages[0].tool_calls"));
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]});
    let (status, param, _, message) = refused(&server, CHAT, &chat("a", image)).await;
    assert_eq!((status, param.as_str()), (400, "messages[0].content"), "{message}");
    for (field, value) in [("suffix", json!("x")), ("best_of", json!(3))] {
        let (status, param, ..) =
            refused(&server, "/v1/completions", &completion(json!("a"), json!({field: value}))).await;
        assert_eq!((status, param.as_str()), (400, field));
    }
}

#[tokio::test]
async fn prompts_without_content_or_of_unknown_tokens_are_refused() {
    let server = TestServer::start().await;
    for prompt in [json!(""), json!([]), json!([[]]), json!([258]), json!([[1], [999_999]]), json!(["a", 1])]
    {
        let (status, param, ..) =
            refused(&server, "/v1/completions", &completion(prompt.clone(), json!({}))).await;
        assert_eq!((status, param.as_str()), (400, "prompt"), "{prompt}");
    }
}

#[tokio::test]
async fn invalid_json_says_where() {
    let server = TestServer::start().await;
    for bad in [&b"{\"model\": "[..], b"", b"\xff\xfe", b"{\"model\":\"m\"} x"] {
        let response = server.send("POST", CHAT, bad.to_vec()).await;
        assert_eq!(response.status(), 400);
        let answer: Value = serde_json::from_str(&text(response).await).unwrap();
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(answer["error"]["code"] == "invalid_json" || message.contains("missing"), "{message}");
    }
}

#[tokio::test]
async fn a_body_of_100_mb_is_a_413_and_nothing_else_suffers() {
    let server = TestServer::start().await;
    let response = server.send("POST", CHAT, vec![b' '; 100 << 20]).await;
    assert_eq!(response.status(), 413);
    let answer: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(answer["error"]["code"], "payload_too_large");
    let (status, _) = server.post(CHAT, &chat("y", json!({}))).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn the_largest_body_is_what_the_server_was_told() {
    let headers = HeaderMap::new();
    for (most, size, status) in [(10, 10, None), (10, 11, Some(413)), (400 << 20, 11, None)] {
        let read = body::read(&headers, Body::from(vec![b' '; size]), &BodyMemory::new(most)).await;
        assert_eq!(read.err().map(|refused| refused.status), status, "{most}");
    }
}

/// llama.cpp GHSA-7rxv-5jhh-j6xx: a text of more than 2^31 bytes overran what its tokens were put into. Guard: the largest body,
/// whatever a request announces, and before anything is parsed.
#[tokio::test]
async fn ghsa_7rxv_a_text_of_2_gib_is_refused_before_it_is_read() {
    let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from((1_u64 << 31) + 1))]);
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let chunks = std::iter::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(chunk.clone())
    });
    let body = Body::from_stream(futures::stream::iter(chunks.take((1 << 11) + 1)));
    let refusal = body::read(&headers, body, &BodyMemory::of_kib(32 << 20, 1 << 16)).await.unwrap_err();
    assert_eq!(refusal.status, 413);
    assert!(taken.load(Ordering::Relaxed) < 300, "{taken:?} MiB were taken in");
}

/// The same of what a body may hold. Guard: `least_tokens` ahead of each tokenisation; had the text been tokenised, the
/// refusal would name all its tokens, one for each byte.
#[tokio::test]
async fn ghsa_7rxv_an_oversized_text_is_refused_before_it_is_tokenised() {
    const LENGTH: usize = 1 << 20;
    let server = TestServer::start().await;
    let long = "x".repeat(LENGTH);
    for (path, request) in
        [(CHAT, chat(&long, json!({}))), ("/v1/completions", completion(json!(long), json!({})))]
    {
        let (status, _, code, message) = refused(&server, path, &request).await;
        assert_eq!((status, code.as_str()), (400, "context_length_exceeded"));
        let tokens = message.split(' ').filter_map(|word| word.parse::<usize>().ok()).max().unwrap();
        assert!(tokens > 1024 && tokens < LENGTH / 4, "{message}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_have_openais_shape() {
    let server = TestServer::start().await;
    let (status, body) = server.get("/v1/nothing").await;
    assert_eq!(status, 404);
    assert!(body.contains("unknown_url"), "{body}");
    let (status, body) = server.get(CHAT).await;
    assert_eq!(status, 405);
    assert!(body.contains("method_not_allowed"), "{body}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_by_size() {
    let server = TestServer::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-long: ").await.unwrap();
    // Writing fails once the server has hung up; either way it answers no 200.
    socket.write_all(&vec![b'a'; 1 << 20]).await.ok();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.get("/livez").await.0, 200);
}

#[tokio::test]
async fn a_failing_request_hurts_no_other() {
    let server = TestServer::start().await;
    for bad in ["a?", "a!", "#"] {
        let (status, answer) = server.post("/v1/completions", &completion(json!(bad), json!({}))).await;
        assert_eq!((status, &answer["error"]["type"]), (500, &json!("server_error")), "{answer}");
        assert!(!answer.to_string().contains("met a"), "no internals: {answer}");
        let (status, answer) = server.post("/v1/completions", &completion(json!("y"), json!({}))).await;
        assert_eq!((status, &answer["choices"][0]["text"]), (200, &json!("z")));
    }
    server.until(|load| load.used_blocks == 0).await;
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_an_error_event() {
    let server = TestServer::start().await;
    // After `>` comes `?`, at which the step fails.
    let body = completion(json!("<"), json!({"stream": true}));
    let response = server.send("POST", "/v1/completions", body.to_string().into_bytes()).await;
    assert_eq!(response.status(), 200);
    let text = text(response).await;
    let last = text.split_terminator("\n\n").last().unwrap();
    let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    assert!(
        server
            .get("/metrics")
            .await
            .1
            .contains("weighbridge_engine_streams_cut_total{cause=\"engine_error\"} 1")
    );
}
