//! Streams that break, are left or held back, and providers that say when to come again.

use http::Method;
use weighbridge_gateway::Limits;
use weighbridge_tests::door::{Client, Form, TwoHops};
use weighbridge_tests::simulator::{HINT_SECONDS, Simulator};
use weighbridge_wire::provider::Kind;

use super::{ask, comes, metric, open};

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
