//! The gateway's doors for clients of Anthropic, Gemini and OpenAI's Responses, in front of a model that speaks chat
//! completions.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::time::Duration;

use http::Method;
use serde_json::json;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_gateway::{GatewayConfig, Timeouts};
use weighbridge_tests::door::{Answer, Client, Door, Form, TwoHops, entry};
use weighbridge_tests::simulator::{COMPLETION_TOKENS, PROMPT_TOKENS, Simulator};
use weighbridge_wire::provider::Kind;

const MODELS: [&str; 8] =
    ["normal", "drip", "gated", "cut", "error-first", "error-in-stream", "status-429", "status-503"];

/// Those that an engine does not speak.
const TRANSLATED: [Form; 4] = [Form::Messages, Form::Events, Form::Array, Form::Responses];

struct Bed {
    simulator: Simulator,
    door: Door,
    client: Client,
}

async fn bed(world: World, timeouts: Timeouts) -> Bed {
    let simulator = Simulator::start().await.expect("a simulator");
    let entries = MODELS.iter().map(|model| entry(model, world, &[simulator.address()])).collect();
    let config = GatewayConfig { timeouts, ..GatewayConfig::default() };
    let door = Door::gateway(config, Directory::from_entries(entries)).await.expect("a gateway");
    let client = Client::connect(door.address).await.expect("connected");
    Bed { simulator, door, client }
}

async fn ask(client: &mut Client, form: Form, model: &str, stream: bool) -> Answer {
    client.post(&form.path(model, stream), form.body(model, stream, "hi")).await.expect("answered")
}

#[tokio::test]
async fn every_dialect_reaches_a_model_that_speaks_another() {
    let mut bed = bed(World::Open, Timeouts::default()).await;
    let text = {
        let chat = json!({"model": "normal", "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let answer = bed.client.post("/v1/chat/completions", chat).await.expect("answered");
        answer.json().expect("JSON")["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
    };
    for form in TRANSLATED {
        let whole = ask(&mut bed.client, form, "normal", false).await;
        assert_eq!(whole.status, 200, "{form:?}: {:?}", whole.text());
        let read = form.read(&whole.json().expect("JSON")).expect("an answer");
        assert_eq!(read, (text.clone(), PROMPT_TOKENS, COMPLETION_TOKENS), "{form:?}");
        assert_eq!(whole.headers["x-weighbridge-model"], "team/normal");

        // Also where every byte comes alone.
        for model in ["normal", "drip"] {
            let answer = ask(&mut bed.client, form, model, true).await;
            let events = form.events(answer.text().expect("text")).expect("events");
            assert_eq!(form.streamed(&events), text, "{form:?}: {events:?}");
            assert!(events.iter().any(|event| form.is_end(event)), "{form:?}: {events:?}");
        }
    }
    assert!(bed.simulator.seen().iter().all(|seen| seen.path == "/v1/chat/completions"));
}

#[tokio::test]
async fn errors_have_the_shape_of_the_door() {
    let mut bed = bed(World::Open, Timeouts::default()).await;
    for (form, unknown, malformed, limited) in [
        (Form::Messages, "not_found_error", "invalid_request_error", "rate_limit_error"),
        (Form::Events, "NOT_FOUND", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"),
        (Form::Responses, "model_not_found", "invalid_json", "simulated"),
    ] {
        let answer = ask(&mut bed.client, form, "nobody", false).await;
        assert_eq!(answer.status, 404, "{form:?}");
        assert_eq!(form.error(&answer.json().expect("JSON")).expect("an error").1, unknown);

        let answer = bed.client.post(&form.path("normal", false), "{").await.expect("answered");
        assert_eq!(answer.status, 400, "{form:?}");
        assert_eq!(form.error(&answer.json().expect("JSON")).expect("an error").1, malformed);

        let answer = ask(&mut bed.client, form, "status-429", false).await;
        assert_eq!(answer.status, 429, "{form:?}");
        assert_eq!(form.error(&answer.json().expect("JSON")).expect("an error").1, limited);
        assert_eq!(answer.headers["retry-after"], "7", "{form:?}");

        let answer = bed.client.get(&form.path("normal", false)).await.expect("answered");
        assert_eq!(answer.status, 405, "{form:?}");
        form.error(&answer.json().expect("JSON")).expect("an error");
    }
    let requests = bed.simulator.counts().requests;
    assert_eq!(requests, 3, "only the refusals that the upstream made reached it");
}

#[tokio::test]
async fn what_a_dialect_cannot_say_is_refused_by_name_or_dropped_where_the_caller_says_so() {
    let mut bed = bed(World::Open, Timeouts::default()).await;
    let question = json!({"model": "normal", "max_tokens": 64,
                          "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                          "messages": [{"role": "user", "content": "hi"}]})
    .to_string();
    let answer = bed.client.post("/v1/messages", question.clone()).await.expect("answered");
    assert_eq!(answer.status, 400);
    assert!(answer.text().expect("text").contains("tools[0]"), "{:?}", answer.text());
    assert_eq!(bed.simulator.counts().requests, 0);

    let headers = [("content-type", "application/json"), ("x-weighbridge-unsupported", "drop")];
    let answer =
        bed.client.open(Method::POST, "/v1/messages", &headers, question.clone()).await.expect("begun");
    let answer = answer.whole().await.expect("answered");
    // What the upstream says beside its dialect's fields has no place in another either.
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["x-weighbridge-dropped"]),
        (200, &"tools[0], x_first, x_last".parse().expect("a value"))
    );

    let headers = [("content-type", "application/json"), ("x-weighbridge-unsupported", "perhaps")];
    let answer = bed.client.open(Method::POST, "/v1/messages", &headers, question).await.expect("begun");
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_the_error_of_its_dialect() {
    let mut bed = bed(World::Closed, Timeouts::default()).await;
    for model in ["cut", "error-in-stream"] {
        for form in TRANSLATED {
            let answer = ask(&mut bed.client, form, model, true).await;
            assert_eq!(answer.status, 200, "{form:?}");
            let events = form.events(answer.text().expect("text")).expect("events");
            assert!(!form.streamed(&events).is_empty(), "{form:?}: {events:?}");
            let last = events.last().expect("an event");
            match form {
                Form::Responses => assert_eq!(last["type"], "response.failed", "{last}"),
                form => {
                    form.error(last).expect("an error");
                }
            }
            assert!(!events.iter().any(|event| form.is_end(event)), "{form:?}: {events:?}");
        }
    }
}

/// Support asks for it, and clients show it with their errors.
#[tokio::test]
async fn a_providers_error_comes_with_the_providers_name_of_the_request() {
    for kind in [Kind::OpenAi, Kind::Anthropic] {
        let bed = TwoHops::new(kind, &["status-400"]).await.expect("two hops");
        for (form, name) in
            [(Form::Chat, "x-request-id"), (Form::Responses, "x-request-id"), (Form::Messages, "request-id")]
        {
            let mut client = Client::connect(bed.door.address).await.expect("connected");
            let answer = ask(&mut client, form, "status-400", false).await;
            assert_eq!(answer.status, 400, "{kind} {form:?}: {answer:?}");
            let named = answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(named.starts_with("req_sim"), "{kind} {form:?}: {answer:?}");
        }
    }
}

/// litellm #24004: a 200 whose stream begins with an error is a failure, and another attempt is made unseen.
#[tokio::test]
async fn bug_2_an_error_before_the_first_token_is_tried_again_unseen() {
    let mut bed = bed(World::Closed, Timeouts::default()).await;
    let answer = ask(&mut bed.client, Form::Messages, "error-first", true).await;
    assert_eq!(answer.status, 502);
    assert_eq!(Form::Messages.error(&answer.json().expect("JSON")).expect("an error").1, "api_error");
    // Beside them is what a proxy would be told of it.
    let seen = bed.simulator.seen();
    let asked = seen.iter().filter(|seen| seen.path == "/v1/chat/completions").count();
    assert_eq!(asked, 2, "once more at the same provider");

    let other = Simulator::start().await.expect("a simulator");
    let both = [bed.simulator.address(), other.address()];
    let directory = Directory::from_entries(vec![
        entry("error-first", World::Open, &both),
        entry("status-503", World::Open, &both),
        // Without an answer at all.
        entry("hang-up", World::Open, &both),
    ]);
    let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    for model in ["error-first", "status-503", "hang-up"] {
        let before = (bed.simulator.counts().requests, other.counts().requests);
        ask(&mut client, Form::Events, model, true).await;
        let after = (bed.simulator.counts().requests, other.counts().requests);
        assert_eq!(after, (before.0 + 1, before.1 + 1), "{model}: each replica is asked once");
    }
}

#[tokio::test]
async fn a_silent_stream_gets_signs_of_life() {
    let timeouts = Timeouts { keep_alive: Duration::from_millis(5), ..Timeouts::default() };
    let mut bed = bed(World::Open, timeouts).await;
    let signs = [(Form::Messages, "event: ping"), (Form::Responses, ":")];
    for (before, (form, sign)) in (0..).zip(signs) {
        // The opening chunk and a first piece of text.
        bed.simulator.release(2);
        let path = form.path("gated", true);
        let question = form.body("gated", true, "hi");
        let mut client = Client::connect(bed.door.address).await.expect("connected");
        let mut stream = client.open(Method::POST, &path, &[], question).await.expect("begun");
        loop {
            let event = stream.event().await.expect("not cut").expect("not ended");
            if event.starts_with(sign) {
                break;
            }
        }
        drop((stream, client));
        bed.simulator.wait_for(|counts| counts.abandoned == before + 1).await;
    }
    bed.client.get("/v1/models").await.expect("still serving");
}

#[tokio::test]
async fn every_dialect_lists_the_models() {
    let mut bed = bed(World::Open, Timeouts::default()).await;
    let list = bed.client.get("/v1beta/models").await.expect("answered").json().expect("JSON");
    assert_eq!(list["models"].as_array().map(Vec::len), Some(MODELS.len()), "{list}");
    let one = bed.client.get("/v1beta/models/team/normal").await.expect("answered").json().expect("JSON");
    assert_eq!(one["name"], "models/team/normal");
    let headers = [("anthropic-version", "2023-06-01")];
    let list = bed.client.open(Method::GET, "/v1/models?limit=2", &headers, "").await.expect("begun");
    let list = list.whole().await.expect("answered").json().expect("JSON");
    assert_eq!((list["data"].as_array().map(Vec::len), &list["has_more"]), (Some(2), &json!(true)));
    assert_eq!(list["data"][0]["type"], "model");
    let answer = bed.client.open(Method::GET, "/v1/models/nobody", &headers, "").await.expect("begun");
    assert_eq!(answer.status, 404);
}
