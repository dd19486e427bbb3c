//! What happens after seconds of nothing, on a clock that jumps.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};

use crate::engine::{Event, EventStream, Finished, StopCause, TokenEvent};
use crate::http::choices::Choices;
use crate::http::record::Record;
use crate::http::stream::{self, Begun as _, Dialect};
use crate::http::{AppState, body, listener};
use crate::metrics::{EngineMetrics, Metrics};
use crate::sampling::TokenLogprobs;

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_by_time() {
    let (mut client, server) = tokio::io::duplex(1024);
    let builder = listener::builder();
    let serving = builder.serve_connection(TokioIo::new(server), TowerToHyperService::new(Router::new()));
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: a").await.unwrap();
    let mut answer = Vec::new();
    let (served, read) = tokio::join!(serving.into_owned(), client.read_to_end(&mut answer));
    assert!(served.is_err() || !answer.starts_with(b"HTTP/1.1 200"));
    read.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_place_back() {
    let (mut client, server) = tokio::io::duplex(1024);
    let builder = listener::builder();
    let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
    let serving =
        builder.serve_connection(TokioIo::new(server), TowerToHyperService::new(router)).into_owned();
    let serving = tokio::spawn(serving);
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    serving.await.unwrap().ok();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_a_408() {
    let memory = Arc::new(Semaphore::new(1 << 20));
    let endless = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) })
        .chain(futures::stream::pending());
    let refused = body::read(&HeaderMap::new(), Body::from_stream(endless), &memory).await.unwrap_err();
    assert_eq!(refused.status, 408);
    assert_eq!(memory.available_permits(), 1 << 20, "its share of the memory is free again");
}

#[tokio::test(start_paused = true)]
async fn bodies_wait_for_memory_and_not_for_ever() {
    let memory = Arc::new(Semaphore::new(40 << 10));
    let held = body::read(&HeaderMap::new(), Body::from("{}"), &memory).await.unwrap();
    let refused = body::read(&HeaderMap::new(), Body::from("{}"), &memory).await.unwrap_err();
    assert_eq!(refused.status, 408);
    drop(held);
    assert!(body::read(&HeaderMap::new(), Body::from("{}"), &memory).await.is_ok());
}

/// Writes texts and nothing else.
struct Plain;

impl Dialect for Plain {
    fn begin(&mut self, _: usize, _: Option<Vec<Option<TokenLogprobs>>>) -> Option<String> {
        None
    }

    fn token(&mut self, _: usize, token: &TokenEvent) -> Option<String> {
        (!token.text.is_empty()).then(|| token.text.clone())
    }

    fn finish(&mut self, _: usize, finished: &Finished) -> Vec<String> {
        vec![finished.tail.clone()]
    }

    fn usage(&mut self, _: weighbridge_wire::openai::Usage) -> String {
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_open_with_comments() {
    let (events, receiver) = mpsc::channel(8);
    let token = |text: &str| Event::Token(TokenEvent { id: 0, text: text.to_owned(), logprobs: None });
    // A first token without text yet: nothing is written for it, and the stream goes on.
    events.send(token("")).await.unwrap();
    let begun = stream::begin(Plain, Choices::new(vec![EventStream::of(receiver)]), 1, None).await.unwrap();
    let state = AppState::new(Arc::new(Metrics::new(&EngineMetrics::default())));
    let response = Box::new(begun).into_response(Record::begin(&state));
    let mut frames = response.into_body().into_data_stream();
    for _ in 0..2 {
        assert_eq!(frames.next().await.unwrap().unwrap(), ": keep-alive\n\n");
    }
    events.send(token("a")).await.unwrap();
    assert_eq!(frames.next().await.unwrap().unwrap(), "data: a\n\n");
    let (cause, tail) = (StopCause::Length, "b".to_owned());
    events
        .send(Event::Finished(Finished { cause, tail, prompt_tokens: 1, completion_tokens: 2 }))
        .await
        .unwrap();
    drop(events);
    assert_eq!(frames.next().await.unwrap().unwrap(), "data: b\n\n");
    assert_eq!(frames.next().await.unwrap().unwrap(), "data: [DONE]\n\n");
    assert!(frames.next().await.is_none());
}
