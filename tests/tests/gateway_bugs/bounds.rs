//! Memory, labels and limits.

use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weighbridge_gateway::{GatewayConfig, Limits};
use weighbridge_tests::door::{Client, Door, Form, TwoHops};
use weighbridge_tests::simulator::Simulator;

use super::{ask, comes, metric, metrics, open, say};

/// How a request may end, each time that it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// As the model named so ends it.
    Model(&'static str, bool),
    /// With a body of which nothing is a request.
    Body(&'static str),
    /// With a body that is too large.
    TooLarge,
    /// The caller leaves before anything was answered.
    LeftBefore,
    /// The caller leaves in the middle of a stream.
    LeftWithin,
    /// The caller leaves in the middle of its own body.
    LeftAsking,
}

/// Makes one request that ends so.
async fn end_one(door: &Door, simulator: &Simulator, ending: Ending, form: Form) {
    match ending {
        Ending::Model(model, stream) => {
            ask(door, form, model, stream).await;
        }
        Ending::Body(body) => {
            let mut client = Client::connect(door.address).await.expect("connected");
            client.post(&form.path("normal", false), body).await.expect("answered");
        }
        Ending::TooLarge => {
            say(door, form, "normal", false, &"x".repeat(PLACE)).await;
        }
        Ending::LeftBefore => {
            let mut client = Client::connect(door.address).await.expect("connected");
            let (path, body) = (form.path("silent", false), form.body("silent", false, "hi"));
            let asked = client.post(&path, body);
            tokio::select! {
                answered = asked => panic!("{form:?}: {answered:?}"),
                () = simulator.wait_for(|counts| counts.waiting == 1) => {}
            }
        }
        Ending::LeftWithin => {
            simulator.release(form.opening() + 1);
            let mut client = Client::connect(door.address).await.expect("connected");
            let body = form.body("gated", true, "hi");
            drop(client.open(Method::POST, &form.path("gated", true), &[], body).await.expect("begun"));
            drop(client);
            simulator.wait_for(|counts| counts.waiting == 0).await;
        }
        Ending::LeftAsking => {
            let mut stream = TcpStream::connect(door.address).await.expect("connected");
            let path = form.path("normal", false);
            let half = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{{\"model\":");
            stream.write_all(half.as_bytes()).await.expect("written");
        }
    }
}

/// Bytes of all bodies that the bed of bug 15 holds at once, and of the largest.
const PLACE: usize = 4096;

/// Bug 15 (litellm #12685, #27954, #38193): memory that grew with every request until the pod was killed. What a request holds
/// is behind a bound, so that what is not given back shuts the next one out: here far more are made than there are places,
/// in every way that one ends, at a gateway and at a proxy.
#[tokio::test]
async fn bug_15_every_place_that_a_request_takes_comes_back() {
    const MODELS: [&str; 10] = [
        "normal",
        "faithful",
        "gated",
        "silent",
        "cut",
        "truncated",
        "error-in-stream",
        "error-first",
        "html",
        "status-500",
    ];
    let mut endings: Vec<Ending> = MODELS
        .iter()
        .filter(|model| !["gated", "silent"].contains(model))
        .flat_map(|model| [Ending::Model(model, false), Ending::Model(model, true)])
        .collect();
    endings.extend([Ending::Model("nobody", false), Ending::Body("{"), Ending::Body(""), Ending::Body("[]")]);
    endings.extend([Ending::TooLarge, Ending::LeftBefore, Ending::LeftWithin, Ending::LeftAsking]);
    let places = 3;
    let limits =
        Limits { requests: places, buffered_bytes: PLACE, body_bytes: PLACE / 2, ..Limits::default() };
    for form in [Form::Chat, Form::Messages, Form::Events] {
        let config = GatewayConfig { limits: limits.clone(), ..GatewayConfig::default() };
        let bed = TwoHops::with(form.native(), &MODELS, config).await.expect("two hops");
        let TwoHops { simulator, proxy, door, .. } = &bed;
        for ending in &endings {
            for _ in 0..2 * places {
                end_one(door, simulator, *ending, form).await;
                let settled = async {
                    while metric(door, "weighbridge_requests_in_flight", "").await > 0.0
                        || metric(proxy, "weighbridge_provider_requests_in_flight", "").await > 0.0
                        || metric(door, "weighbridge_connections ", "").await > 0.0
                    {
                        tokio::task::yield_now().await;
                    }
                };
                comes(settled, "the end of what was asked").await;
            }
            let answer = ask(door, form, "normal", false).await;
            assert_eq!(answer.status, 200, "{form:?}, after {ending:?}: {:?}", answer.text());
        }
        for (door, name) in
            [(door, "weighbridge_requests_full_total"), (proxy, "weighbridge_requests_full_total")]
        {
            assert_eq!(metric(door, name, "").await, 0.0, "{form:?}: there was a place for everyone");
        }
    }
}

/// Bug 16 (litellm #10595, PR #14929): labels that callers choose fill the memory of whoever scrapes.
#[tokio::test]
async fn bug_16_no_label_holds_what_a_caller_chooses() {
    let simulator = Simulator::start().await.expect("a simulator");
    let door = open(&["normal"], &[&simulator], Limits::default()).await;
    let mut client = Client::connect(door.address).await.expect("connected");
    let mut series = Vec::new();
    for turn in 0..20 {
        let chosen = format!("canary-{turn}");
        for form in Form::ALL {
            ask(&door, form, &chosen, false).await;
        }
        let body = format!(
            r#"{{"model":"normal","user":"{chosen}","metadata":{{"x":"{chosen}"}},"messages":[{{"role":"user","content":"{chosen}"}}]}}"#
        );
        let headers = [("x-request-id", chosen.as_str()), ("user-agent", &chosen), ("x-api-key", &chosen)];
        let method = Method::from_bytes(chosen.to_uppercase().as_bytes()).expect("a method");
        client.open(Method::POST, "/v1/chat/completions", &headers, body).await.expect("answered");
        client = Client::connect(door.address).await.expect("connected");
        let unknown = client.open(method, &format!("/v1/{chosen}?{chosen}"), &headers, "").await;
        unknown.expect("answered").whole().await.expect("whole");
        client = Client::connect(door.address).await.expect("connected");
        let metrics = metrics(&door).await;
        assert!(!metrics.to_lowercase().contains("canary"), "{metrics}");
        series.push(metrics.lines().count());
    }
    assert_eq!(series[1], series[19], "no caller adds a series: {series:?}");
}

/// Bug 21 (Envoy ai-gateway #1866, #1169): a limit that was configured did nothing.
#[tokio::test]
async fn bug_21_every_limit_that_is_set_holds() {
    let simulator = Simulator::start().await.expect("a simulator");
    let one_kilobyte = "x".repeat(1000);
    // Without `..`: a limit more has to be tried here.
    let Limits { body_bytes, buffered_bytes, connections, requests, answer_bytes, event_bytes } =
        Limits::default();
    let all = [body_bytes, buffered_bytes, connections, requests, answer_bytes, event_bytes];
    assert!(all.iter().all(|limit| *limit > 1000));
    for (limits, stream, status, said) in [
        (Limits { body_bytes: 999, ..Limits::default() }, false, 413, "larger than the limit of 999 bytes"),
        (Limits { buffered_bytes: 999, ..Limits::default() }, false, 503, "server_busy"),
        (Limits { requests: 0, ..Limits::default() }, false, 503, "server_busy"),
        (Limits { answer_bytes: 99, ..Limits::default() }, false, 502, "larger than 99 bytes"),
        (Limits { event_bytes: 9, ..Limits::default() }, true, 502, "9 bytes"),
    ] {
        let door = open(&["normal"], &[&simulator], limits.clone()).await;
        let answer = say(&door, Form::Chat, "normal", stream, &one_kilobyte).await;
        let text = answer.text().expect("text");
        assert_eq!(answer.status, status, "{limits:?}: {text}");
        assert!(text.contains(said), "{limits:?}: {text}");
    }
    let door = open(&["normal"], &[&simulator], Limits::default()).await;
    for stream in [false, true] {
        assert_eq!(say(&door, Form::Chat, "normal", stream, &one_kilobyte).await.status, 200);
    }
    // Who finds no place among the connections waits for one.
    let door = open(&["normal"], &[&simulator], Limits { connections: 1, ..Limits::default() }).await;
    let mut first = Client::connect(door.address).await.expect("connected");
    assert_eq!(first.get("/v1/models").await.expect("answered").status, 200);
    let mut second = Client::connect(door.address).await.expect("connected");
    let mut waits = std::pin::pin!(second.get("/v1/models"));
    let full = async {
        while metric(&door, "weighbridge_connections_full_total", "").await == 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answered = &mut waits => panic!("{answered:?}"),
        () = full => {}
    }
    drop(first);
    assert_eq!(waits.await.expect("answered").status, 200);
}

/// Bug 22 (Envoy ai-gateway #828, cluster-forge #832): a coding agent's turn of a megabyte was a 413. It passes both
/// hops in every dialect, and what is too large is said as each dialect says it.
#[tokio::test]
async fn bug_22_a_turn_of_megabytes_passes_and_beyond_the_limit_is_413() {
    let turn = "bug ".repeat(1 << 19);
    for form in Form::ALL {
        let bed = TwoHops::new(form.native(), &["faithful"]).await.expect("two hops");
        let answer = say(&bed.door, form, "faithful", true, &turn).await;
        assert_eq!(answer.status, 200, "{form:?}");
        let seen = bed.simulator.seen().remove(0);
        assert_eq!(
            std::str::from_utf8(&seen.body).expect("text").matches("bug ").count(),
            1 << 19,
            "{form:?}"
        );

        let limits = Limits { body_bytes: 1 << 20, ..Limits::default() };
        let door = open(&["normal"], &[&bed.simulator], limits).await;
        let answer = say(&door, form, "normal", true, &turn).await;
        assert_eq!(answer.status, 413, "{form:?}");
        let error = answer.json().expect("JSON")["error"].clone();
        match form {
            Form::Chat | Form::Responses => assert_eq!(error["code"], "payload_too_large"),
            Form::Messages => assert_eq!(error["type"], "request_too_large"),
            Form::Events | Form::Array => assert_eq!(error["status"], "INVALID_ARGUMENT"),
        }
    }
}
