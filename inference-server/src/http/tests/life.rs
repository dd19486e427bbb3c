use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{MODEL, TestServer, chat, completion, text};
use crate::engine::EngineConfig;
use crate::http::Phase;

const CHAT: &str = "/v1/chat/completions";

/// Sends a request on a socket of its own and reads until `seen` has come.
async fn send_and_read(server: &TestServer, body: &Value, seen: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let body = body.to_string();
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.windows(seen.len()).any(|window| window == seen) {
        let mut buffer = [0; 4096];
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    socket
}

/// Steps on, one token at a time, until the server has seen that the client of a 900-token answer is gone.
async fn step_until_cancelled(server: &TestServer) -> String {
    for _ in 0..800 {
        server.gate.permit(1);
        let (_, metrics) = server.get("/metrics").await;
        if metrics.contains("weighbridge_cancelled_sequences_total 1") {
            server.until(|load| load.used_blocks == 0 && load.running == 0).await;
            return metrics;
        }
    }
    panic!("the answer was computed nearly to its end");
}

#[tokio::test]
async fn a_client_that_hangs_up_in_mid_stream_frees_its_blocks() {
    let server = TestServer::start().await;
    server.gate.close();
    server.gate.permit(3);
    let body = completion(json!("A"), json!({"stream": true, "max_tokens": 900}));
    let socket = send_and_read(&server, &body, b"\"text\":\"C\"").await;
    server.until(|load| load.used_blocks > 0).await;
    drop(socket);
    let metrics = step_until_cancelled(&server).await;
    assert!(metrics.contains("weighbridge_engine_streams_cut_total{cause=\"client_left\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_hangs_up_before_a_whole_answer_frees_its_blocks() {
    let server = TestServer::start().await;
    server.gate.close();
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let body = completion(json!("A"), json!({"max_tokens": 900})).to_string();
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    server.until(|load| load.step_age.is_some()).await;
    drop(socket);
    let metrics = step_until_cancelled(&server).await;
    assert!(metrics.contains("code=\"499\"} 1"), "{metrics}");
}

#[tokio::test]
async fn each_token_leaves_at_once() {
    let server = TestServer::start().await;
    server.gate.close();
    server.gate.permit(1);
    let body = completion(json!("a"), json!({"stream": true}));
    // Only one step may run: the first token has to arrive while the second is not computed yet.
    let socket = send_and_read(&server, &body, b"\"text\":\"b\"").await;
    server.gate.open();
    drop(socket);
}

#[tokio::test]
async fn many_clients_are_served_together() {
    let server =
        TestServer::with(EngineConfig { tokens_per_step: 16, max_sequences: 8, ..EngineConfig::default() })
            .await;
    let server = std::sync::Arc::new(server);
    let clients: Vec<_> = (0..40_usize)
        .map(|client| {
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(async move {
                let letter = char::from(b'a' + (client % 25) as u8);
                let prompt = "-".repeat(client) + &letter.to_string();
                let fields = json!({"max_tokens": 64, "stream": client % 2 == 0});
                let path = "/v1/completions";
                let text: String = if client % 2 == 0 {
                    let chunks = server.stream(path, &completion(json!(prompt), fields)).await;
                    chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect()
                } else {
                    let (_, answer) = server.post(path, &completion(json!(prompt), fields)).await;
                    answer["choices"][0]["text"].as_str().unwrap().to_owned()
                };
                let expected: String = (letter..='z').skip(1).collect();
                assert_eq!(text, expected);
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    server.until(|load| load.used_blocks == 0).await;
}

#[tokio::test]
async fn a_full_queue_is_a_429_that_says_when_to_come_back() {
    let server = TestServer::with(EngineConfig { max_waiting: 1, ..EngineConfig::default() }).await;
    let body = completion(json!(["a", "b"]), json!({}));
    let response = server.send("POST", "/v1/completions", body.to_string().into_bytes()).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert!(server.get("/metrics").await.1.contains("weighbridge_queue_full_total 1"));
}

#[tokio::test]
async fn readiness_says_why_not() {
    let server = TestServer::loading().await;
    assert_eq!(server.get("/livez").await, (200, "ok".to_owned()));
    assert_eq!(server.get("/readyz").await, (503, "opening the model file".to_owned()));
    server.state.enter(Phase::Loading { bytes: 3_000_000, total: 98_000_000 });
    assert_eq!(server.get("/readyz").await, (503, "loading the weights (3 of 98 MB)".to_owned()));
    let (status, answer) = server.post(CHAT, &chat("a", json!({}))).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("model_not_ready")));
    assert_eq!(server.get("/v1/models").await.1, r#"{"object":"list","data":[]}"#);
    server.state.enter(Phase::Failed("no such file".to_owned()));
    assert_eq!(server.get("/readyz").await, (503, "failed: no such file".to_owned()));
    server.state.enter(Phase::Ready);
    assert_eq!(server.get("/readyz").await.0, 503, "failure is final");
}

/// Endpoint removal and the signal race (kubernetes#67592): who was told to go serves on until callers know.
#[tokio::test]
async fn who_leaves_is_not_ready_and_answers_all_the_same() {
    let server = TestServer::start().await;
    server.state.enter(Phase::Leaving);
    assert_eq!(server.get("/readyz").await, (503, "leaving".to_owned()));
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.post(CHAT, &chat("y", json!({}))).await.0, 200);
    server.state.drain();
    assert_eq!(server.post(CHAT, &chat("y", json!({}))).await.0, 503);
}

#[tokio::test]
async fn draining_lets_streams_finish_and_refuses_new_requests() {
    let server = TestServer::start().await;
    server.gate.close();
    server.gate.permit(1);
    let mut sender = server.connect().await;
    let body = completion(json!("u"), json!({"stream": true})).to_string();
    let request = hyper::Request::post("/v1/completions").header("host", "x");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    server.state.drain();
    assert_eq!(server.get("/readyz").await, (503, "draining".to_owned()));
    let refused = server.send("POST", CHAT, chat("a", json!({})).to_string().into_bytes()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    server.gate.open();
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    server.state.drained().await;
}

#[tokio::test]
async fn models_lists_every_name() {
    let server = TestServer::start().await;
    let list: Value = serde_json::from_str(&server.get("/v1/models").await.1).unwrap();
    let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    let adapted = ["team/simulated:tone", "team/simulated:legal", "alias:tone", "alias:legal"];
    assert_eq!(ids[..2], [MODEL, "alias"]);
    assert_eq!(ids[2..], adapted);
    assert_eq!(list["data"][0]["object"], "model");
    let (status, one) = server.get("/v1/models/team/simulated").await;
    assert!(status == 200 && one.contains("1700000000"), "{one}");
    assert_eq!(server.get("/v1/models/other").await.0, 404);
    let (status, answer) = server.post(CHAT, &chat("y", json!({"model": "alias"}))).await;
    assert_eq!((status, &answer["model"]), (200, &json!("alias")));
}

#[tokio::test]
async fn metrics_count_requests_tokens_and_times() {
    let server = TestServer::start().await;
    server.post("/v1/completions", &completion(json!("vw"), json!({}))).await;
    server.post("/v1/completions", &completion(json!("a"), json!({"model": "who"}))).await;
    // The engine tells its load after the step that ended the answer.
    server.until(|load| load.used_blocks == 0).await;
    let metrics = text(server.send("GET", "/metrics", vec![]).await).await;
    for line in [
        "weighbridge_engine_requests_total{model=\"team/simulated\",world=\"open\",code=\"200\"} 1",
        "weighbridge_engine_requests_total{model=\"\",world=\"open\",code=\"404\"} 1",
        "weighbridge_engine_tokens_total{model=\"team/simulated\",world=\"open\",direction=\"input\"} 2",
        "weighbridge_engine_tokens_total{model=\"team/simulated\",world=\"open\",direction=\"output\"} 4",
        "weighbridge_engine_time_to_first_token_seconds_count{model=\"team/simulated\",world=\"open\"} 1",
        "weighbridge_engine_inter_token_latency_seconds_count{model=\"team/simulated\",world=\"open\"} 2",
        "weighbridge_engine_request_duration_seconds_count{model=\"team/simulated\",world=\"open\"} 1",
        "weighbridge_engine_requests_in_flight 0",
        "weighbridge_kv_cache_usage_ratio 0.0",
        "weighbridge_queue_tokens 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn probes_say_why_an_engine_has_ended() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/readyz").await, (200, "ready".to_owned()));
    let (status, answer) = server.post("/v1/completions", &completion(json!("a%"), json!({}))).await;
    assert!(status >= 500, "{answer}");
    let ended = (503, "simulated is lost: it met a %".to_owned());
    assert_eq!(server.get("/livez").await, ended);
    assert_eq!(server.get("/readyz").await, ended);
}
