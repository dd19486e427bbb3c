//! One test for each bug of other gateways that takes a whole gateway to have (the table of all
//! of them is in tests/README.md). Those of translation are in `wire`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weighbridge_gateway::access::{Access, Digest};
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, Limits, ProxyConfig};
use weighbridge_tests::door::{
    Answer, Client, Door, Form, TwoHops, entry, model_access, proxy_config, write_keys,
};
use weighbridge_tests::simulator::{HINT_SECONDS, Simulator};
use weighbridge_wire::provider::Kind;

/// Longer than anything here takes: what is still not there will not come.
const NEVER: Duration = Duration::from_secs(30);

/// What comes, or the test fails.
async fn comes<T>(future: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(NEVER, future).await {
        Ok(come) => come,
        Err(_) => panic!("it never comes: {what}"),
    }
}

/// A model of open weights that answers as `model` does, at each of `simulators`.
async fn open(models: &[&str], simulators: &[&Simulator], limits: Limits) -> Door {
    let at: Vec<_> = simulators.iter().map(|simulator| simulator.address()).collect();
    let entries = models.iter().map(|model| entry(model, World::Open, &at)).collect();
    let config = GatewayConfig { limits, ..GatewayConfig::default() };
    Door::gateway(config, Directory::from_entries(entries)).await.expect("a gateway")
}

async fn ask(door: &Door, form: Form, model: &str, stream: bool) -> Answer {
    say(door, form, model, stream, "hi").await
}

async fn say(door: &Door, form: Form, model: &str, stream: bool, question: &str) -> Answer {
    let mut client = Client::connect(door.address).await.expect("connected");
    let body = form.body(model, stream, question);
    client.post(&form.path(model, stream), body).await.expect("answered")
}

async fn metrics(door: &Door) -> String {
    let mut client = Client::connect(door.admin).await.expect("connected");
    client.get("/metrics").await.expect("metrics").text().expect("text").to_owned()
}

/// The sum of the series of `name` whose labels hold `label`.
async fn metric(door: &Door, name: &str, label: &str) -> f64 {
    let text = metrics(door).await;
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
}

/// Bug 3 (litellm #29808): a stream that broke was either a success or begun again in the middle of an answer. Here it
/// ends with an error, and no other attempt is made: not at another replica, and not at the provider.
#[tokio::test]
async fn bug_3_a_stream_that_breaks_is_told_of_and_never_begun_again() {
    const BREAKING: [&str; 4] = ["cut", "truncated", "error-in-stream", "invalid-json"];
    let (one, other) = (Simulator::start().await.expect("one"), Simulator::start().await.expect("another"));
    let replicas = open(&BREAKING, &[&one, &other], Limits::default()).await;
    for form in Form::ALL {
        let provider = TwoHops::new(form.native(), &BREAKING).await.expect("two hops");
        for model in BREAKING {
            let asked =
                |all: &[&Simulator]| all.iter().map(|simulator| simulator.counts().requests).sum::<u64>();
            for (door, simulators) in
                [(&replicas, &[&one, &other][..]), (&provider.door, &[&provider.simulator][..])]
            {
                let before = asked(simulators);
                let answer = ask(door, form, model, true).await;
                let text = answer.text().expect("text");
                assert_eq!(
                    (answer.status.as_u16(), text.matches("Hello").count()),
                    (200, 1),
                    "{form:?} {text}"
                );
                let told = ["broke off", "out of luck", "upstream's answer"]
                    .iter()
                    .any(|words| text.contains(words));
                assert!(told, "{form:?} {model}: {text}");
                assert_eq!(asked(simulators), before + 1, "{form:?} {model}");
            }
        }
        assert_eq!(
            metric(&provider.door, "weighbridge_streams_cut_total", "").await,
            BREAKING.len() as f64,
            "{form:?}"
        );
    }
}

/// Bug 3, its other half: before the first token the failure is not shown, and the next attempt is the answer.
#[tokio::test]
async fn bug_3_a_stream_that_fails_before_its_first_token_is_tried_again() {
    for form in [Form::Chat, Form::Responses] {
        let bed = TwoHops::new(Kind::OpenAi, &["once-error-first"]).await.expect("two hops");
        let answer = ask(&bed.door, form, "once-error-first", true).await;
        let text = answer.text().expect("text");
        assert_eq!((answer.status.as_u16(), text.contains("Hello")), (200, true), "{form:?} {text}");
        assert!(!text.contains("out of luck"), "{form:?}: {text}");
        assert_eq!(bed.simulator.counts().requests, 2, "{form:?}");
        assert_eq!(metric(&bed.door, "weighbridge_retries_total", "").await, 1.0, "{form:?}");
    }
}

/// Bug 4 (litellm #13774, #30223): a caller left and the provider went on, at a price. Over both hops, in every dialect,
/// before the first token and after it.
#[tokio::test]
async fn bug_4_a_caller_that_leaves_cancels_the_provider() {
    for form in Form::ALL {
        let bed = TwoHops::new(form.native(), &["gated"]).await.expect("two hops");
        let (path, body) = (form.path("gated", true), form.body("gated", true, "hi"));
        // Before: the head has come, and no event.
        let mut client = Client::connect(bed.door.address).await.expect("connected");
        {
            let mut begun = std::pin::pin!(client.open(Method::POST, &path, &[], body.clone()));
            tokio::select! {
                _ = &mut begun => panic!("{form:?} begins with nothing"),
                () = bed.simulator.wait_for(|counts| counts.waiting == 1) => {}
            }
        }
        drop(client);
        let left = bed.simulator.wait_for(|counts| counts.abandoned == 1);
        comes(left, "the provider's end before the first token").await;
        // After.
        bed.simulator.release(form.opening() + 1);
        let mut client = Client::connect(bed.door.address).await.expect("connected");
        let stream = client.open(Method::POST, &path, &[], body).await.expect("begun");
        drop((stream, client));
        let left = bed.simulator.wait_for(|counts| counts.abandoned == 2);
        comes(left, "the provider's end after it").await;
        for door in [&bed.door, &bed.proxy] {
            let settled = async {
                while metric(door, "weighbridge_", "code=\"499\"").await < 2.0 {
                    tokio::task::yield_now().await;
                }
            };
            comes(settled, "both requests counted as left").await;
        }
        assert_eq!(metric(&bed.door, "weighbridge_requests_in_flight", "").await, 0.0, "{form:?}");
    }
}

/// Bug 7 (litellm #20722, #27823, #25507): what a provider says of when to come again was ignored or lost. Every way to
/// say it comes to every dialect's own.
#[tokio::test]
async fn bug_7_when_to_come_again_is_told_in_every_dialect() {
    for (kind, model, seconds) in [
        (Kind::OpenAi, "limited-retry-after", HINT_SECONDS),
        (Kind::OpenAi, "limited-retry-after-date", HINT_SECONDS),
        (Kind::OpenAi, "limited-openai-resets", HINT_SECONDS),
        (Kind::OpenAi, "limited-retry-after-ms", 1),
        (Kind::Anthropic, "limited-retry-after", HINT_SECONDS),
        (Kind::Anthropic, "limited-anthropic-resets", HINT_SECONDS),
        (Kind::Gemini, "limited-retry-info", HINT_SECONDS),
    ] {
        for form in Form::ALL {
            let bed = TwoHops::new(kind, &[model]).await.expect("two hops");
            let answer = ask(&bed.door, form, model, true).await;
            assert_eq!(answer.status, 429, "{kind} {form:?} {model}");
            let told = answer.headers["retry-after"].to_str().expect("text");
            let told: u64 = told.parse().expect("seconds");
            // A time of day that lies between two seconds is not waited for too little.
            let by_day = u64::from(matches!(model, "limited-anthropic-resets" | "limited-retry-after-date"));
            assert!((seconds..=seconds + by_day).contains(&told), "{kind} {form:?} {model}: {told}");
            let body = answer.text().expect("text");
            let in_body = body.contains(&format!("\"retryDelay\":\"{told}s\""));
            assert_eq!(in_body, matches!(form, Form::Events | Form::Array), "{kind} {model}: {body}");
        }
    }
}

/// The same: official clients wait for a minute at most, and after a wait that is longer they would only be refused again.
#[tokio::test]
async fn bug_7_a_wait_that_clients_would_not_obey_is_not_to_be_waited_for() {
    for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Gemini] {
        for form in Form::ALL {
            let bed = TwoHops::new(kind, &["limited-retry-after-long"]).await.expect("two hops");
            // In the provider's words, and then in ours, for its key rests.
            for _ in 0..2 {
                let answer = ask(&bed.door, form, "limited-retry-after-long", true).await;
                assert_eq!(answer.status, 429, "{kind} {form:?}");
                let said = ["retry-after", "x-should-retry"]
                    .map(|name| answer.headers[name].to_str().expect("text"));
                assert_eq!(said, ["60", "false"], "{kind} {form:?}");
            }
        }
    }
}

/// Bug 13 (Kong #12680, #14425, higress #2865): events were held back. Each is passed on before the next is made, as it
/// comes and translated, over one hop and over two.
#[tokio::test]
async fn bug_13_no_event_is_held_back() {
    for form in Form::ALL {
        let native = TwoHops::new(form.native(), &["gated"]).await.expect("two hops");
        let simulator = Simulator::start().await.expect("a simulator");
        let engine = open(&["gated"], &[&simulator], Limits::default()).await;
        for (door, simulator, opening) in [
            (&native.door, &native.simulator, form.opening()),
            // Whatever the caller speaks, an engine speaks chat.
            (&engine, &simulator, Form::Chat.opening()),
        ] {
            let passes = async {
                simulator.release(opening + 1);
                let mut client = Client::connect(door.address).await.expect("connected");
                let body = form.body("gated", true, "hi");
                let begun = client.open(Method::POST, &form.path("gated", true), &[], body).await;
                let mut stream = begun.expect("begun");
                let mut seen = String::new();
                for word in ["Hello", ", w", "😀", "!"] {
                    assert!(!seen.contains(word), "{form:?}: {seen}");
                    while !seen.contains(word) {
                        let piece = stream.piece().await.expect("not cut").expect("no end yet");
                        seen.push_str(std::str::from_utf8(&piece).expect("whole characters"));
                    }
                    simulator.release(1);
                }
                simulator.release(100);
                stream.whole().await.expect("it ends");
            };
            comes(passes, "an event that is held back").await;
        }
    }
}

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
        let folder = tempfile::tempdir().expect("a folder");
        let keys = write_keys(folder.path(), &[("sk-canary", 1)]).expect("written");
        let simulator = Simulator::start().await.expect("a simulator");
        let base_url = format!("http://{}/v1", simulator.address());
        let config = ProxyConfig { limits: limits.clone(), ..proxy_config(form.native(), &base_url, keys) };
        let proxy = Door::proxy(config).await.expect("a proxy");
        let entry = |model: &&str| Entry {
            speaks: form.native().speaks(model),
            ..entry(model, World::Closed, &[proxy.address])
        };
        let directory = Directory::from_entries(MODELS.iter().map(entry).collect());
        let config = GatewayConfig { limits: limits.clone(), ..GatewayConfig::default() };
        let door = Door::gateway(config, directory).await.expect("a gateway");
        for ending in &endings {
            for _ in 0..2 * places {
                end_one(&door, &simulator, *ending, form).await;
                let settled = async {
                    while metric(&door, "weighbridge_requests_in_flight", "").await > 0.0
                        || metric(&proxy, "weighbridge_provider_requests_in_flight", "").await > 0.0
                        || metric(&door, "weighbridge_connections ", "").await > 0.0
                    {
                        tokio::task::yield_now().await;
                    }
                };
                comes(settled, "the end of what was asked").await;
            }
            let answer = ask(&door, form, "normal", false).await;
            assert_eq!(answer.status, 200, "{form:?}, after {ending:?}: {:?}", answer.text());
        }
        for (door, name) in
            [(&door, "weighbridge_requests_full_total"), (&proxy, "weighbridge_requests_full_total")]
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

/// Bug 17 (agentgateway #2171, TensorZero #4260): keys were a matter of the start. One that is made while the gateway runs calls
/// its models, and no other, through every door; and it is out with the next request once it is taken away.
#[tokio::test]
async fn bug_17_a_key_comes_changes_and_goes_while_the_gateway_runs() {
    const KEY: &str = "wb-bug-17";
    let simulator = Simulator::start().await.expect("a simulator");
    let entries =
        ["normal", "faithful"].map(|model| entry(model, World::Open, &[simulator.address()])).into();
    let access = Access::from_resources(&[]);
    let directory = Directory::from_entries(entries);
    let door = Door::guarded(GatewayConfig::default(), directory, access.clone()).await.expect("a gateway");
    let team = |models: &[&str]| [model_access("team", "apps", &[("ci", KEY)], models)];
    for (held, statuses) in [
        (Vec::new(), [401, 401]),
        (team(&["normal"]).into(), [200, 403]),
        (team(&["faithful"]).into(), [403, 200]),
        (team(&["*"]).into(), [200, 200]),
        (vec![model_access("team", "apps", &[("ci", "another")], &["*"])], [401, 401]),
    ] {
        access.replace(&held);
        for form in Form::ALL {
            for (model, status) in ["normal", "faithful"].into_iter().zip(statuses) {
                let mut client = Client::connect(door.address).await.expect("connected");
                let (path, body) = (form.path(model, false), form.body(model, false, "hi"));
                let asked = client.open(Method::POST, &path, &[("x-api-key", KEY)], body).await;
                let answer = asked.expect("begun").whole().await.expect("answered");
                assert_eq!(answer.status, status, "{form:?} {model}: {:?}", answer.text());
            }
        }
    }
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

/// A door for who has a key of it, and a key.
async fn guarded() -> (Simulator, Door) {
    let simulator = Simulator::start().await.expect("a simulator");
    let access = Access::from_resources(&[model_access("team", "apps", &[("ci", GOOD)], &["*"])]);
    let directory = Directory::from_entries(vec![entry("normal", World::Open, &[simulator.address()])]);
    let door = Door::guarded(GatewayConfig::default(), directory, access).await.expect("a gateway");
    (simulator, door)
}

const GOOD: &str = "wb-bug-23";

/// The status of the answer to a request that is written by hand.
async fn raw(door: &Door, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(door.address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut text = String::new();
    // Who is not read to the end may be cut off.
    let _ = stream.read_to_string(&mut text).await;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer to {request:?}: {text:?}")), text)
}

/// Bug 23 (CVE-2026-49468): who named another host, or another path in a header, passed without a key. Here nothing that a
/// caller says of hosts, of addresses or of the way decides: every path asks for a key, but for none that is served.
#[tokio::test]
async fn bug_23_no_host_no_path_and_no_header_opens_the_door() {
    let (simulator, door) = guarded().await;
    let body = r#"{"model":"normal","messages":[{"role":"user","content":"hi"}]}"#;
    let (port, length) = (door.address.port(), body.len());
    let mut tried = 0;
    for (method, path) in [
        ("POST", "/v1/chat/completions".to_owned()),
        ("POST", "/v1/completions".to_owned()),
        ("POST", "/v1/embeddings".to_owned()),
        ("POST", "/v1/rerank".to_owned()),
        ("POST", "/v1/responses".to_owned()),
        ("POST", "/v1/messages".to_owned()),
        ("POST", "/v1/messages/count_tokens".to_owned()),
        ("POST", "/v1beta/models/normal:generateContent".to_owned()),
        ("POST", "/v1beta/models/normal:streamGenerateContent?alt=sse".to_owned()),
        ("POST", "/v1beta/models/normal:countTokens".to_owned()),
        ("POST", "/v1beta/models/normal:embedContent".to_owned()),
        ("GET", "/v1/models".to_owned()),
        ("GET", "/v1/models/normal".to_owned()),
        ("GET", "/v1beta/models".to_owned()),
        ("POST", "/v1/chat/completions?path=/livez".to_owned()),
        ("POST", format!("http://127.0.0.1:{port}/v1/chat/completions")),
        ("POST", "http://localhost/v1/chat/completions".to_owned()),
        ("POST", "http://user:pass@admin/v1/chat/completions".to_owned()),
    ] {
        for headers in [
            "host: gateway.test".to_owned(),
            format!("host: 127.0.0.1:{port}"),
            "host: localhost".to_owned(),
            "host: localhost:9090/livez?".to_owned(),
            "host:".to_owned(),
            "host: x\r\nx-forwarded-host: localhost\r\nx-forwarded-for: 127.0.0.1\r\nx-real-ip: ::1"
                .to_owned(),
            "host: x\r\nforwarded: for=127.0.0.1;host=localhost;proto=https".to_owned(),
            "host: x\r\nx-original-url: /livez\r\nx-rewrite-url: /metrics\r\nx-forwarded-prefix: /livez"
                .to_owned(),
            "host: x\r\nx-forwarded-user: admin\r\nremote-user: admin\r\nx-weighbridge-host: localhost"
                .to_owned(),
        ] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let (status, text) = raw(&door, &request).await;
            // What is no request at all is none for anybody.
            assert!([400, 401].contains(&status), "{request}: {text}");
            assert!(!text.contains("\"object\""), "{request}: {text}");
            tried += usize::from(status == 401);
        }
    }
    assert!(tried > 140, "{tried} of them asked for a key");
    // What lies beside the doors is served to nobody, with a key or without.
    for path in [
        "//v1/models",
        "/v1//models",
        "/V1/models",
        "/v1/./models",
        "/livez/../v1/models",
        "/%76%31/models",
        "/v1/models%2f..%2f..%2flivez",
        "/metrics",
        "/livez",
        "/readyz",
        "/tokenize",
        "/weighbridge/residency",
        "/admin",
        "/",
    ] {
        for key in ["", "x-api-key: wb-bug-23\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{key}connection: close\r\n\r\n");
            let (status, text) = raw(&door, &request).await;
            assert!([401, 403, 404, 405].contains(&status), "{request}: {text}");
            assert!(!text.contains("weighbridge_requests"), "{text}");
        }
    }
    assert_eq!(simulator.counts().requests, 0, "nobody came through");
}

/// Bug 23 again (CVE-2026-42208): what a caller sends for a key was read as more than a key. It is hashed, and the hash is
/// looked for; nothing else that resembles it is let in, the hash itself least of all.
#[tokio::test]
async fn bug_23_nothing_but_the_key_is_a_key() {
    let (simulator, door) = guarded().await;
    let ask = async |header: &'static str, value: &str| {
        let mut client = Client::connect(door.address).await.expect("connected");
        let body = Form::Chat.body("normal", false, "hi");
        let asked =
            client.open(Method::POST, &Form::Chat.path("normal", false), &[(header, value)], body).await;
        asked.expect("begun").whole().await.expect("answered").status.as_u16()
    };
    let hash = Digest::of(GOOD.as_bytes()).to_string();
    let long = GOOD.repeat(1000);
    let wrong = [
        "' OR '1'='1",
        "') OR 1=1 --",
        "*",
        "%",
        "wb-bug-2",
        "wb-bug-233",
        "WB-BUG-23",
        "null",
        "undefined",
        "true",
        "{\"$ne\":\"\"}",
        "wb-bug-23,",
        "wb-bug-23,wb-bug-23",
        "wb-bug-23 wb-bug-23",
        &hash,
        &long,
    ];
    for value in wrong {
        for header in ["x-api-key", "x-goog-api-key", "api-key"] {
            assert_eq!(ask(header, value).await, 401, "{header}: {value}");
        }
        assert_eq!(ask("authorization", &format!("Bearer {value}")).await, 401, "{value}");
    }
    for value in
        ["Bearer", "Bearer ", "Basic d2ItYnVnLTIzOg==", "wb-bug-23", "Bearer: wb-bug-23", "Token wb-bug-23"]
    {
        assert_eq!(ask("authorization", value).await, 401, "{value}");
    }
    assert_eq!(simulator.counts().requests, 0, "nobody came through");
    assert_eq!(ask("x-api-key", GOOD).await, 200);
}
