//! A service account's tokens, an access key's signatures, and what becomes of keys that are not taken.

use serde_json::{Value, json};
use tempfile::TempDir;
use weighbridge_crds::{KeyCondition, UpstreamHealth};
use weighbridge_tests::door::cloud::token_uri;
use weighbridge_tests::door::{Answer, Client, ClosedPort};
use weighbridge_tests::simulator::{Simulator, bedrock, vertex};
use weighbridge_wire::provider::Kind;

use super::bed::{Again, Bed, key, proxy, raw};

fn account(simulator: &Simulator, change: impl FnOnce(&mut Value)) -> String {
    let mut account = vertex::service_account(&token_uri(simulator.address()));
    change(&mut account);
    account.to_string()
}

async fn simulator() -> Simulator {
    Simulator::start().await.expect("a simulator")
}

async fn asked(bed: &Bed, kind: Kind, behaviour: &str) -> Answer {
    let (path, body) = raw(kind, behaviour);
    bed.at_proxy(&path, &body).await
}

fn used(answer: &Answer) -> &str {
    answer.headers["x-weighbridge-attempts-used"].to_str().expect("text")
}

fn failure(answer: &Answer) -> (u16, String) {
    let code = answer.json().expect("JSON")["error"]["code"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn one_token_serves_many_requests() {
    let bed = Bed::new(Kind::Vertex).await;
    for _ in 0..5 {
        assert_eq!(asked(&bed, Kind::Vertex, "faithful").await.status, 200);
    }
    assert_eq!(bed.tokens_asked(), 1);
}

#[tokio::test]
async fn requests_at_once_ask_for_one_token() {
    let bed = Bed::new(Kind::Vertex).await;
    let answers = futures::future::join_all((0..8).map(|_| asked(&bed, Kind::Vertex, "faithful"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(bed.tokens_asked(), 1);
}

#[tokio::test]
async fn a_token_is_got_anew_before_it_ends() {
    let simulator = simulator().await;
    simulator.tokens_last(299);
    let keys = [key(Kind::Vertex, &simulator)];
    let bed = Bed::with(Kind::Vertex, simulator, &keys, Again::Never).await;
    for expected in 2..5 {
        assert_eq!(asked(&bed, Kind::Vertex, "faithful").await.status, 200);
        assert_eq!(bed.tokens_asked(), expected, "one for the list, and one for each call");
    }
}

/// The key is as good as ever, and is not set aside for it.
#[tokio::test]
async fn a_token_that_was_taken_back_is_got_anew() {
    let bed = Bed::new(Kind::Vertex).await;
    assert_eq!(asked(&bed, Kind::Vertex, "faithful").await.status, 200);
    bed.simulator.revoke_tokens();
    let answer = asked(&bed, Kind::Vertex, "faithful").await;
    assert_eq!((answer.status.as_u16(), used(&answer)), (200, "1"));
    assert_eq!(bed.tokens_asked(), 2);
}

/// A new token that is not taken either is the key's fault, and that is found out once.
#[tokio::test]
async fn a_key_whose_new_token_is_refused_too_is_retired() {
    let bed = Bed::new(Kind::Vertex).await;
    assert_eq!(asked(&bed, Kind::Vertex, "faithful").await.status, 200);
    let answer = asked(&bed, Kind::Vertex, "bad-key").await;
    assert_eq!(failure(&answer), (502, "upstream_credentials_exhausted".to_owned()));
    let tokens = bed.tokens_asked();
    let answer = asked(&bed, Kind::Vertex, "faithful").await;
    assert_eq!(failure(&answer), (502, "upstream_credentials_exhausted".to_owned()));
    assert_eq!((tokens, bed.tokens_asked()), (2, 2));
}

#[tokio::test]
async fn an_account_that_google_does_not_know_is_refused_before_anybody_calls() {
    let changes: [fn(&mut Value); 2] = [
        |account| account["client_email"] = json!("gone@simulated-1.iam.gserviceaccount.com"),
        |account| account["private_key_id"] = json!("deleted"),
    ];
    for change in changes {
        let simulator = simulator().await;
        let keys = [account(&simulator, change), key(Kind::Vertex, &simulator)];
        let bed = Bed::with(Kind::Vertex, simulator, &keys, Again::Never).await;
        let state = bed.until_keys(&[KeyCondition::Refused, KeyCondition::Usable]).await;
        let said = state.last_upstream_error.expect("an error");
        assert!(said.message.contains("the provider said: invalid_grant"), "{said:?}");
        let answer = asked(&bed, Kind::Vertex, "faithful").await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, "1"));
        let metrics = bed.admin("/metrics").await;
        let retired =
            r#"weighbridge_provider_key_state{namespace="team",provider="acme",key="0",state="retired"} 1"#;
        assert!(metrics.text().expect("text").contains(retired));
    }
}

/// The refusal comes from the host that gives tokens, in the middle of a call, and is as good as the provider's own.
#[tokio::test]
async fn an_account_that_is_deleted_is_retired_by_a_call_and_back_when_google_knows_it_again() {
    let simulator = simulator().await;
    let keys = [key(Kind::Vertex, &simulator)];
    let bed = Bed::with(Kind::Vertex, simulator, &keys, Again::Soon).await;
    bed.until_keys(&[KeyCondition::Usable]).await;
    bed.simulator.know_account(false);
    bed.simulator.revoke_tokens();
    let answer = asked(&bed, Kind::Vertex, "faithful").await;
    assert_eq!(failure(&answer), (502, "upstream_credentials_exhausted".to_owned()));
    bed.until_keys(&[KeyCondition::Refused]).await;
    bed.simulator.know_account(true);
    bed.until_keys(&[KeyCondition::Usable]).await;
    assert_eq!(asked(&bed, Kind::Vertex, "faithful").await.status, 200);
}

#[tokio::test]
async fn a_tokens_host_that_is_away_is_no_fault_of_the_key() {
    let closed = ClosedPort::new().expect("a port");
    let simulator = simulator().await;
    let away = vertex::service_account(&token_uri(closed.address)).to_string();
    let bed = Bed::with(Kind::Vertex, simulator, &[away], Again::Soon).await;
    for _ in 0..2 {
        let answer = asked(&bed, Kind::Vertex, "faithful").await;
        assert_eq!(failure(&answer), (502, "provider_token_unavailable".to_owned()));
    }
    let state = bed.until(|state| state.upstream == UpstreamHealth::Failing).await;
    assert_eq!(state.keys[0].state, KeyCondition::Unproven, "nobody refused it");
    // Once the account's file names a host that answers, it is used.
    std::fs::write(bed.folder.path().join("0"), key(Kind::Vertex, &bed.simulator)).expect("written");
    assert_eq!(asked(&bed, Kind::Vertex, "faithful").await.status, 200);
    bed.until(|state| state.upstream == UpstreamHealth::Answering).await;
}

#[tokio::test]
async fn each_way_of_amazons_keys_is_taken() {
    for text in [
        bedrock::access_key(false).to_string(),
        bedrock::access_key(true).to_string(),
        bedrock::API_KEY.to_owned(),
    ] {
        let bed =
            Bed::with(Kind::Bedrock, simulator().await, std::slice::from_ref(&text), Again::Never).await;
        let answer = asked(&bed, Kind::Bedrock, "faithful").await;
        assert_eq!(answer.status, 200, "{:?}", answer.text());
        let seen = bed.simulator.seen().pop().expect("a request");
        let shown = seen.headers["authorization"].to_str().expect("text");
        assert_eq!(shown.starts_with("AWS4-HMAC-SHA256 "), text.starts_with('{'), "{shown}");
        assert!(!shown.contains(bedrock::SECRET_ACCESS_KEY));
    }
}

#[tokio::test]
async fn a_key_that_amazon_does_not_know_is_refused_before_anybody_calls() {
    let change = |name: &str, to: &str| {
        let mut key = bedrock::access_key(true);
        key[name] = json!(to);
        key.to_string()
    };
    for wrong in [
        change("accessKeyId", "AKIAUNKNOWN"),
        change("secretAccessKey", "another"),
        change("sessionToken", "ended"),
        "another-api-key".to_owned(),
    ] {
        let keys = [wrong.clone(), bedrock::access_key(false).to_string()];
        let bed = Bed::with(Kind::Bedrock, simulator().await, &keys, Again::Never).await;
        bed.until_keys(&[KeyCondition::Refused, KeyCondition::Usable]).await;
        let answer = asked(&bed, Kind::Bedrock, "faithful").await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (200, "1"), "{wrong}");
    }
}

/// A session ends while its key's file is still there: the next key is used, and the session's successor once it is in the file.
#[tokio::test]
async fn a_session_that_ended_is_retired_and_its_successor_is_used() {
    let simulator = simulator().await;
    let keys = [bedrock::access_key(true).to_string(), bedrock::API_KEY.to_owned()];
    let bed = Bed::with(Kind::Bedrock, simulator, &keys, Again::Never).await;
    bed.until_keys(&[KeyCondition::Usable; 2]).await;
    bed.simulator.end_sessions();
    let mut attempts: Vec<String> = Vec::new();
    for _ in 0..3 {
        let answer = asked(&bed, Kind::Bedrock, "faithful").await;
        assert_eq!(answer.status, 200);
        attempts.push(used(&answer).to_owned());
    }
    assert_eq!(attempts.iter().filter(|attempts| *attempts == "2").count(), 1, "{attempts:?}");
    let state = bed.until_keys(&[KeyCondition::Refused, KeyCondition::Usable]).await;
    let said = state.last_upstream_error.expect("an error");
    assert_eq!((said.status, said.class.as_str()), (Some(403), "credential"), "{said:?}");
    std::fs::write(bed.folder.path().join("0"), bedrock::access_key(false).to_string()).expect("written");
    bed.until_keys(&[KeyCondition::Usable; 2]).await;
}

/// A cloud's rights are by model: the key that may not ask one may ask another, whether or not it may see the list.
#[tokio::test]
async fn a_key_that_may_not_ask_one_model_is_kept_and_the_clouds_words_are_passed_on() {
    for (kind, lists) in
        [(Kind::Vertex, true), (Kind::Vertex, false), (Kind::Bedrock, true), (Kind::Bedrock, false)]
    {
        let simulator = simulator().await;
        simulator.show_lists(lists);
        let keys = [key(kind, &simulator), key(kind, &simulator)];
        let bed = Bed::with(kind, simulator, &keys, Again::Soon).await;
        let at_first = if lists { KeyCondition::Usable } else { KeyCondition::Unproven };
        bed.until_keys(&[at_first; 2]).await;
        let answer = asked(&bed, kind, "status-403").await;
        assert_eq!((answer.status.as_u16(), used(&answer)), (403, "2"), "{kind}");
        assert!(answer.text().expect("text").contains("as you asked"), "{kind}");
        // The doubt was looked into, and came to nothing.
        for call in 0..2 {
            let answer = asked(&bed, kind, "faithful").await;
            assert_eq!((answer.status.as_u16(), used(&answer)), (200, "1"), "{kind} {call}");
        }
        bed.until_keys(&[KeyCondition::Usable; 2]).await;
    }
}

#[tokio::test]
async fn a_clouds_list_tells_of_models_and_of_profiles() {
    for (kind, model) in [(Kind::Vertex, "gemini-faithful"), (Kind::Bedrock, "us.amazon.nova-faithful-v1:0")]
    {
        let bed = Bed::new(kind).await;
        let state = bed.until(|state| state.models.is_some()).await;
        let list = state.models.expect("a list");
        assert!(list.find(model).is_some() && !list.complete, "{kind}: {list:?}");
    }
}

/// Google's and Amazon's refusals of what is used up or too much set a key aside as every provider's do.
#[tokio::test]
async fn what_a_cloud_limits_rests() {
    for kind in [Kind::Vertex, Kind::Bedrock] {
        let bed = Bed::new(kind).await;
        assert_eq!(asked(&bed, kind, "limited-retry-after").await.status, 429, "{kind}");
        // Limits that come and go are told now and then only; metrics have them at once.
        let metrics = bed.admin("/metrics").await;
        let rests = r#"weighbridge_provider_key_rests_total{namespace="team",provider="acme",key="0"} 1"#;
        assert!(metrics.text().expect("text").contains(rests), "{kind}");
    }
    let bed = Bed::new(Kind::Bedrock).await;
    let answer = asked(&bed, Kind::Bedrock, "quota").await;
    assert_eq!(answer.status, 400, "{:?}", answer.text());
    bed.until_keys(&[KeyCondition::QuotaExhausted]).await;
}

#[tokio::test]
async fn a_file_that_holds_another_clouds_key_is_said_to() {
    for (kind, text, fix) in [
        (Kind::Vertex, "AIza-canary", "service account"),
        (Kind::Vertex, r#"{"type":"authorized_user","refresh_token":"canary"}"#, "service account"),
        (Kind::Bedrock, r#"{"accessKeyId":"AKIA"}"#, "secretAccessKey"),
        (Kind::Bedrock, "two words", "more than one line"),
    ] {
        let (simulator, folder): (_, TempDir) = (simulator().await, tempfile::tempdir().expect("a folder"));
        let door = proxy(kind, &simulator, &folder, &[text.to_owned()], Again::Never).await;
        let mut client = Client::connect(door.admin).await.expect("connected");
        let answer = client.get("/readyz").await.expect("answered");
        let said = answer.text().expect("text");
        assert_eq!(answer.status, 503, "{kind} {text}");
        assert!(said.contains(fix) && !said.contains("canary"), "{kind} {text}: {said}");
    }
}
