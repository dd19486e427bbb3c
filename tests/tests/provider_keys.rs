//! The proxy of each kind of provider: what is sent, with which key, and what a provider's errors come to.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod provider_script;

use std::path::Path;

use http::{Method, Response};
use provider_script::{Provider, Seen, a_path, config, json, write_keys};
use tempfile::TempDir;
use weighbridge_tests::door::{Answer, Client, Door};
use weighbridge_wire::provider::Kind;

const BODY: &str = r#"{"model":"m"}"#;
const ANTHROPIC_LIMITED: &str =
    r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;

struct Bed {
    folder: TempDir,
    provider: Provider,
    door: Door,
    client: Client,
    kind: Kind,
}

impl Bed {
    async fn new(
        kind: Kind,
        keys: &[(&str, u16)],
        script: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = Provider::start(kind, script).await;
        let keys = write_keys(folder.path(), keys);
        let door = Door::proxy(config(kind, provider.address, keys)).await.expect("a proxy");
        let client = Client::connect(door.address).await.expect("connected");
        Self { folder, provider, door, client, kind }
    }

    async fn send(&mut self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        let answer = self.client.open(Method::POST, path, headers, BODY).await.expect("answered");
        answer.whole().await.expect("whole")
    }

    async fn ask(&mut self, headers: &[(&'static str, &str)]) -> Answer {
        self.send(a_path(self.kind), headers).await
    }

    /// The keys that the provider was asked with since the last call.
    fn keys(&self) -> Vec<String> {
        self.provider.seen().into_iter().map(|seen| seen.key).collect()
    }

    async fn metrics(&self) -> String {
        let mut client = Client::connect(self.door.admin).await.expect("connected");
        client.get("/metrics").await.expect("metrics").text().expect("text").to_owned()
    }

    async fn has_metric(&self, name: &str, key: u32, rest: &str) -> bool {
        let labels = format!(r#"{name}{{namespace="team",provider="acme",key="{key}"{rest}"#);
        self.metrics().await.lines().any(|line| line == labels)
    }
}

/// Puts `key` into a file as the kubelet does: a new file takes the name.
fn put(path: &Path, key: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, format!("{key}\n")).expect("written");
    std::fs::rename(&next, path).expect("renamed");
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().expect("text"))
}

fn used(answer: &Answer) -> Option<&str> {
    header(answer, "x-weighbridge-attempts-used")
}

fn failure(answer: &Answer) -> (u16, Option<&str>, String) {
    let code = answer.json().expect("JSON")["error"]["code"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), header(answer, "x-weighbridge-failure"), code)
}

fn ok() -> Response<String> {
    json(200, &[], r#"{"fine":true}"#)
}

#[tokio::test]
async fn each_kind_has_its_paths_its_key_and_its_headers() {
    let openai = ["/chat/completions", "/completions", "/responses", "/embeddings"];
    let anthropic = ["/v1/messages", "/v1/messages/count_tokens"];
    // A cloud's keys are no texts in a header; `clouds.rs` has them.
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.has_place()) {
        let (key_header, paths): (&str, Vec<(String, String)>) = match kind {
            Kind::OpenAi | Kind::OpenAiCompatible | Kind::AzureOpenAi => (
                if kind == Kind::AzureOpenAi { "api-key" } else { "authorization" },
                openai.iter().map(|path| (format!("/v1{path}"), (*path).to_owned())).collect(),
            ),
            Kind::Anthropic | Kind::AnthropicCompatible => {
                ("x-api-key", anthropic.iter().map(|path| ((*path).to_owned(), (*path).to_owned())).collect())
            }
            Kind::Gemini => {
                let there = "/v1beta/models/m:streamGenerateContent?alt=sse".to_owned();
                let asked = "/v1beta/models/m:streamGenerateContent?key=callers&alt=sse".to_owned();
                ("x-goog-api-key", vec![(asked, there)])
            }
            Kind::Vertex | Kind::Bedrock => unreachable!("left out"),
        };
        let answer_headers =
            [("request-id", "r-2"), ("x-ratelimit-limit-tokens", "9"), ("set-cookie", "c=1")];
        let mut bed = Bed::new(kind, &[("sk-one", 1)], move |_| json(200, &answer_headers, "{}")).await;
        for (ours, theirs) in &paths {
            let own = [
                ("authorization", "Bearer callers-own"),
                ("x-api-key", "callers-own"),
                ("api-key", "callers-own"),
                ("x-goog-api-key", "callers-own"),
                ("cookie", "callers-own"),
                ("anthropic-beta", "b-1"),
                ("openai-beta", "b-2"),
                ("x-request-id", "r-1"),
                ("x-weighbridge-attempts", "1"),
            ];
            let answer = bed.send(ours, &own).await;
            assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("1")), "{kind} {ours}");
            let seen = bed.provider.seen().remove(0);
            assert_eq!((seen.path, seen.key.as_str()), (format!("/base{theirs}"), "sk-one"));
            assert!(seen.headers.values().all(|value| !value.to_str().expect("text").contains("callers")));
            let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
            names.sort_unstable();
            let more: &[&str] = match kind {
                Kind::OpenAi | Kind::OpenAiCompatible | Kind::AzureOpenAi => &["openai-beta"],
                Kind::Anthropic | Kind::AnthropicCompatible => &["anthropic-beta", "anthropic-version"],
                Kind::Gemini | Kind::Vertex | Kind::Bedrock => &[],
            };
            let mut expected = vec![key_header, "content-length", "host", "user-agent", "x-request-id"];
            expected.extend(more);
            expected.sort_unstable();
            assert_eq!(names, expected, "{kind}");
            let is = |kinds: &[Kind]| kinds.contains(&kind);
            let request_id = header(&answer, "request-id").is_some();
            assert_eq!(request_id, is(&[Kind::Anthropic, Kind::AnthropicCompatible]), "{kind}");
            let limit = header(&answer, "x-ratelimit-limit-tokens").is_some();
            assert_eq!(limit, is(&[Kind::OpenAi, Kind::OpenAiCompatible, Kind::AzureOpenAi]), "{kind}");
            assert_eq!(header(&answer, "set-cookie"), None);
        }
    }
}

#[tokio::test]
async fn anthropics_version_is_the_callers_where_it_has_one() {
    let mut bed = Bed::new(Kind::Anthropic, &[("sk-one", 1)], |_| ok()).await;
    bed.ask(&[]).await;
    bed.ask(&[("anthropic-version", "2099-01-01")]).await;
    let seen = bed.provider.seen();
    let versions: Vec<_> =
        seen.iter().map(|seen| seen.headers["anthropic-version"].to_str().expect("text")).collect();
    assert_eq!(versions, ["2023-06-01", "2099-01-01"]);
}

#[tokio::test]
async fn a_models_name_leads_nowhere_else() {
    let mut bed = Bed::new(Kind::Gemini, &[("sk-one", 1)], |_| ok()).await;
    for path in [
        "/v1beta/models/../files:countTokens",
        "/v1beta/models/a%2f..%2f..%2ffiles:countTokens",
        "/v1beta/models/%2e%2e:countTokens",
        "/v1beta/files",
        "/v1beta/models",
        "/upload/v1beta/models/m:countTokens",
    ] {
        let answer = bed.send(path, &[]).await;
        assert_eq!(failure(&answer), (404, Some("not_found"), "unknown_url".into()), "{path}");
    }
    assert!(bed.provider.seen().is_empty());
}

#[tokio::test]
async fn keys_are_used_by_weight() {
    let mut bed = Bed::new(Kind::OpenAi, &[("sk-three", 3), ("sk-one", 1)], |_| ok()).await;
    for _ in 0..8 {
        bed.ask(&[]).await;
    }
    let keys = bed.keys();
    assert_eq!(keys.iter().filter(|key| *key == "sk-three").count(), 6, "{keys:?}");
}

/// Bug 18 (k8sgpt-operator #137): a Secret that was rotated was not used before a restart.
#[tokio::test]
async fn bug_18_a_refused_key_is_out_until_its_file_holds_another() {
    // Google answers a wrong key with 400.
    let googles = r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
    for (kind, status, body) in
        [(Kind::OpenAi, 401, r#"{"error":{"message":"no"}}"#), (Kind::Gemini, 400, googles)]
    {
        let script = move |seen: &Seen| match seen.key.as_str() {
            "sk-dead" => json(status, &[], body),
            _ => ok(),
        };
        let mut bed = Bed::new(kind, &[("sk-dead", 1000), ("sk-good", 1)], script).await;
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("2")), "{status}");
        assert_eq!(bed.keys(), ["sk-dead", "sk-good"]);
        let first = bed.folder.path().join("0");
        // The same key again is no other key.
        put(&first, "sk-dead");
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("1")));
        assert_eq!(bed.keys(), ["sk-good"]);
        assert!(bed.has_metric("weighbridge_provider_key_state", 0, r#",state="retired"} 1"#).await);
        assert!(bed.has_metric("weighbridge_provider_key_state", 1, r#",state="usable"} 1"#).await);
        assert!(bed.has_metric("weighbridge_provider_key_retires_total", 0, "} 1").await);
        put(&first, "sk-new");
        bed.ask(&[]).await;
        assert_eq!(bed.keys(), ["sk-new"], "with no restart");
        assert!(bed.has_metric("weighbridge_provider_key_state", 0, r#",state="usable"} 1"#).await);
        // A key that went with its Secret is passed over.
        std::fs::remove_file(&first).expect("removed");
        assert_eq!(bed.ask(&[]).await.status, 200);
        assert_eq!(bed.keys(), ["sk-good"]);
        assert!(bed.has_metric("weighbridge_provider_key_state", 0, r#",state="missing"} 1"#).await);
    }
}

/// The caller's own key is not meant, in any dialect.
#[tokio::test]
async fn all_keys_refused_is_a_502_of_our_own() {
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.has_place()) {
        let script = |_: &Seen| json(401, &[], r#"{"error":{"message":"your key is wrong"}}"#);
        let mut bed = Bed::new(kind, &[("sk-one", 1), ("sk-two", 1)], script).await;
        for attempts in ["2", "0"] {
            let answer = bed.ask(&[]).await;
            let expected = (502, Some("credential"), "upstream_credentials_exhausted".to_owned());
            assert_eq!(failure(&answer), expected, "{kind}");
            assert_eq!(used(&answer), Some(attempts));
            assert!(!answer.text().expect("text").contains("your key"));
        }
        assert_eq!(bed.keys().len(), 2, "nothing more is sent");
        let mut probe = Client::connect(bed.door.admin).await.expect("connected");
        assert_eq!(probe.get("/readyz").await.expect("answered").status, 200, "a restart would not help");
    }
}

/// Never retried as a limit, and no fault of the key's: it is tried again after a while.
#[tokio::test]
async fn a_key_whose_account_is_used_up_is_passed_over_and_told_apart_from_a_limit() {
    let openai = r#"{"error":{"message":"quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let anthropic = r#"{"type":"error","error":{"type":"billing_error","message":"quota"}}"#;
    let low = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#;
    for (kind, status, body) in
        [(Kind::OpenAi, 429, openai), (Kind::Anthropic, 402, anthropic), (Kind::Anthropic, 400, low)]
    {
        let script = move |seen: &Seen| match seen.key.as_str() {
            "sk-rich" => ok(),
            _ => json(status, &[], body),
        };
        let mut bed = Bed::new(kind, &[("sk-poor", 1000), ("sk-rich", 1)], script).await;
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("2")), "{kind} {status}");
        assert_eq!(bed.ask(&[]).await.status, 200);
        assert_eq!(bed.keys(), ["sk-poor", "sk-rich", "sk-rich"]);
        assert!(bed.has_metric("weighbridge_provider_key_state", 0, r#",state="exhausted"} 1"#).await);

        let mut bed = Bed::new(kind, &[("sk-poor", 1), ("sk-poorer", 1)], script).await;
        // The provider's own words, and ours once there is nobody left to ask; neither says to come again.
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (status, Some("2")), "{kind} {status}");
        assert_eq!((answer.text().expect("text"), header(&answer, "retry-after")), (body, None));
        let answer = bed.ask(&[]).await;
        assert_eq!(failure(&answer), (429, Some("quota_exhausted"), "insufficient_quota".into()));
        assert_eq!((used(&answer), header(&answer, "retry-after")), (Some("0"), None));
    }
}

/// A 403 may be about one model, one region or one path: what else is asked with the key goes on.
#[tokio::test]
async fn what_a_key_may_not_do_is_tried_with_the_others_and_takes_no_key_out() {
    let forbidden = r#"{"error":{"message":"no access to this model"}}"#;
    let scopes =
        r#"{"error":{"message":"You have insufficient permissions. Missing scopes: model.request."}}"#;
    for (status, body) in [(403, forbidden), (401, scopes)] {
        let script = move |seen: &Seen| match (seen.path.as_str(), seen.key.as_str()) {
            ("/base/responses", "sk-may") | ("/base/chat/completions", _) => ok(),
            _ => json(status, &[], body),
        };
        let mut bed = Bed::new(Kind::OpenAi, &[("sk-may-not", 1000), ("sk-may", 1)], script).await;
        let answer = bed.send("/v1/responses", &[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("2")));
        let answer = bed.send("/v1/chat/completions", &[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("1")));
        assert_eq!(bed.keys(), ["sk-may-not", "sk-may", "sk-may-not"], "{status}");
        // Where none may, the provider says why.
        let answer = bed.send("/v1/embeddings", &[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (status, Some("2")));
        assert_eq!(answer.text().expect("text"), body);
        for key in [0, 1] {
            assert!(bed.has_metric("weighbridge_provider_key_state", key, r#",state="usable"} 1"#).await);
        }
    }
}

/// litellm #25507: Google says it in the body and in no header.
#[tokio::test]
async fn a_wait_that_only_the_body_says_rests_the_key() {
    let body = r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"50.5s"}]}}"#;
    let mut bed = Bed::new(Kind::Gemini, &[("sk-one", 1)], move |_| json(429, &[], body)).await;
    for sent in ["1", "0"] {
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (429, Some(sent)));
        let wait: u32 = header(&answer, "retry-after").expect("a wait").parse().expect("seconds");
        assert!((30..=51).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn a_limited_key_rests_and_the_next_one_answers() {
    let script = |seen: &Seen| match seen.key.as_str() {
        "sk-busy" => json(429, &[("retry-after", "3000")], ANTHROPIC_LIMITED),
        _ => ok(),
    };
    let mut bed = Bed::new(Kind::Anthropic, &[("sk-busy", 1000), ("sk-free", 1)], script).await;
    let answer = bed.ask(&[]).await;
    assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("2")));
    let answer = bed.ask(&[]).await;
    assert_eq!((answer.status.as_u16(), used(&answer)), (200, Some("1")));
    assert_eq!(bed.keys(), ["sk-busy", "sk-free", "sk-free"]);
    assert!(bed.has_metric("weighbridge_provider_key_state", 0, r#",state="resting"} 1"#).await);
    assert!(bed.has_metric("weighbridge_provider_key_rests_total", 0, "} 1").await);
}

#[tokio::test]
async fn all_keys_limited_is_a_429_with_the_smallest_wait() {
    let script = |seen: &Seen| match seen.key.as_str() {
        "sk-one" => json(429, &[("retry-after", "3000")], ANTHROPIC_LIMITED),
        _ => json(429, &[("retry-after-ms", "50000"), ("request-id", "r-1")], ANTHROPIC_LIMITED),
    };
    let mut bed = Bed::new(Kind::Anthropic, &[("sk-one", 1), ("sk-two", 1)], script).await;
    let waits = |answer: &Answer| {
        let seconds: u32 = header(answer, "retry-after").expect("a wait").parse().expect("seconds");
        assert_eq!(header(answer, "retry-after-ms"), None);
        assert_eq!(header(answer, "x-should-retry"), None);
        (30..=50).contains(&seconds)
    };
    // The provider's own words, with the wait of the key that is free first.
    let answer = bed.ask(&[]).await;
    assert_eq!((answer.status.as_u16(), used(&answer)), (429, Some("2")));
    assert_eq!(answer.text().expect("text"), ANTHROPIC_LIMITED);
    assert_eq!(
        (header(&answer, "x-weighbridge-failure"), header(&answer, "request-id")),
        (None, Some("r-1"))
    );
    assert!(waits(&answer), "{answer:?}");
    // And ours, where nothing was sent.
    let answer = bed.ask(&[]).await;
    assert_eq!(failure(&answer), (429, Some("rate_limited"), "upstream_rate_limited".into()));
    assert_eq!(used(&answer), Some("0"));
    assert!(waits(&answer), "{answer:?}");
    assert_eq!(bed.keys(), ["sk-one", "sk-two"]);
}

#[tokio::test]
async fn a_wait_that_clients_would_not_obey_is_not_to_be_waited_for() {
    let mut bed =
        Bed::new(Kind::OpenAi, &[("sk-one", 1)], |_| json(429, &[("retry-after", "3000")], "{}")).await;
    for _ in 0..2 {
        let answer = bed.ask(&[]).await;
        assert_eq!(answer.status, 429);
        assert_eq!(header(&answer, "retry-after"), Some("60"));
        assert_eq!(header(&answer, "x-should-retry"), Some("false"));
    }
    assert_eq!(bed.keys().len(), 1);
}

#[tokio::test]
async fn a_rest_ends_by_itself() {
    let mut bed =
        Bed::new(Kind::OpenAi, &[("sk-one", 1)], |_| json(429, &[("retry-after-ms", "0")], "{}")).await;
    for _ in 0..2 {
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (429, Some("1")));
        assert_eq!(header(&answer, "retry-after"), Some("1"));
    }
    assert_eq!(bed.keys().len(), 2);
}

#[tokio::test]
async fn attempts_are_as_many_as_the_gateway_leaves() {
    let keys = [("sk-0", 1), ("sk-1", 1), ("sk-2", 1), ("sk-3", 1), ("sk-4", 1), ("sk-5", 1)];
    let mut bed = Bed::new(Kind::OpenAi, &keys, |_| json(401, &[], "{}")).await;
    let answer = bed.ask(&[("x-weighbridge-attempts", "1")]).await;
    // There are other keys: another try may help.
    assert_eq!(failure(&answer), (502, Some("upstream"), "upstream_credentials_rejected".into()));
    assert_eq!(used(&answer), Some("1"));
    let answer = bed.ask(&[]).await;
    assert_eq!((used(&answer), failure(&answer).1), (Some("3"), Some("upstream")), "three unless it says");
    let answer = bed.ask(&[("x-weighbridge-attempts", "9")]).await;
    assert_eq!((used(&answer), failure(&answer).1), (Some("2"), Some("credential")));
    assert_eq!(bed.keys().len(), 6);
}

#[tokio::test]
async fn a_mix_of_refused_and_limited_keys_is_a_limit() {
    let script = |seen: &Seen| match seen.key.as_str() {
        "sk-busy" => json(429, &[("retry-after", "40")], r#"{"error":{"message":"busy"}}"#),
        _ => json(401, &[], "{}"),
    };
    let mut bed = Bed::new(Kind::OpenAi, &[("sk-busy", 1000), ("sk-dead", 1)], script).await;
    let answer = bed.ask(&[]).await;
    assert_eq!((answer.status.as_u16(), used(&answer)), (429, Some("2")));
    assert!(answer.text().expect("text").contains("busy"));
}

#[tokio::test]
async fn an_error_that_is_not_the_keys_is_tried_once_and_marks_no_key() {
    for status in [400, 404, 408, 409, 413, 422, 500, 503, 504, 529] {
        let body = r#"{"type":"error","error":{"type":"api_error","message":"mine"}}"#;
        let script = move |_: &Seen| json(status, &[("x-weighbridge-failure", "internal")], body);
        let mut bed = Bed::new(Kind::Anthropic, &[("sk-one", 1), ("sk-two", 1)], script).await;
        let answer = bed.ask(&[]).await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (status, Some("1")));
        assert_eq!(answer.text().expect("text"), body);
        assert_eq!(header(&answer, "x-weighbridge-failure"), None, "a provider can't say it");
        for key in [0, 1] {
            assert!(bed.has_metric("weighbridge_provider_key_state", key, r#",state="usable"} 1"#).await);
        }
    }
}

#[tokio::test]
async fn what_no_dialect_has_is_said_in_our_words() {
    let page = || Response::builder().header("content-type", "text/html; charset=utf-8");
    let large = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(65 << 10));
    let cases: [(u16, &str, &str); 9] = [
        (302, "upstream", "provider_redirect"),
        (200, "upstream", "provider_invalid_response"),
        (400, "bad_request", ""),
        (404, "not_found", "provider_not_found"),
        (413, "too_large", "payload_too_large"),
        (429, "rate_limited", "rate_limit_exceeded"),
        (500, "upstream", "provider_error"),
        (503, "overloaded", "provider_overloaded"),
        (504, "timeout", "provider_error"),
    ];
    for (status, class, code) in cases {
        let script = move |_: &Seen| {
            let response = page().status(status).header("location", "/elsewhere");
            response.body("<html>Welcome</html>".to_owned()).expect("an answer")
        };
        let mut bed = Bed::new(Kind::Gemini, &[("sk-one", 1)], script).await;
        let answer = bed.ask(&[]).await;
        let (_, said, word) = failure(&answer);
        assert_eq!((said, word.as_str()), (Some(class), code), "{status}");
        assert!(answer.status.is_client_error() || answer.status.is_server_error());
        assert!(!answer.text().expect("text").contains("Welcome") && header(&answer, "location").is_none());
    }
    let mut bed = Bed::new(Kind::OpenAi, &[("sk-one", 1)], move |_| json(400, &[], &large)).await;
    let answer = bed.ask(&[]).await;
    assert_eq!(failure(&answer).1, Some("bad_request"));
    assert!(answer.body.len() < 1000);
    let zipped = |_: &Seen| json(200, &[("content-encoding", "gzip")], "\u{1f}\u{8b}");
    let mut bed = Bed::new(Kind::OpenAi, &[("sk-one", 1)], zipped).await;
    assert_eq!(failure(&bed.ask(&[]).await).1, Some("upstream"));
    // Of an error that says that it is compressed nobody reads what it seems to say: its status is left.
    let error = r#"{"error":{"message":"canary","type":"invalid_request_error"}}"#;
    let zipped = move |_: &Seen| json(429, &[("content-encoding", "gzip")], error);
    let mut bed = Bed::new(Kind::OpenAi, &[("sk-one", 1)], zipped).await;
    let answer = bed.ask(&[]).await;
    assert_eq!(failure(&answer).1, Some("rate_limited"));
    assert!(
        !answer.text().expect("text").contains("canary") && header(&answer, "content-encoding").is_none()
    );
}
