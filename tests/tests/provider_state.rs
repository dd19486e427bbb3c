//! What a proxy knows of its provider and tells: keys, models, errors, outages.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod provider_script;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Response};
use provider_script::{Provider, Seen, a_path, config, json, put, write_keys};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use weighbridge_crds::{KeyCondition, ProviderState, UpstreamHealth};
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, ProxyConfig, Timeouts};
use weighbridge_tests::door::{Answer, Client, ClosedPort, Door, Form, TwoHops, entry};
use weighbridge_wire::provider::Kind;

const CANARY: &str = "sk-canary-5f1d";
/// For what comes at once; nothing waits for its end.
const DEADLINE: Duration = Duration::from_secs(60);

struct Bed {
    folder: TempDir,
    provider: Provider,
    door: Door,
    kind: Kind,
}

fn ok() -> Response<String> {
    json(200, &[], r#"{"fine":true}"#)
}

fn list(names: &[&str]) -> Response<String> {
    let models: Vec<_> = names.iter().map(|name| serde_json::json!({"id": name})).collect();
    json(200, &[], &serde_json::json!({"data": models}).to_string())
}

fn refused(seen: &Seen) -> Response<String> {
    let message = format!("Incorrect API key provided: {} (sk-ca***5f1d)", seen.key);
    let body =
        serde_json::json!({"type": "error", "error": {"type": "authentication_error", "message": message}});
    json(401, &[], &body.to_string())
}

/// Looks again at what is wrong without a wait that a test would feel.
fn soon(config: ProxyConfig) -> ProxyConfig {
    let timeouts = Timeouts { probe_again: Duration::from_millis(20), ..Timeouts::default() };
    ProxyConfig { timeouts, ..config }
}

impl Bed {
    async fn new(
        kind: Kind,
        keys: &[&str],
        script: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
        list: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let keys: Vec<_> = keys.iter().map(|key| (*key, 1)).collect();
        Self::weighted(kind, &keys, script, list).await
    }

    async fn weighted(
        kind: Kind,
        keys: &[(&str, u16)],
        script: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
        list: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = Provider::listing(kind, script, list).await;
        let keys = write_keys(folder.path(), keys);
        let config = soon(config(kind, provider.address, keys));
        let door = Door::proxy(config).await.expect("a proxy");
        Self { folder, provider, door, kind }
    }

    async fn ask(&self) -> Answer {
        let mut client = Client::connect(self.door.address).await.expect("connected");
        let answer = client.open(Method::POST, a_path(self.kind), &[], r#"{"model":"m"}"#).await;
        answer.expect("answered").whole().await.expect("whole")
    }

    /// What a gateway in front of the proxy answers: it alone reads answers.
    async fn ask_a_gateway(&self, stream: bool) -> Answer {
        let entry = entry("m", World::Closed, &[self.door.address]);
        let entry = Entry { speaks: self.kind.speaks("m"), ..entry };
        let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(vec![entry])).await;
        let door = door.expect("a gateway");
        let mut client = Client::connect(door.address).await.expect("connected");
        let (path, body) = (Form::Messages.path("m", stream), Form::Messages.body("m", stream, "hi"));
        client.post(&path, body).await.expect("answered")
    }

    /// The first state that is as asked. Waits for each next one, as an operator does.
    async fn until(&self, fits: impl Fn(&ProviderState) -> bool) -> ProviderState {
        until(&self.door, fits).await
    }
}

async fn until(door: &Door, fits: impl Fn(&ProviderState) -> bool) -> ProviderState {
    let mut client = Client::connect(door.address).await.expect("connected");
    let mut path = "/state".to_owned();
    let found = async {
        loop {
            let answer = client.get(&path).await.expect("answered");
            assert_eq!(answer.status, 200);
            let state: ProviderState = serde_json::from_slice(&answer.body).expect("a state");
            if fits(&state) {
                return state;
            }
            path = format!("/state?after={}", state.version);
        }
    };
    tokio::time::timeout(DEADLINE, found).await.expect("a state that fits")
}

fn stand(state: &ProviderState) -> Vec<KeyCondition> {
    state.keys.iter().map(|key| key.state).collect()
}

#[tokio::test]
async fn a_probe_shows_what_no_call_has_and_a_rotated_key_is_taken_without_a_restart() {
    let takes = |seen: &Seen| if seen.key == "sk-good" { list(&["b", "a"]) } else { refused(seen) };
    let bed = Bed::new(Kind::OpenAi, &["sk-good", CANARY], |_| ok(), takes).await;
    let state = bed.until(|state| state.probed).await;
    assert_eq!((state.namespace.as_str(), state.provider.as_str()), ("team", "acme"));
    assert_eq!(stand(&state), [KeyCondition::Usable, KeyCondition::Refused]);
    assert_eq!(state.upstream, UpstreamHealth::Answering);
    let names: Vec<_> = state.models.iter().flat_map(|list| &list.models).map(|model| &model.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(bed.provider.seen().is_empty(), "nobody called");
    let probe = bed.provider.probes().remove(0);
    assert_eq!(probe.path, "/base/models");
    let mut headers: Vec<_> = probe.headers.keys().map(|name| name.as_str()).collect();
    headers.sort_unstable();
    assert_eq!(headers, ["authorization", "host", "user-agent"]);

    put(&bed.folder.path().join("1"), "sk-good");
    let state = bed.until(|state| stand(state)[1] != KeyCondition::Refused).await;
    assert!(matches!(stand(&state)[1], KeyCondition::Usable | KeyCondition::Unproven));
    bed.until(|state| stand(state) == [KeyCondition::Usable; 2]).await;
    std::fs::remove_file(bed.folder.path().join("0")).expect("removed");
    bed.until(|state| stand(state) == [KeyCondition::Missing, KeyCondition::Usable]).await;
}

/// A provider may refuse a good key for a while; its file does not change by that.
#[tokio::test]
async fn a_retired_key_is_back_once_a_probe_succeeds() {
    let dead = Arc::new(AtomicBool::new(false));
    let (of_calls, of_list) = (Arc::clone(&dead), Arc::clone(&dead));
    let calls = move |seen: &Seen| if of_calls.load(Ordering::Relaxed) { refused(seen) } else { ok() };
    let lists = move |seen: &Seen| if of_list.load(Ordering::Relaxed) { refused(seen) } else { list(&[]) };
    let bed = Bed::new(Kind::Anthropic, &[CANARY], calls, lists).await;
    bed.until(|state| stand(state) == [KeyCondition::Usable]).await;
    dead.store(true, Ordering::Relaxed);
    assert_eq!(bed.ask().await.status, 502);
    let state = bed.until(|state| stand(state) == [KeyCondition::Refused]).await;
    assert!(state.probed);
    dead.store(false, Ordering::Relaxed);
    bed.until(|state| stand(state) == [KeyCondition::Usable]).await;
    assert_eq!(bed.ask().await.status, 200);
}

/// OpenRouter and others show their list to everybody, a dead key included.
#[tokio::test]
async fn a_list_that_everybody_sees_proves_no_key() {
    let asked = Arc::new(Semaphore::new(0));
    let counted = Arc::clone(&asked);
    let lists = move |_: &Seen| {
        counted.add_permits(1);
        list(&["m"])
    };
    let bed = Bed::new(Kind::OpenAiCompatible, &[CANARY], refused, lists).await;
    let state = bed.until(|state| state.models.is_some()).await;
    assert_eq!(stand(&state), [KeyCondition::Unproven]);
    let probes = bed.provider.probes();
    assert!(probes[0].key.is_empty() && probes[1].key == CANARY, "{probes:?}");
    assert_eq!(bed.ask().await.status, 502);
    bed.until(|state| stand(state) == [KeyCondition::Refused]).await;
    // It is asked again, and that is no reason to trust the key.
    let thrice = tokio::time::timeout(DEADLINE, asked.acquire_many(3)).await;
    assert!(matches!(thrice, Ok(Ok(_))), "it is asked without a key, with it, and once more for the doubt");
    assert_eq!(stand(&bed.until(|_| true).await), [KeyCondition::Refused]);

    // Where the list is for those with a key, it proves one.
    let guarded = |seen: &Seen| if seen.key.is_empty() { refused(seen) } else { list(&["m"]) };
    let bed = Bed::new(Kind::OpenAiCompatible, &[CANARY], |_| ok(), guarded).await;
    bed.until(|state| stand(state) == [KeyCondition::Usable]).await;
}

/// A key made for calls alone is forbidden the list, and works.
#[tokio::test]
async fn a_key_that_may_not_list_is_not_proven_and_not_refused() {
    let forbidden = |_: &Seen| json(403, &[], r#"{"error":{"message":"no"}}"#);
    let bed = Bed::new(Kind::OpenAi, &[CANARY], |_| ok(), forbidden).await;
    let state = bed.until(|state| state.probed).await;
    assert_eq!(stand(&state), [KeyCondition::Unproven]);
    assert_eq!(bed.ask().await.status, 200);
    bed.until(|state| stand(state) == [KeyCondition::Usable]).await;
}

/// Google forbids everything to a key that was leaked, and says 403.
#[tokio::test]
async fn a_key_that_may_do_nothing_is_the_last_resort() {
    let forbidden = r#"{"error":{"message":"Your API key was reported as leaked."}}"#;
    let calls = move |seen: &Seen| if seen.key == "sk-good" { ok() } else { json(403, &[], forbidden) };
    let lists = move |seen: &Seen| if seen.key == "sk-good" { list(&[]) } else { json(403, &[], forbidden) };
    let bed = Bed::new(Kind::OpenAi, &[CANARY, "sk-good"], calls, lists).await;
    bed.until(|state| state.probed).await;
    for _ in 0..2 {
        assert_eq!(bed.ask().await.status, 200);
    }
    bed.until(|state| stand(state) == [KeyCondition::Forbidden, KeyCondition::Usable]).await;
    bed.provider.seen();
    for _ in 0..4 {
        assert_eq!(bed.ask().await.status, 200);
    }
    assert!(bed.provider.seen().iter().all(|seen| seen.key == "sk-good"));
}

#[tokio::test]
async fn a_list_with_pages_is_read_to_its_end() {
    let pages = |seen: &Seen| {
        let next = seen.path.split_once("after_id=").map(|(_, id)| id.to_owned());
        let (id, more) = match next.as_deref() {
            None => ("one", true),
            Some("one") => ("two", true),
            _ => ("three", false),
        };
        let page =
            serde_json::json!({"data": [{"type": "model", "id": id}], "has_more": more, "last_id": id});
        json(200, &[], &page.to_string())
    };
    let bed = Bed::new(Kind::Anthropic, &[CANARY], |_| ok(), pages).await;
    let list = bed.until(|state| state.models.is_some()).await.models.expect("a list");
    let names: Vec<_> = list.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!((names, list.complete), (vec!["one", "three", "two"], true));
}

#[tokio::test]
async fn the_last_error_is_the_providers_without_a_key_and_never_the_callers() {
    let turn = std::sync::atomic::AtomicU32::new(0);
    let script = move |seen: &Seen| match turn.fetch_add(1, Ordering::Relaxed) {
        0 => json(400, &[], r#"{"error":{"message":"bad prompt: the caller's secret words"}}"#),
        1 => json(
            500,
            &[],
            &serde_json::json!({"error": {"message": format!("boom\n{} Bearer {}", seen.key, seen.key)}})
                .to_string(),
        ),
        _ => json(500, &[], r#"{"error":{"message":"boom [key] Bearer [key]"}}"#),
    };
    let bed = Bed::new(Kind::OpenAi, &[CANARY], script, |_| list(&[])).await;
    bed.until(|state| state.probed).await;
    bed.ask().await;
    bed.ask().await;
    let state = bed.until(|state| state.last_upstream_error.is_some()).await;
    let error = state.last_upstream_error.clone().expect("an error");
    assert_eq!((error.status, error.class.as_str()), (Some(500), "upstream"));
    assert_eq!(error.message, "the provider said: boom [key] Bearer [key]");
    assert!(!serde_json::to_string(&state).expect("JSON").contains("canary"));
    // The same again is no news.
    bed.ask().await;
    let refused_key = Bed::new(Kind::Anthropic, &[CANARY], refused, refused).await;
    let state = refused_key.until(|state| state.last_upstream_error.is_some()).await;
    let message = state.last_upstream_error.expect("an error").message;
    assert_eq!(message, "the provider said: Incorrect API key provided: [key] [key]");
}

/// The head of a stream promises an answer: what becomes of it only its end shows.
#[tokio::test]
async fn an_answer_that_breaks_off_and_one_that_turns_into_an_error_are_the_last_error() {
    for (model, class, message) in [
        ("cut", "truncated_stream", "its answer broke off"),
        ("truncated", "truncated_stream", ""),
        ("error-first", "overloaded", "the provider said: out of luck"),
        ("error-in-stream", "overloaded", "the provider said: out of luck"),
        ("error-in-200", "upstream", "the provider said: inside"),
    ] {
        let hops = TwoHops::new(Kind::Anthropic, &[model]).await.expect("two hops");
        let mut client = Client::connect(hops.door.address).await.expect("connected");
        let stream = model != "error-in-200";
        let body = Form::Messages.body(model, stream, "hi");
        client.post(&Form::Messages.path(model, stream), body).await.expect("answered");
        let state = until(&hops.proxy, |state| state.last_upstream_error.is_some()).await;
        let error = state.last_upstream_error.expect("an error");
        assert_eq!(error.class, class, "{model}: {error:?}");
        assert!(error.message.contains(message), "{model}: {error:?}");
    }
}

/// Anthropic and Google say it so, once they have begun to stream.
#[tokio::test]
async fn a_limit_that_is_said_in_a_stream_rests_the_key_and_the_next_is_asked_unseen() {
    let stream = |events: &[(&str, serde_json::Value)]| {
        let event = |(name, data): &(&str, serde_json::Value)| format!("event: {name}\ndata: {data}\n\n");
        let events: String = events.iter().map(event).collect();
        Response::builder().header("content-type", "text/event-stream").body(events).expect("an answer")
    };
    let script = move |seen: &Seen| {
        if seen.key == "sk-limited" {
            let error = serde_json::json!({"type": "rate_limit_error", "message": "slow down"});
            return stream(&[("error", serde_json::json!({"type": "error", "error": error}))]);
        }
        let text = serde_json::json!({"type": "text_delta", "text": "fine"});
        let message = serde_json::json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
        stream(&[
            ("message_start", serde_json::json!({"type": "message_start", "message": message})),
            (
                "content_block_start",
                serde_json::json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}),
            ),
            (
                "content_block_delta",
                serde_json::json!({"type": "content_block_delta", "index": 0, "delta": text}),
            ),
            ("content_block_stop", serde_json::json!({"type": "content_block_stop", "index": 0})),
            (
                "message_delta",
                serde_json::json!({"type": "message_delta", "delta": {"stop_reason": "end_turn",
                "stop_sequence": null}, "usage": {"output_tokens": 1}}),
            ),
            ("message_stop", serde_json::json!({"type": "message_stop"})),
        ])
    };
    // By its weight, the limited one would be next again.
    let keys = [("sk-limited", 100), ("sk-free", 1)];
    let bed = Bed::weighted(Kind::Anthropic, &keys, script, |_| list(&[])).await;
    let answer = bed.ask_a_gateway(true).await;
    assert_eq!(answer.status, 200, "{:?}", answer.text());
    assert!(answer.text().expect("text").contains("fine"));
    let asked: Vec<_> = bed.provider.seen().into_iter().map(|seen| seen.key).collect();
    assert_eq!(asked, ["sk-limited", "sk-free"]);
    let state = bed.until(|state| stand(state)[0] == KeyCondition::RateLimited).await;
    assert_eq!(state.last_upstream_error.expect("an error").class, "rate_limited");
}

/// A report comes after its answer, and by then another key may be in the place of the one that the provider limited.
#[tokio::test]
async fn a_late_report_of_a_limit_rests_the_key_that_was_sent_and_no_other() {
    let bed = Bed::new(Kind::Anthropic, &["sk-first"], |_| ok(), |_| list(&[])).await;
    let name = |answer: Answer| {
        let name = answer.headers.get("x-weighbridge-key").expect("the key's name");
        name.to_str().expect("text").to_owned()
    };
    let first = name(bed.ask().await);
    put(&bed.folder.path().join("0"), "sk-second");
    let second = name(bed.ask().await);
    assert_ne!(first, second);
    let mut client = Client::connect(bed.door.address).await.expect("connected");
    let report = |class: &str, key: &str| {
        let report = serde_json::json!({"class": class, "status": null, "message": "slow down", "quoted": true,
            "retry_after_seconds": 3000, "key": key});
        report.to_string()
    };
    for (class, key, status) in [("no class", &second, 400), ("rate_limited", &first, 200)] {
        let answer = client.post("/weighbridge/failed", report(class, key)).await.expect("answered");
        assert_eq!(answer.status, status);
    }
    let state = bed.until(|state| state.last_upstream_error.is_some()).await;
    assert_ne!(stand(&state), [KeyCondition::RateLimited], "it is another key");
    client.post("/weighbridge/failed", report("rate_limited", &second)).await.expect("answered");
    bed.until(|state| stand(state) == [KeyCondition::RateLimited]).await;
}

/// The gateway's attempts and the proxy's are of one budget, whichever of them spends it.
#[tokio::test]
async fn three_attempts_are_all_however_many_keys_there_are() {
    let script = |seen: &Seen| match seen.key.as_str() {
        "sk-1" => json(500, &[], r#"{"type":"error","error":{"type":"api_error","message":"boom"}}"#),
        _ => refused(seen),
    };
    let keys = ["sk-0", "sk-1", "sk-2", "sk-3", "sk-4", "sk-5"];
    let bed = Bed::new(Kind::Anthropic, &keys, script, |_| list(&[])).await;
    let answer = bed.ask_a_gateway(false).await;
    assert_eq!(answer.status, 502, "{:?}", answer.text());
    let asked: Vec<_> = bed.provider.seen().into_iter().map(|seen| seen.key).collect();
    assert_eq!(asked, ["sk-0", "sk-1", "sk-2"]);
}

#[tokio::test]
async fn an_outage_is_told_after_some_failures_and_its_end_after_one_answer() {
    let down = Arc::new(AtomicBool::new(false));
    let of_list = Arc::clone(&down);
    let lists = move |_: &Seen| {
        if of_list.load(Ordering::Relaxed) { json(503, &[], "{}") } else { list(&["m"]) }
    };
    let of_calls = Arc::clone(&down);
    let calls = move |_: &Seen| if of_calls.load(Ordering::Relaxed) { json(500, &[], "{}") } else { ok() };
    let bed = Bed::new(Kind::OpenAi, &[CANARY], calls, lists).await;
    bed.until(|state| state.upstream == UpstreamHealth::Answering).await;
    down.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(bed.ask().await.status, 500);
    }
    let state = bed.until(|state| state.upstream == UpstreamHealth::Failing).await;
    assert_eq!(stand(&state), [KeyCondition::Usable], "it is not the key's fault");
    let mut admin = Client::connect(bed.door.admin).await.expect("connected");
    let metrics = admin.get("/metrics").await.expect("metrics");
    let gauge = r#"weighbridge_provider_answering{namespace="team",provider="acme"} 0"#;
    assert!(metrics.text().expect("text").lines().any(|line| line == gauge));
    down.store(false, Ordering::Relaxed);
    bed.ask().await;
    bed.until(|state| state.upstream == UpstreamHealth::Answering).await;
}

/// Nobody calls, and still it is known.
#[tokio::test]
async fn a_provider_that_nobody_reaches_is_known_without_a_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = ClosedPort::new().expect("a port");
    let keys = write_keys(folder.path(), &[(CANARY, 1)]);
    let door = Door::proxy(soon(config(Kind::Gemini, nobody.address, keys))).await.expect("a proxy");
    let state = until(&door, |state| state.upstream == UpstreamHealth::Failing).await;
    let error = state.last_upstream_error.expect("an error");
    assert_eq!((error.status, error.class.as_str()), (None, "upstream"));
    assert!(error.message.contains("can't be connected to"), "{}", error.message);
}

#[tokio::test]
async fn a_limit_is_told_with_its_end() {
    let limited = |_: &Seen| json(429, &[("retry-after", "3000")], r#"{"error":{"message":"slow"}}"#);
    let bed = Bed::new(Kind::OpenAi, &[CANARY], limited, |_| list(&[])).await;
    bed.until(|state| state.probed).await;
    bed.ask().await;
    let state = bed.until(|state| stand(state) == [KeyCondition::RateLimited]).await;
    let until = state.keys[0].until.as_ref().expect("an end").0.as_second();
    let left = until - jiff::Timestamp::now().as_second();
    assert!((2900..=3001).contains(&left), "{left}");
}

#[tokio::test]
async fn only_a_report_of_a_mismatch_is_taken_for_one() {
    let bed = Bed::new(Kind::Anthropic, &[CANARY], |_| ok(), |_| list(&[])).await;
    bed.until(|state| state.probed).await;
    let mut client = Client::connect(bed.door.address).await.expect("connected");
    let answer = client.post("/weighbridge/residency", r#"{"stated":"x"}"#).await.expect("answered");
    assert_eq!(answer.status, 400);
    let report = r#"{"required":"us","stated":"global"}"#;
    assert_eq!(client.post("/weighbridge/residency", report).await.expect("answered").status, 200);
    let state = bed.until(|state| state.residency_mismatch.is_some()).await;
    let mismatch = state.residency_mismatch.expect("a mismatch");
    assert_eq!((mismatch.required.as_str(), mismatch.stated.as_deref()), ("us", Some("global")));
    assert!(bed.provider.seen().is_empty(), "it is no call");
}
