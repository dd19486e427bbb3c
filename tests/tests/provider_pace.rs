//! Providers that give one byte at a time, stop in the middle, or say very much at once: behind a proxy, at every door.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::time::Duration;

use weighbridge_gateway::{GatewayConfig, Timeouts};
use weighbridge_tests::door::{Answer, Client, Form, TwoHops};
use weighbridge_wire::provider::Kind;

const KINDS: [Kind; 3] = [Kind::OpenAi, Kind::Anthropic, Kind::Gemini];
const TEXT: &str = "Hello, w\u{f6}rld 😀!";

async fn ask(bed: &TwoHops, form: Form, model: &str, stream: bool) -> Answer {
    let mut client = Client::connect(bed.door.address).await.expect("connected");
    client.post(&form.path(model, stream), form.body(model, stream, "hi")).await.expect("answered")
}

/// An event may be cut anywhere, a character too.
#[tokio::test]
async fn what_drips_in_is_the_same_as_what_comes_at_once() {
    for kind in KINDS {
        let bed = TwoHops::new(kind, &["slow-drip"]).await.expect("two hops");
        bed.simulator.release(1 << 24);
        for form in Form::ALL {
            let answer = ask(&bed, form, "slow-drip", true).await;
            let text = answer.text().expect("text");
            let events = form.events(text).expect("events");
            assert_eq!(form.streamed(&events), TEXT, "{kind} {form:?}: {text}");
            assert!(
                form == Form::Array
                    || events.iter().any(|event| form.is_end(event))
                    || text.contains("[DONE]"),
                "{text}"
            );
        }
    }
}

/// A stream that stops is ended, with what came of it before.
#[tokio::test]
async fn a_stream_that_stops_ends_with_an_error_in_the_doors_own_shape() {
    let timeouts = Timeouts { idle: Duration::from_millis(50), ..Timeouts::default() };
    for kind in KINDS {
        let config = GatewayConfig { timeouts: timeouts.clone(), ..GatewayConfig::default() };
        let bed = TwoHops::with(kind, &["stall"], config).await.expect("two hops");
        for form in Form::ALL {
            let answer = ask(&bed, form, "stall", true).await;
            assert_eq!(answer.status, 200, "{kind} {form:?}: {answer:?}");
            let events = form.events(answer.text().expect("text")).expect("events");
            assert!(!form.streamed(&events).is_empty(), "{kind} {form:?}: {events:?}");
            let last = events.last().expect("an event");
            match form {
                Form::Responses if last["type"] == "response.failed" => {}
                // As it came, it is OpenAI's own event.
                Form::Responses => assert_eq!(last["type"], "error", "{kind}: {last}"),
                form => {
                    form.error(last).unwrap_or_else(|error| panic!("{kind} {form:?}: {error:#}: {last}"));
                }
            }
        }
        bed.simulator.wait_for(|counts| counts.waiting == 0).await;
    }
}

/// 16 MiB at once: a whole answer may be as large, and no event.
#[tokio::test]
async fn a_huge_answer_comes_whole_and_a_huge_event_is_refused() {
    for form in Form::ALL {
        let bed = TwoHops::new(form.native(), &["huge"]).await.expect("two hops");
        let whole = ask(&bed, form, "huge", false).await;
        assert_eq!(whole.status, 200, "{form:?}");
        let (text, _, _) = form.read(&whole.json().expect("JSON")).expect("an answer");
        assert_eq!(text.len(), 16 << 20, "{form:?}");
        let streamed = ask(&bed, form, "huge", true).await;
        let said = streamed.text().expect("text");
        assert!(said.len() < 1 << 20, "{form:?}: {}", said.len());
        if streamed.status == 200 {
            let events = form.events(said).expect("events");
            assert!(!events.iter().any(|event| form.is_end(event)), "{form:?}: {events:?}");
        } else {
            assert_eq!(streamed.status, 502, "{form:?}: {said}");
            form.error(&streamed.json().expect("JSON")).expect("an error");
        }
    }
}
