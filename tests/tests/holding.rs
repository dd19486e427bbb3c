//! Requests that wait for their model to have an endpoint, over real connections.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::SocketAddr;

use http::{Method, StatusCode};
use tokio::task::{JoinHandle, JoinSet, yield_now};
use weighbridge_crds::Hold;
use weighbridge_gateway::directory::{Absence, Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, Limits};
use weighbridge_tests::door::{Answer, Client, Door, entry};
use weighbridge_tests::simulator::{COMPLETION_TOKENS, Simulator, completion, events};
use weighbridge_wire::provider::Kind;

const CHAT: &str = "/v1/chat/completions";

struct Bed {
    simulator: Simulator,
    directory: Directory,
    door: Door,
}

impl Bed {
    async fn new() -> Self {
        Self::with(GatewayConfig::default(), Hold::default()).await
    }

    /// A gateway that knows the model `normal`, which has no endpoint, and `silent`, which has one.
    async fn with(config: GatewayConfig, hold: Hold) -> Self {
        let simulator = Simulator::start().await.expect("a simulator");
        let directory = Directory::default();
        let door = Door::gateway(config, directory.clone()).await.expect("a gateway");
        let bed = Self { simulator, directory, door };
        bed.knows(Entry { hold, ..entry("normal", World::Open, &[]) });
        bed
    }

    fn knows(&self, model: Entry) {
        self.directory.replace(vec![model, entry("silent", World::Open, &[self.simulator.address()])]);
    }

    fn comes(&self) {
        self.knows(entry("normal", World::Open, &[self.simulator.address()]));
    }

    /// A request under way, on a connection of its own.
    fn ask(&self, path: &'static str, body: String) -> JoinHandle<Answer> {
        let address = self.door.address;
        tokio::spawn(async move { post(address, path, body).await })
    }

    async fn metric(&self, name: &str, label: &str) -> f64 {
        let mut client = Client::connect(self.door.admin).await.expect("connected");
        let text = client.get("/metrics").await.expect("metrics").text().expect("text").to_owned();
        let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
        let value = |line: &str| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number");
        text.lines().filter(of).map(value).sum()
    }

    async fn until(&self, name: &str, label: &str, value: f64) {
        while self.metric(name, label).await != value {
            yield_now().await;
        }
    }

    /// Waits until so many wait for `normal`.
    async fn held(&self, count: f64) {
        self.until("weighbridge_held_requests", "model=\"normal\"", count).await;
    }
}

async fn post(address: SocketAddr, path: &str, body: String) -> Answer {
    let mut client = Client::connect(address).await.expect("connected");
    client.post(path, body).await.expect("answered")
}

fn chat(model: &str, more: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"{model}"{more}}}"#)
}

fn waited(answer: &Answer) -> f64 {
    answer.headers["x-weighbridge-held"].to_str().expect("text").parse().expect("seconds")
}

fn code(answer: &Answer) -> String {
    answer.json().expect("JSON")["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn who_waits_gets_the_answer_as_if_it_had_been_there_and_hears_how_long_it_waited() {
    let bed = Bed::new().await;
    let whole = bed.ask(CHAT, chat("normal", ""));
    let stream = bed.ask(CHAT, chat("team/normal", r#","stream":true"#));
    let message = bed.ask(
        "/v1/messages",
        r#"{"model":"normal","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#.to_owned(),
    );
    bed.held(3.0).await;
    assert_eq!(bed.simulator.counts().requests, 0);
    assert!(bed.metric("weighbridge_held_bytes", "model=\"normal\"").await > 150.0);
    bed.comes();
    let whole = whole.await.expect("no panic");
    assert_eq!(whole.text().expect("text"), completion("normal", true));
    let stream = stream.await.expect("no panic");
    let all = events("team/normal", true, COMPLETION_TOKENS as usize, true);
    let kept: Vec<_> = all.into_iter().filter(|event| !event.contains(r#""choices":[]"#)).collect();
    assert_eq!(stream.text().expect("text"), kept.concat());
    let message = message.await.expect("no panic");
    assert_eq!(message.status, StatusCode::OK, "{message:?}");
    for answer in [whole, stream, message] {
        assert!(waited(&answer) >= 0.0);
    }
    // Who comes when it is there waits for nothing.
    let after = post(bed.door.address, CHAT, chat("normal", "")).await;
    assert!(after.status == StatusCode::OK && !after.headers.contains_key("x-weighbridge-held"), "{after:?}");
    bed.held(0.0).await;
    assert_eq!(bed.metric("weighbridge_holds_total", "end=\"released\"").await, 3.0);
    assert_eq!(bed.metric("weighbridge_held_seconds_count", "model=\"normal\"").await, 3.0);
    assert_eq!(bed.metric("weighbridge_held_bytes", "model=\"normal\"").await, 0.0);
}

#[tokio::test]
async fn who_leaves_frees_its_place() {
    let bed = Bed::with(GatewayConfig::default(), Hold { max_queued: 1, ..Hold::default() }).await;
    let mut leaves = Client::connect(bed.door.address).await.expect("connected");
    let asking = leaves.open(Method::POST, CHAT, &[("content-type", "application/json")], chat("normal", ""));
    {
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            answered = &mut asking => panic!("{:?}", answered.map(|answer| answer.status)),
            () = bed.held(1.0) => {}
        }
        // Its connection ends with the request: until here it waits.
        let full = post(bed.door.address, CHAT, chat("normal", "")).await;
        assert_eq!((full.status.as_u16(), code(&full).as_str()), (503, "hold_full"));
        assert!(full.headers.contains_key("retry-after"));
    }
    drop(leaves);
    bed.held(0.0).await;
    bed.until("weighbridge_requests_total", "code=\"499\"", 1.0).await;
    let stays = bed.ask(CHAT, chat("normal", ""));
    bed.held(1.0).await;
    bed.comes();
    assert_eq!(stays.await.expect("no panic").status, StatusCode::OK);
    for (end, count) in [("left", 1.0), ("full", 1.0), ("released", 1.0)] {
        assert_eq!(bed.metric("weighbridge_holds_total", &format!("end=\"{end}\"")).await, count, "{end}");
    }
}

/// In the words of each dialect's own clients.
#[tokio::test]
async fn those_who_wait_for_nothing_hear_why_in_their_own_dialect() {
    let bed = Bed::new().await;
    let content = r#"[{"role":"user","content":"hi"}]"#;
    let contents = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#.to_owned();
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#.to_owned();
    let asked = [
        (CHAT, chat("normal", r#","stream":true"#), 503),
        ("/v1/messages", format!(r#"{{"model":"normal","max_tokens":9,"messages":{content}}}"#), 529),
        ("/v1beta/models/normal:generateContent", contents, 503),
        ("/model/normal/converse", converse, 503),
    ];
    let asked = asked.map(|(path, body, status)| (bed.ask(path, body), status));
    bed.held(4.0).await;
    let absence = Absence::lasting("model_not_accepted", "its ModelDeployment is not accepted (InvalidSpec)");
    bed.knows(Entry { absence, ..entry("normal", World::Open, &[]) });
    for (answer, status) in asked {
        let answer = answer.await.expect("no panic");
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert!(answer.text().expect("text").contains("not accepted (InvalidSpec)"), "{answer:?}");
        assert_eq!(
            (&answer.headers["retry-after"], waited(&answer) >= 0.0),
            (&"60".parse().expect("a value"), true)
        );
        assert_eq!(answer.headers["x-should-retry"], "false", "nothing mends it but a person");
    }
    bed.held(0.0).await;
}

/// Each was made into the words of the engine that it waited for, and is made anew for the provider that answers.
#[tokio::test]
async fn who_waits_goes_along_with_a_swap_of_worlds() {
    let bed = Bed::new().await;
    let message = r#"{"model":"normal","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let asked = [
        bed.ask(CHAT, chat("normal", "")),
        bed.ask(CHAT, chat("team/normal", r#","stream":true"#)),
        bed.ask("/v1/messages", message.to_owned()),
    ];
    bed.held(3.0).await;
    let speaks = Kind::OpenAiCompatible.speaks("normal");
    bed.knows(Entry { speaks, ..entry("normal", World::Closed, &[bed.simulator.address()]) });
    for answer in asked {
        let answer = answer.await.expect("no panic");
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.headers["x-weighbridge-world"], "closed");
        assert!(waited(&answer) >= 0.0);
    }
    let paths = bed.simulator.seen().into_iter().map(|seen| seen.path).collect::<Vec<_>>();
    assert_eq!(paths, [CHAT; 3], "an engine would have been asked for the message as it came");
    assert_eq!(bed.metric("weighbridge_holds_total", "end=\"changed\"").await, 3.0);
    bed.until("weighbridge_requests_total", "world=\"closed\"", 3.0).await;
    for world in ["open", "closed"] {
        let label = format!("world=\"{world}\"");
        assert_eq!(bed.metric("weighbridge_requests_in_flight", &label).await, 0.0, "{world}");
    }
}

/// A swap that comes back and forth is no reason to go round for ever.
#[tokio::test]
async fn who_finds_its_model_swapped_again_and_again_hears_so() {
    let bed = Bed::new().await;
    let asked = bed.ask(CHAT, chat("normal", ""));
    for name in ["one", "two", "three", "four"] {
        bed.held(1.0).await;
        let before = bed.metric("weighbridge_holds_total", "end=\"changed\"").await;
        bed.knows(Entry { upstream_model: name.to_owned(), ..entry("normal", World::Open, &[]) });
        bed.until("weighbridge_holds_total", "end=\"changed\"", before + 1.0).await;
    }
    let answer = asked.await.expect("no panic");
    assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "model_changed"));
    assert_eq!(answer.headers["retry-after"], "1");
    bed.held(0.0).await;
}

#[tokio::test]
async fn a_gateway_that_ends_sends_those_who_wait_elsewhere_and_finishes_what_is_open() {
    let bed = Bed::new().await;
    let open = bed.ask(CHAT, chat("silent", ""));
    bed.simulator.wait_for(|counts| counts.waiting == 1).await;
    let held = [bed.ask(CHAT, chat("normal", "")), bed.ask(CHAT, chat("normal", ""))];
    bed.held(2.0).await;
    bed.door.shutdown.drain();
    for answer in held {
        let answer = answer.await.expect("no panic");
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "gateway_draining"));
        assert_eq!(answer.headers["retry-after"], "1");
    }
    bed.simulator.release(1);
    assert_eq!(open.await.expect("no panic").status, StatusCode::OK);
    let Bed { door, .. } = bed;
    door.ended().await.expect("nothing was cut");
}

/// What waits for one model leaves room for the others' requests.
#[tokio::test]
async fn those_who_wait_shut_nobody_else_out() {
    let limits = Limits { requests: 8, buffered_bytes: 4000, body_bytes: 1000, ..Limits::default() };
    let bed = Bed::with(GatewayConfig { limits, ..GatewayConfig::default() }, Hold::default()).await;
    let mut small = JoinSet::new();
    for _ in 0..8 {
        small.spawn(post(bed.door.address, CHAT, chat("normal", "")));
    }
    for _ in 0..4 {
        let refused = small.join_next().await.expect("half of them").expect("no panic");
        assert_eq!(code(&refused), "hold_full", "{refused:?}");
    }
    bed.held(4.0).await;
    let passes = bed.ask(CHAT, chat("silent", ""));
    bed.simulator.wait_for(|counts| counts.waiting == 1).await;
    bed.simulator.release(1);
    assert_eq!(passes.await.expect("no panic").status, StatusCode::OK);
    small.shutdown().await;
    bed.held(0.0).await;

    let long = chat("normal", &format!(r#","user":"{}""#, "x".repeat(800)));
    let mut large = JoinSet::new();
    for _ in 0..4 {
        large.spawn(post(bed.door.address, CHAT, long.clone()));
    }
    for _ in 0..3 {
        let refused = large.join_next().await.expect("all but one").expect("no panic");
        assert!(matches!(code(&refused).as_str(), "hold_full" | "server_busy"), "{refused:?}");
    }
    bed.held(1.0).await;
    let passes = bed.ask(CHAT, chat("silent", ""));
    bed.simulator.wait_for(|counts| counts.waiting == 1).await;
    bed.simulator.release(1);
    assert_eq!(passes.await.expect("no panic").status, StatusCode::OK);
    bed.comes();
    let answer = large.join_next().await.expect("the one").expect("no panic");
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(bed.simulator.seen().iter().any(|seen| seen.body.len() > 800), "all of it was kept");
    assert!(bed.metric("weighbridge_holds_total", "end=\"no_room\"").await >= 5.0);
}
