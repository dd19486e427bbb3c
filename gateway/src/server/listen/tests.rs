use std::io::{Read as _, Write as _};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::metrics::Registry;
use crate::server::BodyError;

mod floods;

struct Hello;

impl Handler for Hello {
    async fn handle(self: Arc<Self>, _: Request<Incoming>) -> Response<Body> {
        hello()
    }
}

fn hello() -> Response<Body> {
    Response::new(Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {}).boxed_unsync())
}

/// Answers without end.
struct Endless;

impl Handler for Endless {
    async fn handle(self: Arc<Self>, _: Request<Incoming>) -> Response<Body> {
        let piece = || Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])));
        Response::new(StreamBody::new(futures::stream::repeat_with(piece)).boxed_unsync())
    }
}

fn settings(connections: usize, headers: Duration) -> Settings {
    let limits = Limits { connections, ..Limits::default() };
    let timeouts = Timeouts { headers, ..Timeouts::default() };
    Settings::new(&limits, &timeouts, &Drain::default())
}

async fn listening(settings: Settings) -> (std::net::SocketAddr, ServerMetrics, Shutdown) {
    listening_with(settings, Hello).await
}

async fn listening_with(
    settings: Settings,
    handler: impl Handler,
) -> (std::net::SocketAddr, ServerMetrics, Shutdown) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (metrics, shutdown) = (ServerMetrics::default(), Shutdown::new());
    let (counted, stop) = (metrics.clone(), shutdown.clone());
    let accept = Accept::new(&settings, listener, None, Arc::new(handler), counted);
    tokio::spawn(async move { serve_public(&settings, accept, &stop).await });
    (address, metrics, shutdown)
}

/// What arrives until the server closes.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // A reset is a close as well.
    let _ = stream.read_to_string(&mut text).await;
    text
}

/// Gateways that have more to do than they can are ready all the same: not ready, they would leave callers nobody.
#[tokio::test]
async fn probes_are_answered_while_the_threads_that_serve_are_taken() {
    let minute = Duration::from_secs(60);
    let control = ControlThread::start().expect("a thread");
    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (public, probed) = (bind().await, bind().await);
    let address = probed.local_addr().expect("its address");
    let (listeners, shutdown) = (Listeners { public, tls: None, admin: Some(probed) }, Shutdown::new());
    let admin = Admin::new(Registry::default(), shutdown.clone(), || Ok(()));
    let metrics = ServerMetrics::default();
    let serving = serve(&control, settings(4, minute), listeners, admin, Arc::new(Hello), metrics, shutdown);
    // It begins, and gets no other turn.
    let mut serving = pin!(serving);
    assert!(futures::poll!(serving.as_mut()).is_pending());
    let mut probe = std::net::TcpStream::connect(address).expect("a connection");
    probe.set_read_timeout(Some(minute)).expect("a limit");
    probe.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A known bug of two rivals: without it, each streamed answer waits 40 ms for the client's delayed ACK.
#[tokio::test]
async fn accepted_connections_do_not_wait_for_acks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (accepted, _) = accepted.expect("accepted");
    tune(&accepted, Duration::from_secs(60)).expect("tuned");
    assert!(accepted.nodelay().expect("readable"));
    let stall = socket2::SockRef::from(&accepted).tcp_user_timeout().expect("readable");
    assert_eq!(stall, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_client_that_never_finishes_its_headers_is_dropped() {
    for begun in ["", "P", "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "PRI * HTTP"] {
        let (address, _, _) = listening(settings(8, Duration::from_millis(20))).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(begun.as_bytes()).await.expect("written");
        let text = until_closed(stream).await;
        assert!(!text.contains("200 OK"), "{begun:?}: {text}");
    }
}

/// HTTP/1 and HTTP/2 are told apart by what a client says first, however it comes.
#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let (address, _, _) = listening(settings(8, Duration::from_secs(30))).await;
    for pieces in [&["GET / HTTP/1.1\r\nhost: x\r\n\r\n"][..], &["P", "UT / HTTP/1.1\r\nhost: x\r\n\r\n"]] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.expect("written");
            tokio::task::yield_now().await;
        }
        let mut begun = [0; 15];
        stream.read_exact(&mut begun).await.expect("answered");
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
    }
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("connected"));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::get("http://gateway.test/").body(Full::new(Bytes::new())).expect("a request");
    assert_eq!(sender.send_request(request).await.expect("answered").status(), 200);
}

/// A connection that is kept ready and says nothing does not hold the end up.
#[tokio::test]
async fn a_silent_connection_ends_with_the_drain() {
    let (address, metrics, shutdown) = listening(settings(8, Duration::from_secs(3600))).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    while metrics.connections.get() == 0 {
        tokio::task::yield_now().await;
    }
    shutdown.drain();
    let closed = tokio::time::timeout(Duration::from_secs(60), until_closed(stream)).await;
    assert_eq!(closed.expect("it is held open"), "");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let (address, _, _) = listening(settings(8, Duration::from_secs(30))).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let headers: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    stream
        .write_all(format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes())
        .await
        .expect("written");
    assert!(until_closed(stream).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_dropped_and_counted() {
    let settings =
        Settings { write_stall: Duration::from_millis(20), ..settings(8, Duration::from_secs(30)) };
    let (address, metrics, _) = listening_with(settings, Endless).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let counted = async {
        while metrics.write_stalls.get() == 0 || metrics.connections.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("it holds its place for a minute");
}

/// A client of HTTP/2 that gives each stream room for `window` bytes, and its connection.
async fn http2(address: std::net::SocketAddr, window: Option<u32>) -> (SendRequest<Empty<Bytes>>, Talk) {
    let stream = TcpStream::connect(address).await.expect("connected");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

type Talk = tokio::task::JoinHandle<hyper::Result<()>>;

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://x/").body(Empty::new()).expect("a request")
}

async fn until(holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), holds).await.expect("within a minute");
}

#[tokio::test]
async fn a_stream_of_http2_whose_client_takes_nothing_is_given_up_alone() {
    let settings =
        Settings { write_stall: Duration::from_millis(20), ..settings(8, Duration::from_secs(30)) };
    for large in [true, false] {
        let (address, metrics, _) = match large {
            true => listening_with(settings.clone(), Endless).await,
            false => listening(settings.clone()).await,
        };
        let (mut sender, _talk) = http2(address, Some(0)).await;
        for given_up in 1..=2 {
            let response = sender.send_request(get()).await.expect("its headers need no room");
            assert!(response.into_body().collect().await.is_err(), "it is reset");
            until(|| metrics.write_stalls.get() == given_up).await;
        }
        assert_eq!(metrics.connections.get(), 1, "the connection goes on");
    }
}

#[tokio::test]
async fn an_idle_connection_of_http2_is_closed() {
    let (address, metrics, _) = listening(settings(8, Duration::from_millis(20))).await;
    let (mut sender, talk) = http2(address, None).await;
    let response = sender.send_request(get()).await.expect("answered");
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "hello");
    // By a GOAWAY, so that a request that was on its way is known not to be handled.
    talk.await.expect("no panic").expect("a clean end");
    until(|| metrics.connections.get() == 0).await;
}

/// Fails in the handler, or while its answer is read.
struct Defective {
    in_body: bool,
}

impl Handler for Defective {
    async fn handle(self: Arc<Self>, _: Request<Incoming>) -> Response<Body> {
        assert!(self.in_body, "a defect");
        let never: fn() -> Option<Result<Frame<Bytes>, BodyError>> = || panic!("a defect");
        Response::new(StreamBody::new(futures::stream::poll_fn(move |_| never().into())).boxed_unsync())
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_holds_no_place() {
    for in_body in [false, true] {
        let (address, metrics, _) =
            listening_with(settings(8, Duration::from_secs(30)), Defective { in_body }).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("written");
        let said = until_closed(stream).await;
        assert_eq!(said.starts_with("HTTP/1.1 500"), !in_body, "{said}");
        let (mut sender, _talk) = http2(address, None).await;
        for _ in 0..2 {
            // Other streams of the connection go on.
            let answered = sender.send_request(get()).await.expect("headers");
            assert_eq!(answered.status() == 500, !in_body);
            assert_eq!(answered.into_body().collect().await.is_err(), in_body);
        }
        drop(sender);
        until(|| metrics.connections.get() == 0).await;
        assert_eq!(metrics.panics.get(), if in_body { 0 } else { 3 });
    }
}

#[tokio::test]
async fn connections_are_bounded_and_the_bound_is_counted() {
    let (address, metrics, _) = listening(settings(1, Duration::from_secs(30))).await;
    let ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = TcpStream::connect(address).await.expect("connected");
    first.write_all(ask).await.expect("written");
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.expect("answered");
    // The second waits in the backlog until the first one leaves.
    let mut second = TcpStream::connect(address).await.expect("in the backlog");
    second.write_all(ask).await.expect("written");
    while metrics.connections_full.get() == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    second.read_exact(&mut byte).await.expect("answered");
    assert_eq!(byte, *b"H");
}
