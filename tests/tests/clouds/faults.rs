//! What goes wrong at a cloud, as a caller sees it.

use std::time::Duration;

use serde_json::{Value, json};
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, ProxyConfig, Timeouts};
use weighbridge_tests::door::{Answer, Client, Door, entry, proxy_config, write_keys};
use weighbridge_tests::simulator::{Certificate, Simulator};
use weighbridge_wire::provider::{DataPolicy, Kind};

use super::bed::{Bed, Maker, entries, key, named, place, raw, upstream};

const CLOUDS: [Kind; 2] = [Kind::Vertex, Kind::Bedrock];
const MAKERS: [Maker; 2] = [Maker::Anthropic, Maker::Own];

async fn ask(bed: &mut Bed, maker: Maker, behaviour: &str, stream: bool) -> Answer {
    let said = json!([{"role": "user", "content": "hi"}]);
    let question =
        json!({"model": named(maker, behaviour), "stream": stream, "messages": said, "max_tokens": 99});
    bed.post("/v1/messages", &question).await
}

#[tokio::test]
async fn an_error_is_the_callers_dialects_whatever_the_cloud_said() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            for (behaviour, status, error) in [
                ("limited-retry-after", 429, "rate_limit_error"),
                ("limited-no-hint", 429, "rate_limit_error"),
                ("status-400", 400, "invalid_request_error"),
                ("status-503", 529, "overloaded_error"),
            ] {
                for stream in [false, true] {
                    let answer = ask(&mut bed, maker, behaviour, stream).await;
                    let what = format!("{kind} {maker:?} {behaviour}: {:?}", answer.text());
                    // A key that is limited rests; the next question is for another bed.
                    if status == 429 {
                        bed = Bed::new(kind).await;
                    }
                    assert_eq!(answer.status.as_u16(), status, "{what}");
                    let body = answer.json().expect("JSON");
                    assert_eq!(
                        (&body["type"], &body["error"]["type"]),
                        (&json!("error"), &json!(error)),
                        "{what}"
                    );
                }
            }
            // What is between us and the cloud is no fault of the caller's.
            for behaviour in ["status-404", "status-403"] {
                let answer = ask(&mut bed, maker, behaviour, false).await;
                assert_eq!(answer.status.as_u16(), 502, "{kind} {maker:?} {behaviour}: {:?}", answer.text());
            }
        }
    }
}

/// The text that came, and the error that ended the stream.
fn broken(body: &str) -> (String, Option<Value>) {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let text = events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
    assert!(!events.iter().any(|event| event["type"] == "message_stop"), "{body}");
    (text, events.last().filter(|event| event["type"] == "error").map(|event| event["error"].clone()))
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_never_as_if_it_were_whole() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            for behaviour in ["cut", "truncated", "half-frame", "damaged", "invalid-json", "error-in-stream"]
            {
                let answer = ask(&mut bed, maker, behaviour, true).await;
                let what = format!("{kind} {maker:?} {behaviour}: {:?}", answer.text());
                assert_eq!(answer.status, 200, "{what}");
                let (text, error) = broken(answer.text().expect("text"));
                assert!("Hello, wörld".starts_with(&text) && !text.is_empty(), "{what}");
                assert!(error.is_some_and(|error| !error["message"].is_null()), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_stops_is_ended_with_an_error() {
    let timeouts = Timeouts { idle: Duration::from_millis(50), ..Timeouts::default() };
    for kind in CLOUDS {
        let bed = Bed::new(kind).await;
        let config = GatewayConfig { timeouts: timeouts.clone(), ..GatewayConfig::default() };
        let door = Door::gateway(config, Directory::from_entries(entries(kind, &bed.proxy))).await;
        let door = door.expect("a gateway");
        for maker in MAKERS {
            let said = json!([{"role": "user", "content": "hi"}]);
            let model = named(maker, "stall");
            let question = json!({"model": model, "stream": true, "messages": said, "max_tokens": 99});
            let mut client = Client::connect(door.address).await.expect("connected");
            let answer = client.post("/v1/messages", question.to_string()).await.expect("answered");
            let what = format!("{kind} {maker:?}: {:?}", answer.text());
            assert_eq!(answer.status, 200, "{what}");
            let (text, error) = broken(answer.text().expect("text"));
            assert!("Hello, wörld".starts_with(&text) && !text.is_empty(), "{what}");
            assert!(error.is_some_and(|error| error["type"] == "timeout_error"), "{what}");
        }
    }
}

/// A frame whose checksum does not hold is not read on past, whatever comes after it.
#[tokio::test]
async fn a_damaged_frame_is_said_to_be_one() {
    let mut bed = Bed::new(Kind::Bedrock).await;
    for maker in MAKERS {
        let answer = ask(&mut bed, maker, "damaged", true).await;
        let (_, error) = broken(answer.text().expect("text"));
        let said = error.expect("an error").to_string();
        assert!(said.contains("checksum"), "{said}");
    }
}

/// Nothing of it is shown, and nobody goes where it points.
#[tokio::test]
async fn what_is_no_answer_is_an_error_of_ours() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            for behaviour in ["html", "redirect", "hang-up", "error-in-200", "wrong-type"] {
                for stream in [false, true] {
                    let answer = ask(&mut bed, maker, behaviour, stream).await;
                    let what = format!("{kind} {maker:?} {behaviour}, stream {stream}: {:?}", answer.text());
                    assert_eq!(answer.status.as_u16(), 502, "{what}");
                    let body = answer.json().expect("JSON");
                    assert_eq!(
                        (&body["type"], &body["error"]["type"]),
                        (&json!("error"), &json!("api_error")),
                        "{what}"
                    );
                    assert!(!what.contains("<html>") && !what.contains("elsewhere"), "{what}");
                }
            }
        }
        assert!(
            bed.simulator.seen().iter().all(|seen| !seen.path.contains("elsewhere")),
            "{kind}: it was followed"
        );
    }
}

/// Before anything was said to the caller there is still a status to say it by.
#[tokio::test]
async fn an_exception_in_place_of_an_answer_is_an_error_with_a_status() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            let answer = ask(&mut bed, maker, "error-first", true).await;
            assert_eq!(answer.status.as_u16(), 529, "{kind} {maker:?}: {:?}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_stream_that_never_ends_is_ended() {
    let mut bed = Bed::new(Kind::Bedrock).await;
    for maker in MAKERS {
        let answer = ask(&mut bed, maker, "endless", true).await;
        assert_eq!(answer.status.as_u16(), 502, "{maker:?}: {:?}", answer.text());
    }
}

/// While a proxy is replaced because its cloud's region is another by now, the old one is still there.
#[tokio::test]
async fn a_proxy_that_calls_another_host_than_the_places_sends_nothing() {
    for kind in CLOUDS {
        let bed = Bed::new(kind).await;
        let before = bed.simulator.counts().requests;
        let upstream_model = upstream(kind, Maker::Anthropic, "faithful");
        let speaks = kind.speaks(&upstream_model);
        let data_policy = Some(DataPolicy::at(&place(kind)).into());
        let entry = entry("m", World::Closed, &[bed.proxy.address]);
        let entry = Entry { upstream_model, speaks, data_policy, ..entry };
        let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(vec![entry]));
        let door = door.await.expect("a gateway");
        let mut client = Client::connect(door.address).await.expect("connected");
        let question =
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        let answer = client.post("/v1/chat/completions", question.to_string()).await.expect("answered");
        let body = answer.json().expect("JSON");
        assert_eq!((answer.status.as_u16(), &body["error"]["code"]), (503, &json!("provider_elsewhere")));
        assert!(answer.headers.contains_key("retry-after"), "{kind}");
        assert_eq!(bed.simulator.counts().requests, before, "{kind}");
    }
}

/// The names of clouds' hosts, of their lists and of what an owner writes in their place are looked up in the same way.
#[tokio::test]
async fn a_name_that_leads_inside_is_refused_after_it_was_looked_up() {
    let simulator = Simulator::start_tls(&Certificate::new().expect("made")).await.expect("a simulator");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = write_keys(folder.path(), &[(&key(Kind::Bedrock, &simulator), 1)]).expect("written");
    let base_url = format!("https://localhost:{}", simulator.address().port());
    let config = proxy_config(Kind::Bedrock, &base_url, keys);
    let config = ProxyConfig { place: Some(place(Kind::Bedrock)), allow_private: false, ..config };
    let door = Door::proxy(config).await.expect("a proxy");
    let mut client = Client::connect(door.address).await.expect("connected");
    let (path, body) = raw(Kind::Bedrock, "faithful");
    let answer = client.post(&path, body.to_string()).await.expect("answered");
    let body = answer.json().expect("JSON");
    assert_eq!((answer.status.as_u16(), &body["error"]["code"]), (502, &json!("provider_unreachable")));
    assert_eq!(simulator.counts().requests, 0);
}
