//! What a client does to fill the memory or the time of a server, on a clock that jumps where time is what it wastes.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, StatusCode};
use hyper::client::conn::http2;
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;
use weighbridge_wire::canonical::Dialect;
use weighbridge_wire::lane;

use super::*;
use crate::config::HEADER_BYTES;
use crate::server::{BodyBudget, receive, refusal};

const HEADERS: Duration = Duration::from_secs(30);
const BODY: Duration = Duration::from_secs(60);
const STALL: Duration = Duration::from_secs(60);
/// What lies between the two ends of a connection.
const BETWEEN: usize = 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// HPACK of `POST http://x/`: indexes of the static table, and one literal.
const REQUEST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];

const FRAME_HEADERS: u8 = 1;
const FRAME_RST_STREAM: u8 = 3;
const FRAME_SETTINGS: u8 = 4;
const FRAME_GOAWAY: u8 = 7;
const FRAME_CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The error codes of the GOAWAY frames in what a server sent.
fn goodbyes(mut sent: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let Some((head, rest)) = sent.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        if head[3] == FRAME_GOAWAY {
            codes.push(u32::from_be_bytes(payload[4..8].try_into().expect("a code")));
        }
        sent = rest;
    }
    codes
}

/// One connection, served as every other, whose other end this is; it tells when it is over.
fn connected(handler: impl Handler, between: usize) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (client, server) = duplex(between);
    let served = tokio::spawn(async move {
        let bounds = connection::Bounds {
            headers: HEADERS,
            write_stall: STALL,
            metrics: ServerMetrics::default(),
            drain: CancellationToken::new(),
        };
        // How it ended is the client's to see.
        let _ = connection::converse(server, Protocol::Either, None, Arc::new(handler), bounds).await;
    });
    (client, served)
}

/// Counts who asks, and answers nobody.
#[derive(Clone, Default)]
struct Silent(Arc<AtomicUsize>);

impl Handler for Silent {
    async fn handle(self: Arc<Self>, _: Request<Incoming>) -> Response<Body> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

/// Reads bodies as every role does.
struct Reads;

impl Handler for Reads {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let budget = BodyBudget::new(1 << 20, prometheus_client::metrics::counter::Counter::default());
        match receive(request.into_body(), 1 << 20, BODY, &budget).await {
            Ok(_) => hello(),
            Err(failure) => refusal(lane::error(Dialect::OpenAiChat, &failure)),
        }
    }
}

/// CVE-2023-44487: requests that are taken back at once cost the server work, and the limit of open streams never bites.
#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    const ASKED: u32 = 10_000;
    let silent = Silent::default();
    let (client, served) = connected(silent.clone(), 1 << 20);
    let (mut reading, mut writing) = tokio::io::split(client);
    let write = async move {
        let mut all = [PREFACE, &frame(FRAME_SETTINGS, 0, 0, &[])].concat();
        for stream in (0..ASKED).map(|number| 2 * number + 1) {
            all.extend(frame(FRAME_HEADERS, END_HEADERS | END_STREAM, stream, REQUEST));
            all.extend(frame(FRAME_RST_STREAM, 0, stream, &CANCEL));
        }
        // The server hangs up in the middle of it.
        let _ = writing.write_all(&all).await;
    };
    let mut sent = Vec::new();
    let (_, read) = tokio::join!(write, reading.read_to_end(&mut sent));
    read.expect("closed");
    served.await.expect("no panic");
    assert_eq!(goodbyes(&sent), [ENHANCE_YOUR_CALM]);
    let answered = silent.0.load(Ordering::Relaxed);
    assert!(answered < ASKED as usize / 10, "{answered} of {ASKED} were begun");
}

/// VU#421644: headers that never end, in as many frames as it takes.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    const MOST: usize = 16 << 20;
    let header = [&[0, 1, b'x', 100][..], &[b'a'; 100]].concat();
    for payload in [Vec::new(), vec![0], header.repeat(100)] {
        let silent = Silent::default();
        let (client, served) = connected(silent.clone(), BETWEEN);
        let (mut reading, mut writing) = tokio::io::split(client);
        let write = async {
            let mut written = 0;
            let begin = [PREFACE, &frame(FRAME_SETTINGS, 0, 0, &[])].concat();
            let mut next = [begin, frame(FRAME_HEADERS, END_STREAM, 1, REQUEST)].concat();
            while written < MOST && writing.write_all(&next).await.is_ok() {
                written += next.len();
                next = frame(FRAME_CONTINUATION, 0, 1, &payload);
            }
            written
        };
        let mut sent = Vec::new();
        let (written, read) = tokio::join!(write, reading.read_to_end(&mut sent));
        read.expect("closed");
        served.await.expect("no panic");
        assert!(written <= 4 * HEADER_BYTES, "{written} bytes were taken in");
        assert_eq!(goodbyes(&sent), [ENHANCE_YOUR_CALM], "frames of {} bytes", payload.len());
        assert_eq!(silent.0.load(Ordering::Relaxed), 0);
    }
}

/// Its connection serves on: other requests on it are not at fault.
#[tokio::test]
async fn too_long_a_list_of_headers_of_http_2_is_a_431() {
    let (client, _served) = connected(Hello, 1 << 20);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut ask = async |headers: usize| {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = "http://x/".parse().expect("a URI");
        for _ in 0..headers {
            request.headers_mut().append("x-long", HeaderValue::from_bytes(&[b'a'; 1000]).expect("text"));
        }
        sender.send_request(request).await.expect("answered").status()
    };
    // Each counts for more than its thousand bytes.
    let (fits, does_not) = (HEADER_BYTES / 1100, HEADER_BYTES / 1000 + 1);
    for (headers, status) in
        [(fits, StatusCode::OK), (does_not, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), (1, StatusCode::OK)]
    {
        assert_eq!(ask(headers).await, status, "{headers} of {does_not}");
    }
}

/// vLLM CVE-2025-48956: a header as large as the memory.
#[tokio::test]
async fn a_huge_head_of_http_1_is_refused_before_it_is_there() {
    const HUGE: usize = 64 << 20;
    for (begun, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\nx-long: ", "HTTP/1.1 431"),
        ("GET / HTTP/1.1\r\nhost: x\r\nx-long-name-", "HTTP/1.1 431"),
        ("GET /", "HTTP/1.1 4"),
        ("", "HTTP/1.1 4"),
    ] {
        let (client, served) = connected(Hello, BETWEEN);
        let (mut reading, mut writing) = tokio::io::split(client);
        let write = async {
            let mut written = 0;
            let mut next = begun.as_bytes();
            while written < HUGE && writing.write_all(next).await.is_ok() {
                written += next.len();
                next = &[b'A'; BETWEEN];
            }
            written
        };
        let mut said = String::new();
        let (written, read) = tokio::join!(write, reading.read_to_string(&mut said));
        read.expect("closed");
        served.await.expect("no panic");
        assert!(written <= 2 * HEADER_BYTES, "{begun:?}: {written} bytes were taken in");
        assert!(said.starts_with(status), "{begun:?}: {said}");
    }
}

/// What is sent a byte a second, for as long as the server takes it, and what the server says.
async fn drip(begun: &str) -> (Duration, String) {
    let (client, served) = connected(Reads, BETWEEN);
    let (mut reading, mut writing) = tokio::io::split(client);
    let began = Instant::now();
    let write = async {
        let mut next = begun.as_bytes();
        while writing.write_all(next).await.is_ok() {
            next = b"a";
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut said = String::new();
    let read = async {
        reading.read_to_string(&mut said).await.expect("closed");
        began.elapsed()
    };
    let (took, ()) = tokio::join!(read, write);
    served.await.expect("no panic");
    (took, said)
}

#[tokio::test(start_paused = true)]
async fn a_head_of_a_byte_a_second_is_cut_at_its_limit() {
    let (took, said) = drip("GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!((HEADERS..HEADERS + Duration::from_secs(2)).contains(&took), "{took:?}");
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_a_byte_a_second_is_a_408_in_both_protocols() {
    let limit = BODY..BODY + Duration::from_secs(2);
    for framing in ["content-length: 100000", "transfer-encoding: chunked"] {
        // Of chunks, one that is as large as it likes.
        let begun = format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{framing}\r\n\r\n");
        let begun = if framing.contains("chunked") { begun + "ffff\r\n" } else { begun };
        let (took, said) = drip(&begun).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{framing}: {said}");
        assert!(took >= limit.start, "{framing}: {took:?}");
    }

    let (client, _served) = connected(Reads, BETWEEN);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let began = Instant::now();
    let bytes = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a"))), ()))
    });
    let mut request = Request::new(StreamBody::new(Box::pin(bytes)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = "http://x/".parse().expect("a URI");
    let answer = sender.send_request(request).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(limit.contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// After its answer a connection is kept for the next request, and not for ever.
#[tokio::test(start_paused = true)]
async fn a_connection_that_idles_after_a_request_gives_its_place_back() {
    let (mut client, served) = connected(Hello, BETWEEN);
    let began = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let mut said = String::new();
    client.read_to_string(&mut said).await.expect("closed");
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("hello"), "{said}");
    served.await.expect("no panic");
    assert!(began.elapsed() < 2 * HEADERS, "{:?}", began.elapsed());

    // HTTP/2, whose client never answers the questions whether it is there.
    let (mut client, served) = connected(Hello, BETWEEN);
    let began = Instant::now();
    let ask = frame(FRAME_HEADERS, END_HEADERS | END_STREAM, 1, REQUEST);
    let all = [PREFACE, &frame(FRAME_SETTINGS, 0, 0, &[]), &ask].concat();
    client.write_all(&all).await.expect("written");
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.expect("closed");
    assert!(said.windows(5).any(|window| window == b"hello"), "{said:?}");
    served.await.expect("no panic");
    assert!(began.elapsed() < 3 * HEADERS, "{:?}", began.elapsed());
}

/// What is open then is finished: an answer may take longer than a connection may idle.
#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_is_finished_on_a_connection_that_closes_for_idling() {
    let (client, served) = connected(Slow, BETWEEN);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = "http://x/".parse().expect("a URI");
    let answer = sender.send_request(request).await.expect("answered");
    let whole = answer.into_body().collect().await.expect("not cut").to_bytes();
    assert_eq!(whole, "hello");
    served.await.expect("no panic");
}

/// Answers at once, and says a letter whenever a connection could have idled.
struct Slow;

impl Handler for Slow {
    async fn handle(self: Arc<Self>, _: Request<Incoming>) -> Response<Body> {
        let letters = futures::stream::unfold(0, |said| async move {
            tokio::time::sleep(2 * HEADERS).await;
            let letter = b"hello".get(said..=said)?;
            Some((Ok(Frame::data(Bytes::from_static(letter))), said + 1))
        });
        Response::new(StreamBody::new(Box::pin(letters)).boxed_unsync())
    }
}
