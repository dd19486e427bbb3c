use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Hello;

impl Handler for Hello {
    async fn handle(self: Arc<Self>, _: Request<Incoming>) -> Response<Body> {
        Response::new(Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {}).boxed_unsync())
    }
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
