//! Who may call what, through a gateway in process: each header, each refusal, and that no key gets out.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use weighbridge_crds::ModelAccess;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_tests::door::{Answer, Client, Door, entry, model_access};
use weighbridge_tests::log::{Log, OfThisThread};
use weighbridge_tests::simulator::Simulator;

const CHAT: &str = "/v1/chat/completions";
/// Good for `team/normal` and for `tone` on `team/told`.
const KEY: &str = "wb-canary-good-0815";
/// Good for everything of `other`.
const NEIGHBOUR: &str = "wb-canary-neighbour-0815";
const EXPIRED: &str = "wb-canary-expired-0815";
const WRONG: &str = "wb-canary-wrong-0815";

struct Bed {
    simulator: Simulator,
    door: Door,
}

fn accesses() -> Vec<ModelAccess> {
    let keys = [("ci", KEY), ("old", EXPIRED)];
    let mut team = model_access("team", "apps", &keys, &["normal", "told:tone"]);
    let past = Timestamp::now() - std::time::Duration::from_secs(1);
    team.spec.keys[1].expires_at = Some(Time(past));
    vec![team, model_access("other", "all", &[("neighbour", NEIGHBOUR)], &["*"])]
}

async fn bed(access: Access) -> Bed {
    let simulator = Simulator::start().await.expect("a simulator");
    let at = [simulator.address()];
    let told =
        Entry { adapters: vec!["tone".to_owned(), "legal".to_owned()], ..entry("told", World::Open, &at) };
    let other = Entry { namespace: "other".to_owned(), ..entry("normal", World::Open, &at) };
    let entries = vec![entry("normal", World::Open, &at), entry("burst", World::Closed, &at), told, other];
    let door = Door::guarded(GatewayConfig::default(), Directory::from_entries(entries), access).await;
    Bed { simulator, door: door.expect("a gateway") }
}

async fn guarded() -> Bed {
    bed(Access::from_resources(&accesses())).await
}

impl Bed {
    async fn call(&self, method: Method, path: &str, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut client = Client::connect(self.door.address).await.expect("connected");
        let opened = client.open(method, path, headers, body.to_owned()).await.expect("answered");
        opened.whole().await.expect("whole")
    }

    async fn ask(&self, key: &str, model: &str) -> Answer {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
        self.call(Method::POST, CHAT, &[("x-api-key", key)], &body).await
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        self.call(Method::GET, path, &[("x-api-key", key)], "").await
    }

    async fn metrics(&self) -> String {
        let mut client = Client::connect(self.door.admin).await.expect("connected");
        client.get("/metrics").await.expect("metrics").text().expect("text").to_owned()
    }
}

fn error(answer: &Answer) -> Value {
    answer.json().expect("JSON")["error"].clone()
}

#[tokio::test]
async fn a_key_opens_the_door_in_every_header_and_stays_there() {
    let bed = guarded().await;
    let bearer = format!("Bearer {KEY}");
    let body = r#"{"model":"normal","messages":[]}"#;
    for header in
        [("authorization", bearer.as_str()), ("x-api-key", KEY), ("x-goog-api-key", KEY), ("api-key", KEY)]
    {
        let answer = bed.call(Method::POST, CHAT, &[header], body).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", header.0);
        assert_eq!(
            answer.headers["x-weighbridge-model"], "team/normal",
            "a bare name is one of the key's namespace"
        );
    }
    let neighbour = bed.ask(NEIGHBOUR, "normal").await;
    assert_eq!(neighbour.headers["x-weighbridge-model"], "other/normal");
    for seen in bed.simulator.seen() {
        assert!(!format!("{:?} {:?}", seen.headers, seen.body).contains("canary"), "a key went upstream");
    }
}

#[tokio::test]
async fn who_has_no_good_key_gets_401_and_the_fix() {
    let bed = guarded().await;
    for (headers, words) in [
        (vec![], "No API key came"),
        (vec![("x-api-key", WRONG)], "not one of this server's"),
        (vec![("x-api-key", EXPIRED)], "`old` of ModelAccess `team/apps` expired"),
        (vec![("x-api-key", KEY), ("api-key", NEIGHBOUR)], "Two different API keys"),
    ] {
        for (method, path, body) in [
            (Method::POST, CHAT, r#"{"model":"normal","messages":[]}"#),
            (Method::POST, "/v1/embeddings", "no JSON"),
            (Method::GET, "/v1/models", ""),
            (Method::GET, "/v1/models/team/normal", ""),
        ] {
            let answer = bed.call(method, path, &headers, body).await;
            let error = error(&answer);
            assert_eq!(
                (answer.status.as_u16(), &error["code"]),
                (401, &"invalid_api_key".into()),
                "{path}: {error}"
            );
            assert!(error["message"].as_str().expect("text").contains(words), "{path}: {error}");
        }
    }
    // A key in the URL is none: it is in every log on the way.
    let answer = bed.call(Method::GET, &format!("/v1/models?key={KEY}"), &[], "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(bed.simulator.counts().requests, 0);
}

#[tokio::test]
async fn a_body_that_is_still_being_sent_does_not_hide_the_401() {
    let bed = guarded().await;
    let body = "x".repeat(8 << 20);
    assert_eq!(bed.call(Method::POST, CHAT, &[("x-api-key", WRONG)], &body).await.status, 401);
}

#[tokio::test]
async fn a_model_that_may_not_be_called_is_told_apart_from_none_by_nothing() {
    let bed = guarded().await;
    let said = |answer: &Answer, name: &str| {
        let headers: Vec<_> =
            answer.headers.iter().filter(|(name, _)| *name != "date" && *name != "content-length").collect();
        let text = answer.text().expect("text").replace(&format!("`{name}`"), "`NAME`");
        (answer.status, format!("{headers:?}"), text)
    };
    for path in [None, Some("/v1/models/")] {
        let mut answers = Vec::new();
        // Two that are there, in its own namespace and in another, an adapter, and three that are not.
        for name in [
            "burst",
            "other/normal",
            "told:legal",
            "told",
            "nobody",
            "other/nobody",
            "told:nobody",
            "no/where/m",
        ] {
            let answer = match path {
                None => bed.ask(KEY, name).await,
                Some(path) => bed.get(KEY, &format!("{path}{name}")).await,
            };
            answers.push(said(&answer, name));
        }
        assert_eq!(answers[0].0, 403, "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
        assert!(answers[0].2.contains("permission_denied"), "{answers:?}");
    }
    assert_eq!(bed.simulator.counts().requests, 0);
    for name in ["normal", "team/normal"] {
        assert_eq!(bed.ask(KEY, name).await.status, 200, "{name}");
    }
    let adapted = bed.get(KEY, "/v1/models/told:tone").await;
    assert_eq!(adapted.json().expect("JSON")["id"], "team/told:tone");
    // Who may call every model of a namespace may know what is not in it.
    assert_eq!(bed.ask(NEIGHBOUR, "nobody").await.status, 404);
}

#[tokio::test]
async fn the_list_has_what_the_key_may_call_and_nothing_else() {
    let bed = guarded().await;
    for (key, expected) in [(KEY, vec!["team/normal", "team/told:tone"]), (NEIGHBOUR, vec!["other/normal"])] {
        let list = bed.get(key, "/v1/models").await.json().expect("JSON");
        let models: Vec<_> =
            list["data"].as_array().expect("a list").iter().map(|model| model["id"].clone()).collect();
        assert_eq!(models, expected);
    }
}

#[tokio::test]
async fn without_any_model_access_every_caller_is_told_what_to_apply() {
    let bed = bed(Access::from_resources(&[])).await;
    let answer = bed.ask(KEY, "normal").await;
    let message = error(&answer)["message"].to_string();
    assert_eq!(answer.status, 401);
    assert!(
        message.contains("weighbridge key create --name me") && message.contains("kubectl apply -f -"),
        "{message}"
    );
    let mut probe = Client::connect(bed.door.admin).await.expect("connected");
    assert_eq!(
        probe.get("/readyz").await.expect("answered").status,
        200,
        "it starts, and is ready to say so"
    );
}

#[tokio::test]
async fn before_the_keys_are_listed_it_is_not_ready_and_lets_nobody_in() {
    let access = Access::unsynced();
    let bed = bed(access.clone()).await;
    let ready = async || {
        let mut probe = Client::connect(bed.door.admin).await.expect("connected");
        probe.get("/readyz").await.expect("answered")
    };
    let answer = ready().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().expect("text").contains("ModelAccesses are not listed"), "{answer:?}");
    let early = bed.ask(KEY, "normal").await;
    assert_eq!((early.status.as_u16(), &early.headers["retry-after"]), (503, &"1".parse().expect("a value")));
    access.replace(&accesses());
    assert_eq!(ready().await.status, 200);
    assert_eq!(bed.ask(KEY, "normal").await.status, 200);
}

/// The log says who called by the key's name; the key itself is in no log, no metric, no answer, no `Debug` and no panic.
#[tokio::test]
async fn no_key_gets_out_and_the_log_knows_the_caller_by_name() {
    let log = Log::default();
    let everything = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.writer())
        .finish();
    // Of this thread, on which all of this test runs: what other tests are doing is not its affair.
    let _logged = OfThisThread::new(everything);
    let panics = Log::of_panics();
    let access = Access::from_resources(&accesses());
    let bed = bed(access.clone()).await;
    let bearer = format!("Bearer {KEY}");
    let mut said = format!("{access:?}");
    for (headers, model, status) in [
        (vec![("authorization", bearer.as_str())], "normal", 200),
        (vec![("x-goog-api-key", KEY)], "burst", 403),
        (vec![("api-key", NEIGHBOUR)], "nobody", 404),
        (vec![("x-api-key", WRONG)], "normal", 401),
        (vec![("x-api-key", EXPIRED)], "normal", 401),
        (vec![("x-api-key", KEY), ("api-key", WRONG)], "normal", 401),
    ] {
        let body = format!(r#"{{"model":"{model}","messages":[]}}"#);
        let answer = bed.call(Method::POST, CHAT, &headers, &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        said += &format!("{answer:?}");
    }
    // The line of a request is written when its answer has gone out.
    while log.text().matches(r#""target":"access""#).count() < 6 {
        tokio::task::yield_now().await;
    }
    said += &bed.metrics().await;
    said += &panics.text();
    let log = log.text();
    for (status, access, key) in
        [(200, "team/apps", "ci"), (403, "team/apps", "ci"), (404, "other/all", "neighbour")]
    {
        let line = log.lines().find(|line| line.contains(&format!(r#""code":{status},"#))).expect("a line");
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&line["fields"]["access"], &line["fields"]["key"]),
            (&access.into(), &key.into()),
            "{line}"
        );
    }
    for reason in ["forbidden_model", "unknown_key", "expired", "keys_differ"] {
        assert!(
            said.contains(&format!("weighbridge_access_refusals_total{{reason=\"{reason}\"}} 1")),
            "{reason}"
        );
    }
    assert!(!said.contains("canary"), "{said}");
    let leak = log.lines().find(|line| line.contains("canary"));
    assert_eq!(leak, None);
}
