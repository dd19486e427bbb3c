//! What happens after seconds of nothing, on a clock that jumps.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::{Event, EventStream, Finished, StopCause, TokenEvent};
use crate::http::body::BodyMemory;
use crate::http::choices::Choices;
use crate::http::listener::{self, Patience};
use crate::http::record::Record;
use crate::http::stream::{self, Begun as _, Dialect};
use crate::http::{AppState, Listener, Phase, body};
use crate::metrics::{EngineMetrics, Metrics};
use crate::sampling::TokenLogprobs;

/// One connection, served as every other.
async fn serve(server: DuplexStream, router: Router) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Dropped, it would tell the connection to end.
    let open = GracefulShutdown::new();
    listener::converse(TokioIo::new(server), router, Patience::default().head, open.watcher()).await
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_by_time() {
    let (mut client, server) = tokio::io::duplex(1024);
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: a").await.unwrap();
    let mut answer = Vec::new();
    let (served, read) = tokio::join!(serve(server, Router::new()), client.read_to_end(&mut answer));
    assert!(served.is_err() || !answer.starts_with(b"HTTP/1.1 200"));
    read.unwrap();
}

/// hyper-util's own timers begin once it knows the protocol, which these bytes leave open.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_dropped() {
    for begun in ["", "P", "PRI * HTTP"] {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(begun.as_bytes()).await.unwrap();
        let served = tokio::time::timeout(Duration::from_secs(3600), serve(server, Router::new())).await;
        assert!(served.is_ok_and(|served| served.is_err()), "{begun:?} keeps its place for an hour");
    }
}

/// On the kernel's clock, which does not jump.
#[tokio::test]
async fn a_client_that_stops_reading_is_dropped_and_counted() {
    let metrics = Arc::new(Metrics::new(&EngineMetrics::default()));
    let patience = Patience { write_stall: Duration::from_millis(20), ..Patience::default() };
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Arc::clone(&metrics)).await.unwrap();
    let listener = listener.with_patience(patience);
    let address = listener.address();
    let endless = || async {
        let piece = Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096]));
        Body::from_stream(futures::stream::repeat(piece))
    };
    let router = Router::new().route("/", axum::routing::get(endless));
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(router, stop.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let counted = async {
        while !metrics.render(None).contains("weighbridge_engine_write_stalls_total 1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("it holds its place for a minute");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_place_back() {
    let (mut client, server) = tokio::io::duplex(1024);
    let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
    let serving = tokio::spawn(serve(server, router));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    serving.await.unwrap().ok();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_a_408() {
    let memory = BodyMemory::of_kib(32 << 20, 1 << 20);
    let endless = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) })
        .chain(futures::stream::pending());
    let refused = body::read(&HeaderMap::new(), Body::from_stream(endless), &memory).await.unwrap_err();
    assert_eq!(refused.status, 408);
    assert_eq!(memory.free_kib(), 1 << 20, "its share of the memory is free again");
}

#[tokio::test(start_paused = true)]
async fn bodies_wait_for_memory_and_not_for_ever() {
    let memory = BodyMemory::of_kib(32 << 20, 40 << 10);
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
    let of = stream::Asked { choices: 1, prompt_tokens: 1, include_usage: false };
    let begun = stream::begin(Plain, Choices::new(vec![EventStream::of(receiver)]), of).await.unwrap();
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

fn server() -> AppState {
    AppState::new(Arc::new(Metrics::new(&EngineMetrics::default())))
}

/// A request after 4, 8, 12, … seconds; how many there are.
async fn requests(server: &AppState, count: u32) {
    for _ in 0..count {
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(server.arrived());
    }
}

/// Who was told to go stays while requests come: whoever sends them has not heard of it yet. A gateway that never hears
/// keeps it for half a minute.
#[tokio::test(start_paused = true)]
async fn who_leaves_stays_until_it_is_left_alone() {
    for (count, timeout, seconds) in [(0, 300, 5), (1, 300, 9), (4, 300, 21), (99, 300, 30), (99, 20, 10)] {
        let (server, told) = (server(), tokio::time::Instant::now());
        let gone = tokio::select! {
            gone = server.leave(Duration::from_secs(5), Duration::from_secs(timeout)) => gone,
            () = async { requests(&server, count).await; std::future::pending().await } => false,
        };
        assert_eq!((gone, told.elapsed().as_secs()), (true, seconds), "after {count} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_request_has_the_drain_timeout_and_no_more() {
    let (server, told) = (server(), tokio::time::Instant::now());
    let _open = server.arrived();
    assert!(!server.leave(Duration::from_secs(5), Duration::from_secs(60)).await);
    assert_eq!((told.elapsed().as_secs(), server.phase()), (60, Phase::Draining));
}
