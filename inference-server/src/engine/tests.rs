use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{
    EngineConfig, EngineHandle, Event, EventStream, Finished, GenerateError, GenerateRequest, StopCause,
    SubmitError,
};
use crate::metrics::EngineMetrics;
use crate::sampling::SamplingParams;
use crate::testing::{Gate, IM_END, SimulatedBackend, SimulatedDrawing, tokenizer};

fn engine(blocks: usize, config: EngineConfig) -> (EngineHandle, Gate) {
    let backend = SimulatedBackend::new(blocks, 4096);
    let gate = backend.gate();
    let metrics = Arc::new(EngineMetrics::default());
    let handle = EngineHandle::start(Box::new(backend), Arc::new(tokenizer()), config, metrics).unwrap();
    (handle, gate)
}

fn request(prompt: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.bytes().map(u32::from).collect(),
        max_tokens,
        sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
        stop: vec![],
        ignore_end: false,
        prompt_logprobs: None,
        adapter: None,
    }
}

async fn submit(engine: &EngineHandle, request: GenerateRequest) -> EventStream {
    engine.submit(vec![request]).await.unwrap().remove(0)
}

/// Text and end of a sequence.
async fn collect(mut stream: EventStream) -> Result<(String, Finished), GenerateError> {
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event {
            Event::Prompt(_) => {}
            Event::Token(token) => text.push_str(&token.text),
            Event::Finished(finished) => return Ok((text + &finished.tail, finished)),
            Event::Failed(error) => return Err(error),
        }
    }
    Err(GenerateError::Stopped)
}

/// Waits for the engine's books to say so; a test that waits for ever fails here.
async fn until(engine: &EngineHandle, what: impl Fn(super::LoadSnapshot) -> bool) {
    let waited = async {
        while !what(engine.load()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.expect("the engine never got there");
}

#[tokio::test]
async fn an_answer_ends_at_the_end_token() {
    let (engine, _) = engine(16, EngineConfig::default());
    let (text, finished) = collect(submit(&engine, request("tuv", 100)).await).await.unwrap();
    assert_eq!(text, "wxyz");
    assert_eq!(finished.cause, StopCause::EndToken(IM_END));
    assert_eq!((finished.prompt_tokens, finished.completion_tokens), (3, 5));
}

#[tokio::test]
async fn an_answer_ends_at_max_tokens_and_at_a_stop_text() {
    let (engine, _) = engine(16, EngineConfig::default());
    let (text, finished) = collect(submit(&engine, request("a", 3)).await).await.unwrap();
    assert_eq!((text.as_str(), finished.cause), ("bcd", StopCause::Length));
    let stop = GenerateRequest { stop: vec!["fg".to_owned()], ..request("a", 100) };
    let (text, finished) = collect(submit(&engine, stop).await).await.unwrap();
    assert_eq!((text.as_str(), finished.cause), ("bcde", StopCause::StopText("fg".to_owned())));
    let held = GenerateRequest { stop: vec!["dX".to_owned()], ..request("a", 3) };
    let (text, _) = collect(submit(&engine, held).await).await.unwrap();
    assert_eq!(text, "bcd", "text held back for a stop text that did not come is not lost");
}

#[tokio::test]
async fn the_end_token_can_be_ignored() {
    let (engine, _) = engine(16, EngineConfig::default());
    let on = GenerateRequest { ignore_end: true, ..request("y", 4) };
    let (_, finished) = collect(submit(&engine, on).await).await.unwrap();
    assert_eq!((finished.cause, finished.completion_tokens), (StopCause::Length, 4));
}

#[tokio::test]
async fn prompt_log_probabilities_cover_every_token_but_the_first() {
    let (engine, _) = engine(16, EngineConfig { tokens_per_step: 64, ..EngineConfig::default() });
    let prompt = "abcdefghijklmnopqrstuvwxyabcdefghijklmnopqrstuvwxy";
    let with = GenerateRequest { prompt_logprobs: Some(2), ..request(prompt, 1) };
    let mut stream = submit(&engine, with).await;
    let Some(Event::Prompt(rows)) = stream.next().await else { panic!("no prompt event") };
    assert_eq!(rows.len(), prompt.len());
    assert!(rows[0].is_none());
    let next = rows[1].as_ref().unwrap();
    assert_eq!(next.top[0], (u32::from(b'b'), next.logprob), "after a comes b");
    assert!(rows[25].as_ref().unwrap().logprob < -3.0, "after y comes z, not a");
    assert!(matches!(stream.next().await, Some(Event::Token(token)) if token.text == "z"));
}

#[tokio::test]
async fn answers_do_not_depend_on_company() {
    // The bytes by which tests make the backend fail are not to be drawn.
    let logit_bias = "!?#%".bytes().map(|byte| (u32::from(byte), f32::NEG_INFINITY)).collect::<Vec<_>>();
    let sampled = |seed| GenerateRequest {
        sampling: SamplingParams {
            temperature: 1.5,
            seed,
            logit_bias: logit_bias.clone(),
            ..SamplingParams::default()
        },
        ignore_end: true,
        ..request("The quick brown fox", 60)
    };
    let (alone, _) = engine(64, EngineConfig::default());
    let mut expected = Vec::new();
    for seed in 0..12 {
        expected.push(collect(submit(&alone, sampled(seed)).await).await.unwrap().0);
    }
    // Few blocks: sequences are preempted and computed again.
    let (crowded, _) =
        engine(9, EngineConfig { tokens_per_step: 7, max_sequences: 7, ..EngineConfig::default() });
    let streams = crowded.submit((0..12).map(sampled).collect()).await.unwrap();
    for (stream, expected) in streams.into_iter().zip(expected) {
        assert_eq!(collect(stream).await.unwrap().0, expected);
    }
    assert!(crowded.load().preemptions > 0, "the test means to preempt");
    until(&crowded, |load| load.used_blocks == 0).await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_it_waits() {
    let (engine, _) = engine(4, EngineConfig::default());
    assert_eq!(engine.context_length(), 64, "the KV memory bounds the context");
    let refused = engine.submit(vec![request("a", 64)]).await.unwrap_err();
    assert_eq!(refused, SubmitError::TooLong { prompt: 1, max_tokens: 64, context: 64 });
    assert_eq!(engine.submit(vec![request("", 1)]).await.unwrap_err(), SubmitError::Empty);
    assert_eq!(engine.submit(vec![request("a", 0)]).await.unwrap_err(), SubmitError::Empty);
    let endless = engine.submit(vec![request("a", usize::MAX)]).await.unwrap_err();
    assert!(matches!(endless, SubmitError::TooLong { .. }));
}

#[tokio::test]
async fn a_full_queue_refuses_and_counts() {
    let (engine, gate) = engine(64, EngineConfig { max_waiting: 2, ..EngineConfig::default() });
    let group = vec![request("a", 1), request("b", 1), request("c", 1)];
    assert_eq!(engine.submit(group).await.unwrap_err(), SubmitError::QueueFull);
    assert_eq!(engine.metrics.queue_full.get(), 1);
    gate.open();
    assert_eq!(collect(submit(&engine, request("a", 1)).await).await.unwrap().0, "b");
}

#[tokio::test]
async fn a_dropped_stream_frees_its_blocks_at_the_next_step() {
    let (engine, gate) = engine(64, EngineConfig::default());
    gate.close();
    let mut stream = submit(&engine, request("A", 800)).await;
    gate.permit(3);
    for _ in 0..3 {
        assert!(matches!(stream.next().await, Some(Event::Token(_))));
    }
    drop(stream);
    // The step that is under way ends, and the next one finds nobody.
    gate.permit(1);
    until(&engine, |load| load.used_blocks == 0 && load.running == 0).await;
    assert_eq!(engine.metrics.cancelled.get(), 1);
}

#[tokio::test]
async fn a_thousand_aborts_leave_the_pool_full() {
    let (engine, _) = engine(64, EngineConfig { max_waiting: 2000, ..EngineConfig::default() });
    for round in 0..1000_usize {
        let mut stream = submit(&engine, request("ABC", 500)).await;
        for _ in 0..round % 4 {
            stream.next().await;
        }
        drop(stream);
    }
    until(&engine, |load| load.used_blocks == 0 && load.waiting == 0).await;
    assert_eq!(collect(submit(&engine, request("x", 9)).await).await.unwrap().0, "yz");
}

#[tokio::test]
async fn a_failed_step_ends_its_sequences_and_no_others() {
    let (engine, _) = engine(64, EngineConfig::default());
    for (prompt, words) in [("a?", "the step met a ?"), ("a!", "the backend met a !")] {
        let error = collect(submit(&engine, request(prompt, 5)).await).await.unwrap_err();
        assert!(matches!(&error, GenerateError::Step(text) if text.contains(words)), "{error}");
        assert_eq!(collect(submit(&engine, request("x", 9)).await).await.unwrap().0, "yz");
    }
    until(&engine, |load| load.used_blocks == 0).await;
    assert_eq!(engine.metrics.failed_steps.get(), 2);
}

/// No later step could do better: whoever waits is told at once, and a probe sees that the engine is gone, and why.
#[tokio::test]
async fn a_lost_device_ends_the_engine_and_everyone_in_it() {
    let (engine, gate) = engine(64, EngineConfig { max_sequences: 1, ..EngineConfig::default() });
    gate.close();
    let streams = engine.submit(vec![request("a%", 5), request("x", 9)]).await.unwrap();
    gate.open();
    for stream in streams {
        let error = collect(stream).await.unwrap_err();
        assert!(
            matches!(&error, GenerateError::Step(text) if text == "simulated is lost: it met a %"),
            "{error}"
        );
    }
    assert!(engine.submit(vec![request("x", 9)]).await.is_err());
    assert!(!engine.is_running());
    assert_eq!(engine.ended(), Some("simulated is lost: it met a %"));
}

#[tokio::test]
async fn a_sequence_without_numbers_fails_alone() {
    let (engine, gate) = engine(64, EngineConfig::default());
    gate.close();
    let streams = engine.submit(vec![request("#", 5), request("v", 9)]).await.unwrap();
    gate.open();
    let mut streams = streams.into_iter();
    let error = collect(streams.next().unwrap()).await.unwrap_err();
    assert!(matches!(error, GenerateError::Logits(_)), "{error}");
    assert_eq!(collect(streams.next().unwrap()).await.unwrap().0, "wxyz");
}

/// Where the backend draws, penalties go with the draw and the token comes back; rows of prompts are still read here.
#[tokio::test]
async fn a_backend_that_draws_gives_what_its_logits_would() {
    let (here, _) = engine(64, EngineConfig::default());
    let backend = SimulatedDrawing::new(SimulatedBackend::new(64, 4096));
    let metrics = Arc::new(EngineMetrics::default());
    let config = EngineConfig { tokens_per_step: 7, ..EngineConfig::default() };
    let there = EngineHandle::start(Box::new(backend), Arc::new(tokenizer()), config, metrics).unwrap();
    let penalised = SamplingParams {
        temperature: 0.0,
        repetition_penalty: 1.3,
        frequency_penalty: 2.5,
        presence_penalty: 0.5,
        // Not to be drawn: the bytes by which tests make the backend fail.
        logit_bias: "!?#%".bytes().map(|byte| (u32::from(byte), f32::NEG_INFINITY)).collect(),
        ..SamplingParams::default()
    };
    let requests = || {
        vec![
            request("a prompt of some length", 40),
            GenerateRequest { sampling: penalised.clone(), ignore_end: true, ..request("ABAB", 30) },
            GenerateRequest { prompt_logprobs: Some(1), ..request("k", 9) },
            GenerateRequest { stop: vec!["pq".to_owned()], ..request("m", 9) },
            GenerateRequest { stop: vec!["st".to_owned()], ..request("q", 3) },
        ]
    };
    let (ours, theirs) = (here.submit(requests()).await.unwrap(), there.submit(requests()).await.unwrap());
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_eq!(collect(theirs).await.unwrap(), collect(ours).await.unwrap());
    }
    let streams = there.submit(vec![request("#", 5), request("v", 9)]).await.unwrap();
    let mut streams = streams.into_iter();
    let error = collect(streams.next().unwrap()).await.unwrap_err();
    assert!(matches!(error, GenerateError::Logits(_)), "{error}");
    assert_eq!(collect(streams.next().unwrap()).await.unwrap().0, "wxyz");
    until(&there, |load| load.used_blocks == 0).await;
}

/// While a step runs, the one before is told, and new requests are queued.
#[tokio::test]
async fn a_step_is_told_while_the_next_one_runs() {
    let backend = SimulatedDrawing::new(SimulatedBackend::new(64, 4096));
    let (draws, fetches) = (backend.draws(), backend.fetches());
    let (metrics, config) = (Arc::new(EngineMetrics::default()), EngineConfig::default());
    let engine = EngineHandle::start(Box::new(backend), Arc::new(tokenizer()), config, metrics).unwrap();
    fetches.close();
    let stop = GenerateRequest { stop: vec!["fg".to_owned()], ..request("a", 100) };
    let mut stream = submit(&engine, stop.clone()).await;
    fetches.permit(1);
    // The first token comes only when the second step was begun: that one nobody has fetched.
    assert!(matches!(stream.next().await, Some(Event::Token(token)) if token.text == "b"));
    assert_eq!(draws.load(Relaxed), 2);
    fetches.open();
    let (text, finished) = collect(stream).await.unwrap();
    assert_eq!((text.as_str(), finished.completion_tokens), ("cde", 6));
    until(&engine, |load| load.used_blocks == 0 && load.running == 0).await;
    // What a stop text ends has one row more, which is nobody's; what a token itself ends has none.
    assert_eq!(draws.load(Relaxed), 7);
    assert_eq!(collect(submit(&engine, request("x", 9)).await).await.unwrap().0, "yz");
    assert_eq!(draws.load(Relaxed), 10);
}

/// A backend that says that it is there and computes nothing would fail every request and no probe.
#[tokio::test]
async fn an_engine_whose_every_step_fails_ends() {
    let (engine, gate) = engine(64, EngineConfig::default());
    // Requests that fail for what they are, however many, end nothing.
    for _ in 0..8 {
        collect(submit(&engine, request("a?", 5)).await).await.unwrap_err();
    }
    assert_eq!(collect(submit(&engine, request("x", 9)).await).await.unwrap().0, "yz");
    gate.break_down();
    for _ in 0..3 {
        collect(submit(&engine, request("x", 9)).await).await.unwrap_err();
    }
    until(&engine, |_| engine.ended().is_some()).await;
    let said = "3 steps failed, and a step of one token too: simulated failed: it does not compute";
    assert_eq!(engine.ended(), Some(said));
    assert!(engine.submit(vec![request("x", 9)]).await.is_err());
}

/// Others may have its device while it sleeps: requests wait for them, and no longer than they are patient.
#[tokio::test]
async fn an_engine_that_sleeps_wakes_for_a_request() {
    let (engine, gate) = engine(64, EngineConfig::default());
    assert_eq!(collect(submit(&engine, request("x", 9)).await).await.unwrap().0, "yz");
    engine.sleep();
    until(&engine, |load| load.asleep).await;
    gate.take_room(2);
    assert_eq!(collect(submit(&engine, request("v", 9)).await).await.unwrap().0, "wxyz");
    until(&engine, |load| !load.asleep && load.used_blocks == 0).await;
    // One that works does not sleep.
    gate.close();
    let stream = submit(&engine, request("u", 9)).await;
    engine.sleep();
    gate.open();
    assert_eq!(collect(stream).await.unwrap().0, "vwxyz");
    assert!(!engine.load().asleep);
}

/// A wake that fails for what no other model does will fail again: a probe has to see it.
#[tokio::test]
async fn an_engine_that_can_not_wake_ends() {
    let (engine, gate) = engine(64, EngineConfig::default());
    engine.sleep();
    until(&engine, |load| load.asleep).await;
    gate.break_down();
    for _ in 0..3 {
        collect(submit(&engine, request("x", 9)).await).await.unwrap_err();
    }
    assert!(!engine.is_running());
    assert_eq!(engine.ended(), Some("simulated failed: its weights are gone"));
}

#[tokio::test]
async fn requests_fail_when_others_keep_the_device() {
    let config = EngineConfig { wake_patience: Duration::ZERO, ..EngineConfig::default() };
    let (engine, gate) = engine(64, config);
    engine.sleep();
    until(&engine, |load| load.asleep).await;
    gate.take_room(1);
    let error = collect(submit(&engine, request("x", 9)).await).await.unwrap_err();
    let said = "the engine sleeps, and its device is taken: simulated has no room: others have its memory";
    assert_eq!(error.to_string(), said);
    assert!(engine.load().asleep && engine.is_running());
    assert_eq!(collect(submit(&engine, request("x", 9)).await).await.unwrap().0, "yz");
}

#[tokio::test]
async fn draining_finishes_what_there_is_and_takes_no_more() {
    let (engine, gate) = engine(64, EngineConfig::default());
    gate.close();
    let stream = submit(&engine, request("v", 9)).await;
    engine.drain();
    assert_eq!(engine.submit(vec![request("a", 1)]).await.unwrap_err(), SubmitError::Draining);
    gate.open();
    assert_eq!(collect(stream).await.unwrap().0, "wxyz");
}

#[tokio::test]
async fn a_running_step_has_an_age() {
    let (engine, gate) = engine(64, EngineConfig::default());
    assert_eq!(engine.load().step_age, None);
    gate.close();
    let stream = submit(&engine, request("a", 1)).await;
    until(&engine, |load| load.step_age.is_some()).await;
    gate.open();
    collect(stream).await.unwrap();
    until(&engine, |load| load.step_age.is_none() && load.steps > 0).await;
}
