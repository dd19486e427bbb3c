//! The gateway in process, in front of a provider that misbehaves on request.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::time::Duration;

use http::{Method, StatusCode};
use weighbridge_crds::{Hold, TimeSpan};
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, Limits, Timeouts};
use weighbridge_tests::door::{Answer, Client, ClosedPort, Door, entry};
use weighbridge_tests::simulator::{COMPLETION_TOKENS, PROMPT_TOKENS, Simulator, completion, events};

const CHAT: &str = "/v1/chat/completions";
const MODELS: [&str; 21] = [
    "normal",
    "gated",
    "told",
    "drip",
    "burst",
    "no-usage",
    "silent",
    "hang-up",
    "cut",
    "truncated",
    "error-in-stream",
    "error-first",
    "error-in-200",
    "html",
    "invalid-json",
    "endless",
    "redirect",
    "status-400",
    "status-429",
    "status-500",
    "status-503",
];

struct Bed {
    simulator: Simulator,
    door: Door,
    client: Client,
}

async fn bed() -> Bed {
    bed_with(GatewayConfig::default()).await
}

async fn bed_with(config: GatewayConfig) -> Bed {
    let simulator = Simulator::start().await.expect("a simulator");
    let entries = MODELS.iter().map(|model| entry(model, World::Open, &[simulator.address()]));
    let door = Door::gateway(config, Directory::from_entries(entries.collect())).await.expect("a gateway");
    let client = Client::connect(door.address).await.expect("connected");
    Bed { simulator, door, client }
}

fn ask(model: &str, more: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"{model}"{more}}}"#)
}

async fn metrics(door: &Door) -> String {
    let mut client = Client::connect(door.admin).await.expect("connected");
    client.get("/metrics").await.expect("metrics").text().expect("text").to_owned()
}

/// The value of the only series of `name` whose labels hold all of `labels`; 0 where there is none.
async fn metric(door: &Door, name: &str, labels: &[&str]) -> f64 {
    let text = metrics(door).await;
    let values: Vec<f64> = text
        .lines()
        .filter(|line| {
            line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
        })
        .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
        .collect();
    values.iter().sum()
}

/// Waits until the requests counted with this code are `count`: records settle just after the last byte.
async fn settled(door: &Door, code: u16, count: f64) {
    while metric(door, "weighbridge_requests_total", &[&format!("code=\"{code}\"")]).await < count {
        tokio::task::yield_now().await;
    }
}

fn error_of(answer: &Answer) -> serde_json::Value {
    let json = answer.json().expect("JSON");
    assert!(json["error"]["message"].is_string(), "{json}");
    assert!(json["error"]["type"].is_string(), "{json}");
    json["error"].clone()
}

#[tokio::test]
async fn bytes_and_unknown_fields_survive_both_ways() {
    let mut bed = bed().await;
    let body = "{ \"x_unknown\" : {\"model\":\"inner\",\"n\":1.50e2},\n\"messages\":[{\"content\":\"\\u00e9 😀\",\
                \"role\":\"user\"}] , \"model\" : \"team/normal\", \"temperature\":0.70 }";
    let answer = bed.client.post(CHAT, body).await.expect("answered");
    let seen = bed.simulator.seen();
    assert_eq!(seen[0].body, body.replace("\"team/normal\"", "\"normal\""));
    assert_eq!(answer.status, StatusCode::OK);
    let sent = completion("normal", true);
    assert_eq!(answer.text().expect("text"), sent.replace("\"normal\"", "\"team/normal\""));
    assert_eq!(answer.headers["x-weighbridge-model"], "team/normal");
    assert_eq!(answer.headers["x-weighbridge-world"], "open");
    assert!(answer.headers["x-weighbridge-endpoint"].to_str().expect("text").starts_with("pod-"));
}

#[tokio::test]
async fn streams_survive_but_for_the_model_and_the_usage_nobody_asked_for() {
    let mut bed = bed().await;
    for (path, chat) in [(CHAT, true), ("/v1/completions", false)] {
        // Asked for by the bare name: the answer repeats that name.
        let answer = bed.client.post(path, ask("normal", r#","stream":true"#)).await.expect("answered");
        let all = events("normal", chat, COMPLETION_TOKENS as usize, true);
        let kept: Vec<_> = all.iter().filter(|event| !event.contains(r#""choices":[]"#)).cloned().collect();
        assert_eq!(answer.text().expect("text"), kept.concat());
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        assert_eq!(answer.headers["x-accel-buffering"], "no");

        let more = r#","stream":true,"stream_options":{"include_usage":true}"#;
        let answer = bed.client.post(path, ask("team/normal", more)).await.expect("answered");
        assert_eq!(answer.text().expect("text"), all.concat().replace(r#""normal""#, r#""team/normal""#));
    }
    assert!(bed.simulator.seen().iter().all(|seen| {
        std::str::from_utf8(&seen.body)
            .is_ok_and(|body| body.contains(r#""stream_options":{"include_usage":true}"#))
    }));
}

#[tokio::test]
async fn a_stream_cut_at_every_byte_is_the_same_stream() {
    let mut bed = bed().await;
    let answer = bed.client.post(CHAT, ask("drip", r#","stream":true"#)).await.expect("answered");
    let all = events("drip", true, COMPLETION_TOKENS as usize, true);
    let kept: Vec<_> = all.into_iter().filter(|event| !event.contains(r#""choices":[]"#)).collect();
    assert_eq!(answer.text().expect("text"), kept.concat());
}

#[tokio::test]
async fn each_chunk_arrives_before_the_next_is_made() {
    let mut bed = bed().await;
    // The opening chunk means nothing yet: the answer begins with the first piece of text.
    bed.simulator.release(2);
    let mut stream =
        bed.client.open(Method::POST, CHAT, &[], ask("gated", r#","stream":true"#)).await.expect("begun");
    let all = events("gated", true, COMPLETION_TOKENS as usize, true);
    let mut shown = all.iter().filter(|event| !event.contains(r#""choices":[]"#));
    assert_eq!(stream.event().await.expect("an event").as_ref(), shown.next());
    for expected in shown {
        if expected.contains("[DONE]") {
            // The usage chunk stands before it and is taken out.
            bed.simulator.release(1);
        }
        assert_eq!(stream.event().await.expect("an event").as_ref(), Some(expected));
        assert!(!stream.has_more());
        bed.simulator.release(1);
    }
    assert_eq!(stream.event().await.expect("the end"), None);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_upstream() {
    let bed = bed().await;
    // In mid-stream.
    bed.simulator.release(2);
    let Bed { simulator, door, mut client } = bed;
    let mut stream =
        client.open(Method::POST, CHAT, &[], ask("gated", r#","stream":true"#)).await.expect("begun");
    stream.event().await.expect("an event");
    drop((stream, client));
    simulator.wait_for(|counts| counts.abandoned == 1).await;
    // Before the first byte.
    let mut client = Client::connect(door.address).await.expect("connected");
    tokio::select! {
        answered = client.post(CHAT, ask("silent", "")) => panic!("{answered:?}"),
        () = simulator.wait_for(|counts| counts.requests == 2) => {}
    }
    drop(client);
    simulator.wait_for(|counts| counts.abandoned == 2).await;
    settled(&door, 499, 2.0).await;
    assert_eq!(metric(&door, "weighbridge_streams_cut_total", &["cause=\"client\""]).await, 1.0);
    assert_eq!(metric(&door, "weighbridge_requests_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn bad_requests_get_openais_shape() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let mut bed = bed_with(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    for (body, status, code, param) in [
        (ask("nobody", ""), 404, Some("model_not_found"), Some("model")),
        (ask("other/normal", ""), 404, Some("model_not_found"), Some("model")),
        ("{".to_owned(), 400, Some("invalid_json"), None),
        (String::new(), 400, Some("invalid_json"), None),
        (r#"{"messages":[]}"#.to_owned(), 400, None, Some("model")),
        (r#"{"model":7}"#.to_owned(), 400, None, Some("model")),
        (ask("normal", r#","stream":"yes""#), 400, None, Some("stream")),
        (ask(&"x".repeat(2000), ""), 413, Some("payload_too_large"), None),
        (
            format!(r#"{{"model":"normal","x":{}{}}}"#, "[".repeat(400), "]".repeat(400)),
            400,
            Some("invalid_json"),
            None,
        ),
    ] {
        let answer = bed.client.post(CHAT, body.clone()).await;
        let Ok(answer) = answer else {
            bed.client = Client::connect(bed.door.address).await.expect("connected");
            panic!("no answer to {body}");
        };
        let error = error_of(&answer);
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert_eq!((error["code"].as_str(), error["param"].as_str()), (code, param), "{body}");
        if answer.headers.get("connection").is_some_and(|value| value == "close") || status == 413 {
            bed.client = Client::connect(bed.door.address).await.expect("connected");
        }
    }
    let named = bed.client.post(CHAT, ask("nobody", "")).await.expect("answered");
    assert!(error_of(&named)["message"].as_str().expect("text").contains("nobody"));
    assert_eq!(bed.client.get("/v1/nothing").await.expect("answered").status, StatusCode::NOT_FOUND);
    assert_eq!(bed.client.get(CHAT).await.expect("answered").status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(bed.simulator.counts().requests, 0);
}

#[tokio::test]
async fn a_body_of_100_mb_gets_a_413_even_if_it_is_sent_whole() {
    let mut bed = bed().await;
    let body = format!(r#"{{"model":"normal","x":"{}"}}"#, "x".repeat(100 << 20));
    let answer = bed.client.post(CHAT, body).await.expect("answered");
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(error_of(&answer)["code"], "payload_too_large");
}

#[tokio::test]
async fn the_models_list_is_openais() {
    let mut bed = bed().await;
    let list = bed.client.get("/v1/models").await.expect("answered").json().expect("JSON");
    assert_eq!(list["object"], "list");
    let ids: Vec<_> =
        list["data"].as_array().expect("a list").iter().map(|model| model["id"].clone()).collect();
    assert!(ids.contains(&"team/normal".into()) && ids.len() == MODELS.len(), "{ids:?}");
    assert_eq!(list["data"][0]["object"], "model");
    assert_eq!(list["data"][0]["created"], 1_764_000_000);
    for path in ["/v1/models/normal", "/v1/models/team/normal", "/v1/models/team%2Fnormal"] {
        let model = bed.client.get(path).await.expect("answered").json().expect("JSON");
        assert_eq!((&model["id"], &model["object"]), (&"team/normal".into(), &"model".into()));
    }
    let answer = bed.client.get("/v1/models/nobody").await.expect("answered");
    assert_eq!((answer.status.as_u16(), error_of(&answer)["code"].as_str()), (404, Some("model_not_found")));
}

#[tokio::test]
async fn metrics_equal_what_the_upstream_counted() {
    let mut bed = bed().await;
    for _ in 0..3 {
        bed.client.post(CHAT, ask("normal", "")).await.expect("answered");
        bed.client.post(CHAT, ask("normal", r#","stream":true"#)).await.expect("answered");
        bed.client.post("/v1/completions", ask("burst", r#","stream":true"#)).await.expect("answered");
        bed.client.post(CHAT, ask("cut", r#","stream":true"#)).await.expect("answered");
        bed.client.post(CHAT, ask("status-500", "")).await.expect("answered");
    }
    let (door, simulator) = (&bed.door, &bed.simulator);
    settled(door, 200, 9.0).await;
    settled(door, 502, 3.0).await;
    // A producer counts just after its last event.
    simulator.wait_for(|counts| counts.output_tokens == 3 * (COMPLETION_TOKENS * 2 + 100 + 2)).await;
    let counts = simulator.counts();
    assert_eq!(counts.input_tokens, 9 * PROMPT_TOKENS);
    let input = metric(door, "weighbridge_tokens_total", &["direction=\"input\""]).await;
    assert_eq!(input, counts.input_tokens as f64, "{}", metrics(door).await);
    // A cut stream counts for the pieces that were seen of it.
    let output = metric(door, "weighbridge_tokens_total", &["direction=\"output\""]).await;
    assert_eq!(output, counts.output_tokens as f64);
    assert_eq!(metric(door, "weighbridge_requests_total", &["model="]).await, counts.requests as f64);
    assert_eq!(metric(door, "weighbridge_requests_total", &["status-500", "code=\"500\""]).await, 3.0);
    assert_eq!(metric(door, "weighbridge_streams_cut_total", &["cause=\"upstream\""]).await, 3.0);
    assert_eq!(metric(door, "weighbridge_time_to_first_token_seconds_count", &[]).await, 9.0);
    assert_eq!(metric(door, "weighbridge_request_duration_seconds_count", &[]).await, 15.0);
    let gaps = metric(door, "weighbridge_inter_token_latency_seconds_count", &["model=\"normal\""]).await;
    // The first piece of a stream makes no gap, nor does its end, which brings no token.
    assert_eq!(gaps, 3.0 * (COMPLETION_TOKENS - 1) as f64);
    assert_eq!(metric(door, "weighbridge_requests_in_flight", &[]).await, 0.0);
}

/// A client that leaves never lets the usage come, and its prompt was read all the same.
#[tokio::test]
async fn a_stream_that_is_left_counts_the_prompt_and_the_pieces_seen() {
    let Bed { simulator, door, mut client } = bed().await;
    let streamed = ask("told", r#","stream":true"#);
    let tokens = async |direction: &str| {
        metric(&door, "weighbridge_tokens_total", &[&format!("direction=\"{direction}\"")]).await
    };
    // The opening chunk, and two with text.
    simulator.release(3);
    let mut stream = client.open(Method::POST, CHAT, &[], streamed.clone()).await.expect("begun");
    assert!(!stream.headers.contains_key("x-weighbridge-prompt-tokens"), "it is for the meter");
    for _ in 0..3 {
        stream.event().await.expect("an event");
    }
    drop((stream, client));
    settled(&door, 499, 1.0).await;
    assert_eq!((tokens("input").await, tokens("output").await), (PROMPT_TOKENS as f64, 2.0));

    // Read to its end, the usage says the same again, and it counts once.
    simulator.wait_for(|counts| counts.abandoned == 1).await;
    simulator.release(8);
    let mut client = Client::connect(door.address).await.expect("connected");
    client.post(CHAT, streamed).await.expect("answered");
    settled(&door, 200, 1.0).await;
    let (input, output) = (2 * PROMPT_TOKENS, 2 + COMPLETION_TOKENS);
    assert_eq!((tokens("input").await, tokens("output").await), (input as f64, output as f64));
    assert_eq!(metric(&door, "weighbridge_usage_missing_total", &[]).await, 0.0);
}

#[tokio::test]
async fn an_answer_that_never_said_its_usage_is_counted_as_that() {
    let simulator = Simulator::start().await.expect("a simulator");
    let entry = |model: &&str| entry(model, World::Closed, &[simulator.address()]);
    let entries = ["normal", "no-usage", "cut", "status-500", "silent"].iter().map(entry).collect();
    let door =
        Door::gateway(GatewayConfig::default(), Directory::from_entries(entries)).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    for (model, more) in [
        ("normal", ""),
        ("normal", r#","stream":true"#),
        ("no-usage", r#","stream":true"#),
        ("cut", r#","stream":true"#),
        ("status-500", ""),
    ] {
        client.post(CHAT, ask(model, more)).await.expect("answered");
    }
    // A provider's 500 is a 502 of ours.
    settled(&door, 502, 2.0).await;
    settled(&door, 200, 3.0).await;
    for (model, count) in [("normal", 0.0), ("no-usage", 1.0), ("cut", 1.0), ("status-500", 0.0)] {
        let labels = [&format!("model=\"{model}\"")[..], "world=\"closed\"", "provider=\"acme\""];
        assert_eq!(metric(&door, "weighbridge_usage_missing_total", &labels).await, count, "{model}");
        let estimated = metric(&door, "weighbridge_tokens_estimated_total", &labels).await;
        assert_eq!(estimated > 0.0, count > 0.0, "{model}: {estimated}");
    }
    // Who leaves before an answer begins has made the provider read all the same.
    tokio::select! {
        answered = client.post(CHAT, ask("silent", "")) => panic!("{answered:?}"),
        () = simulator.wait_for(|counts| counts.waiting == 1) => {}
    }
    drop(client);
    settled(&door, 499, 1.0).await;
    assert!(metric(&door, "weighbridge_tokens_estimated_total", &["model=\"silent\""]).await > 0.0);
}

#[tokio::test]
async fn an_upstream_that_fails_before_the_answer_is_an_http_error() {
    let limits = Limits { answer_bytes: 1 << 20, event_bytes: 1 << 20, ..Limits::default() };
    let mut bed = bed_with(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    for (model, more, code) in [
        ("html", "", "upstream_invalid_response"),
        ("html", r#","stream":true"#, "upstream_invalid_response"),
        ("invalid-json", "", "upstream_invalid_response"),
        ("redirect", "", "upstream_invalid_response"),
        ("error-in-200", "", "simulated"),
        ("endless", "", "upstream_response_too_large"),
        ("endless", r#","stream":true"#, "upstream_invalid_response"),
        ("cut", "", "upstream_broken"),
        ("hang-up", "", "upstream_broken"),
        ("error-first", r#","stream":true"#, "server_error"),
    ] {
        let answer = bed.client.post(CHAT, ask(model, more)).await.expect("answered");
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{model}");
        let error = error_of(&answer);
        assert_eq!(error["code"], code, "{model}");
        assert!(!error["message"].as_str().expect("text").contains("Welcome"), "{error}");
    }
    // Nothing was fetched from where the redirect points.
    assert!(bed.simulator.seen().iter().all(|seen| seen.path == CHAT));
    // An engine's error in our shape passes as it is.
    let answer = bed.client.post(CHAT, ask("status-429", "")).await.expect("answered");
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (429, &"7".parse().expect("a value"))
    );
    assert_eq!(error_of(&answer)["code"], "simulated");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event() {
    let mut bed = bed().await;
    for (model, code) in [
        ("cut", "upstream_truncated"),
        ("truncated", "upstream_truncated"),
        ("invalid-json", "upstream_invalid_response"),
        ("error-in-stream", "server_error"),
    ] {
        let answer = bed.client.post(CHAT, ask(model, r#","stream":true"#)).await.expect("a clean end");
        assert_eq!(answer.status, StatusCode::OK);
        let text = answer.text().expect("text");
        let last = text.trim_end().rsplit("\n\n").next().expect("an event");
        let error: serde_json::Value =
            serde_json::from_str(last.strip_prefix("data: ").expect("data")).expect("JSON");
        assert!(error["error"]["message"].is_string(), "{text}");
        assert_eq!(error["error"]["code"].as_str().unwrap_or_default(), code);
        assert!(text.contains("Hello") && !text.contains("[DONE]"), "{text}");
    }
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_is_passed_over() {
    let simulator = Simulator::start().await.expect("a simulator");
    let port = ClosedPort::new().expect("a port");
    let closed = port.address;
    let directory =
        Directory::from_entries(vec![entry("normal", World::Open, &[closed, simulator.address()])]);
    let timeouts = Timeouts { reach_again: Duration::ZERO, ..Timeouts::default() };
    let config = GatewayConfig { timeouts, ..GatewayConfig::default() };
    let door = Door::gateway(config, directory.clone()).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    for _ in 0..8 {
        assert_eq!(client.post(CHAT, ask("normal", "")).await.expect("answered").status, StatusCode::OK);
    }
    assert_eq!(simulator.counts().requests, 8);
    assert!(metric(&door, "weighbridge_retries_total", &[]).await >= 1.0);

    let before = metric(&door, "weighbridge_retries_total", &[]).await;
    directory.replace(vec![entry("normal", World::Open, &[closed])]);
    let answer = client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error_of(&answer)["code"], "endpoint_unreachable");
    let retried = metric(&door, "weighbridge_retries_total", &[]).await - before;
    assert_eq!(retried, 2.0, "the only replica is tried as often as three are");

    let hold = Hold { max_wait: TimeSpan::seconds(0), ..Hold::default() };
    directory.replace(vec![Entry { hold, ..entry("normal", World::Open, &[]) }]);
    let answer = client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error_of(&answer)["code"], "model_not_ready");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(simulator.counts().requests, 8, "a retired endpoint is not used");
}

#[tokio::test]
async fn a_request_that_reached_nobody_waits_for_who_takes_their_place() {
    let simulator = Simulator::start().await.expect("a simulator");
    let timeouts = Timeouts { reach_again: Duration::from_secs(600), ..Timeouts::default() };
    for world in [World::Open, World::Closed] {
        let closed = [ClosedPort::new().expect("a port"), ClosedPort::new().expect("a port")];
        let config = GatewayConfig { timeouts: timeouts.clone(), ..GatewayConfig::default() };
        let nobody = || entry("normal", world, &closed.each_ref().map(|port| port.address));
        let directory = Directory::from_entries(vec![nobody()]);
        let door = Door::gateway(config, directory.clone()).await.expect("a gateway");
        let mut client = Client::connect(door.address).await.expect("connected");
        let mut waits = std::pin::pin!(client.post(CHAT, ask("normal", "")));
        let retried = || metric(&door, "weighbridge_retries_total", &[]);
        let changed = async {
            while retried().await < 1.0 {
                tokio::task::yield_now().await;
            }
            // The affairs of other models are none of its own.
            for other in ["gated", "told", "drip"] {
                directory.replace(vec![nobody(), entry(other, world, &[simulator.address()])]);
                assert_eq!(retried().await, 1.0);
            }
            directory.replace(vec![entry("normal", world, &[simulator.address()])]);
        };
        tokio::select! {
            answer = &mut waits => panic!("{answer:?}"),
            () = changed => {}
        }
        assert_eq!(waits.await.expect("answered").status, StatusCode::OK, "{world:?}");
    }
    assert_eq!(simulator.counts().requests, 2);
}

#[tokio::test]
async fn an_upstream_that_does_not_begin_is_given_up() {
    let timeouts = Timeouts { first_byte: Duration::from_millis(20), ..Timeouts::default() };
    let mut bed = bed_with(GatewayConfig { timeouts, ..GatewayConfig::default() }).await;
    let answer = bed.client.post(CHAT, ask("silent", "")).await.expect("answered");
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    bed.simulator.wait_for(|counts| counts.abandoned == 1).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_ended_with_an_error() {
    let timeouts = Timeouts { idle: Duration::from_millis(20), ..Timeouts::default() };
    let mut bed = bed_with(GatewayConfig { timeouts, ..GatewayConfig::default() }).await;
    bed.simulator.release(2);
    let answer = bed.client.post(CHAT, ask("gated", r#","stream":true"#)).await.expect("a clean end");
    assert!(answer.text().expect("text").contains("upstream_timeout"));
    bed.simulator.wait_for(|counts| counts.abandoned == 1).await;
    settled(&bed.door, 504, 1.0).await;
    assert_eq!(metric(&bed.door, "weighbridge_streams_cut_total", &["cause=\"idle\""]).await, 1.0);
}

#[tokio::test]
async fn requests_are_bounded_and_the_bound_is_counted() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let mut bed = bed_with(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    let mut other = Client::connect(bed.door.address).await.expect("connected");
    let mut silent = std::pin::pin!(bed.client.post(CHAT, ask("silent", "")));
    tokio::select! {
        answered = &mut silent => panic!("{answered:?}"),
        () = bed.simulator.wait_for(|counts| counts.waiting == 1) => {}
    }
    let refused = other.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!((refused.status.as_u16(), error_of(&refused)["code"].as_str()), (503, Some("server_busy")));
    assert!(refused.headers.contains_key("retry-after"));
    bed.simulator.release(1);
    assert_eq!(silent.await.expect("answered").status, StatusCode::OK);
    assert_eq!(other.post(CHAT, ask("normal", "")).await.expect("answered").status, StatusCode::OK);
    assert!(metrics(&bed.door).await.lines().any(|line| {
        line.strip_prefix("weighbridge_requests_full_total ").is_some_and(|count| count != "0")
    }));
}

#[tokio::test]
async fn a_drain_finishes_32_streams_and_then_ends() {
    let Bed { simulator, door, client: _ } = bed().await;
    let address = door.address;
    let opening = (0..32).map(|_| async move {
        let mut client = Client::connect(address).await.expect("connected");
        let stream =
            client.open(Method::POST, CHAT, &[], ask("gated", r#","stream":true"#)).await.expect("begun");
        (client, stream)
    });
    let begin = async {
        // The head of an answer comes with its first text, the second event of each stream; the gate gives in turn.
        simulator.wait_for(|counts| counts.waiting == 32).await;
        simulator.release(64);
    };
    let (streams, ()) = tokio::join!(futures::future::join_all(opening), begin);
    door.shutdown.drain();
    let mut probe = Client::connect(door.admin).await.expect("the admin port answers until the end");
    assert_eq!(probe.get("/readyz").await.expect("answered").status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(probe.get("/livez").await.expect("answered").status, StatusCode::OK);
    simulator.release(32 * 8);
    for (_client, mut stream) in streams {
        let mut last = None;
        while let Some(event) = stream.event().await.expect("not cut") {
            last = Some(event);
        }
        assert_eq!(last.as_deref(), Some("data: [DONE]\n\n"));
    }
    drop(probe);
    door.ended().await.expect("a clean end");
}

#[tokio::test]
async fn readiness_waits_for_the_directory() {
    let directory = Directory::unsynced();
    let door = Door::gateway(GatewayConfig::default(), directory.clone()).await.expect("a gateway");
    let mut probe = Client::connect(door.admin).await.expect("connected");
    let answer = probe.get("/readyz").await.expect("answered");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().expect("text").contains("not listed yet"));
    directory.replace(Vec::new());
    assert_eq!(probe.get("/readyz").await.expect("answered").status, StatusCode::OK);
}
