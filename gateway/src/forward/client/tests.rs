use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;

use super::super::Bounded;
use super::super::pool::STREAMS;
use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

async fn listener() -> (TcpListener, Uri) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let uri = format!("http://{}/path?query", listener.local_addr().expect("its address"));
    (listener, uri.parse().expect("a URI"))
}

fn request(uri: &Uri) -> Request<Pieces> {
    let mut request = Request::new(Pieces::from(Bytes::from_static(b"{}")));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    request
}

/// The head and the body of the next request; `None` where the client left.
async fn next(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n{}") {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    String::from_utf8(read).ok()
}

/// Accepts and answers each request of a connection, until the client leaves.
async fn serve(listener: &TcpListener, answers: &[&[u8]]) -> io::Result<TcpStream> {
    let (mut stream, _) = listener.accept().await?;
    for answer in answers {
        next(&mut stream).await.ok_or(io::ErrorKind::UnexpectedEof)?;
        stream.write_all(answer).await?;
    }
    Ok(stream)
}

fn client() -> Upstream<HttpConnector> {
    Upstream::plain(&Timeouts::default())
}

async fn whole<C>(client: &Upstream<C>, uri: &Uri) -> Bytes
where
    C: Service<Uri> + Clone,
    C::Response: Connected + Read + Write + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
{
    let answer = client.send(request(uri)).await.expect("an answer");
    answer.into_body().collect().await.expect("whole").to_bytes()
}

/// The other half of the known bug: a request's body must not wait for the upstream's delayed ACK.
#[tokio::test]
async fn connections_to_upstreams_do_not_wait_for_acks() {
    let (_listener, uri) = listener().await;
    let mut connector = connector(HttpConnector::new(), &Timeouts::default());
    let connected = connector.call(uri).await.expect("connected");
    assert!(connected.inner().nodelay().expect("readable"));
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let (listener, uri) = listener().await;
    let chunked = [STREAM, b"2\r\nok\r\n0\r\n\r\n"].concat();
    let server = tokio::spawn(async move { serve(&listener, &[ANSWER, &chunked, ANSWER]).await });
    let client = client();
    for _ in 0..3 {
        assert_eq!(whole(&client, &uri).await, "ok");
    }
    assert!(server.await.expect("no panic").is_ok(), "all came over one connection");
}

#[tokio::test]
async fn requests_name_host_and_path() {
    let (listener, uri) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let request = next(&mut stream).await.expect("a request");
        stream.write_all(ANSWER).await.expect("written");
        request
    });
    whole(&client(), &uri).await;
    let request = server.await.expect("no panic");
    assert!(request.starts_with("POST /path?query HTTP/1.1\r\n"), "{request}");
    let host = uri.authority().expect("one");
    assert!(request.contains(&format!("host: {host}\r\n")), "{request}");
}

#[test]
fn a_host_has_no_port_of_its_scheme() {
    let host = |uri: &'static str| Destination::of(&Uri::from_static(uri)).expect("a server").host();
    assert_eq!(host("https://api.example.com/v1"), "api.example.com");
    assert_eq!(host("https://api.example.com:443/v1"), "api.example.com");
    assert_eq!(host("https://api.example.com:80/v1"), "api.example.com:80");
    assert_eq!(host("http://[::1]:8000/"), "[::1]:8000");
}

/// Sends one request over the first connection, whose server is handed out.
async fn first<C>(client: &Upstream<C>, listener: &TcpListener, uri: &Uri, answer: &[u8]) -> TcpStream
where
    C: Service<Uri> + Clone,
    C::Response: Connected + Read + Write + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
{
    let answers = [answer];
    let (read, served) = tokio::join!(whole(client, uri), serve(listener, &answers));
    assert_eq!(read, "ok");
    served.expect("served")
}

/// Lets the runtime hear of what has happened to its sockets.
async fn heard() {
    tokio::task::yield_now().await;
}

/// The upstream closed a connection that nobody used, or said on it what nobody asked for, or said that it would: the request
/// takes another, and its sender sees nothing of it.
#[tokio::test]
async fn an_unused_connection_that_is_done_is_not_used() {
    let (listener, uri) = listener().await;
    for (what, answer, afterwards) in [
        ("closed", ANSWER, None),
        ("closed for writing", ANSWER, Some(&b""[..])),
        ("bytes left over", ANSWER, Some(ANSWER)),
        ("to be closed", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", Some(b"")),
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Some(b"")),
        ("more than its length", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay", Some(b"")),
    ] {
        let client = client();
        let mut stream = first(&client, &listener, &uri, answer).await;
        let kept = match afterwards {
            None => {
                drop(stream);
                None
            }
            Some(b"") if what == "closed for writing" => {
                stream.shutdown().await.expect("shut down");
                Some(stream)
            }
            Some(more) => {
                stream.write_all(more).await.expect("written");
                Some(stream)
            }
        };
        heard().await;
        let (second, served) = tokio::join!(whole(&client, &uri), serve(&listener, &[ANSWER]));
        assert_eq!(second, "ok", "{what}");
        served.expect("served by a second connection");
        drop(kept);
    }
}

/// What the runtime lets a task do before others have their turn does not hide that a connection was closed.
#[tokio::test]
async fn a_task_that_has_done_much_sees_a_closed_connection() {
    let (listener, uri) = listener().await;
    let client = client();
    drop(first(&client, &listener, &uri, ANSWER).await);
    heard().await;
    let (sender, mut receiver) = unbounded_channel();
    for sent in 0..10_000 {
        sender.send(sent).expect("room");
    }
    let destination = Destination::of(&uri).expect("a server");
    let taken = std::future::poll_fn(|context| {
        while receiver.poll_recv(context).is_ready() {}
        Poll::Ready(client.pool.take(&destination, Instant::now()).is_some())
    });
    assert!(!taken.await);
    assert!(!receiver.is_empty(), "the task had done much");
}

/// The connection turns out to be closed just as a request is handed to it, which was not sent yet.
#[tokio::test]
async fn a_request_that_was_not_sent_takes_another_connection() {
    let (listener, uri) = listener().await;
    let connector = Bent::default();
    let client = Upstream::new(connector.clone(), &Timeouts::default());
    drop(first(&client, &listener, &uri, ANSWER).await);
    heard().await;
    connector.blind.store(1, Ordering::Relaxed);
    drop(first(&client, &listener, &uri, ANSWER).await);
    assert_eq!(connector.blind.load(Ordering::Relaxed), 0, "the pool did not see the end");
}

/// It may have been seen, and may be at work.
#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let (listener, uri) = listener().await;
    let client = client();
    let mut stream = first(&client, &listener, &uri, ANSWER).await;
    let server = async {
        next(&mut stream).await.expect("the second request");
        drop(stream);
        listener.accept().await
    };
    tokio::select! {
        answer = client.send(request(&uri)) => assert!(matches!(answer, Err(ForwardError::Broken(_))), "{answer:?}"),
        _ = server => panic!("it was sent again"),
    }
}

#[tokio::test]
async fn a_sender_that_leaves_before_the_answer_closes_its_connection() {
    let (listener, uri) = listener().await;
    let client = client();
    let mut sending = Box::pin(client.send(request(&uri)));
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        next(&mut stream).await.expect("a request");
        stream
    };
    let mut stream = tokio::select! {
        _ = &mut sending => panic!("nobody answered"),
        stream = server => stream,
    };
    drop(sending);
    assert_eq!(next(&mut stream).await, None);
}

/// The rest of the request would be taken for the next one.
#[tokio::test]
async fn an_answer_before_the_whole_request_ends_the_connection() {
    let (listener, uri) = listener().await;
    let client = client();
    let mut large = request(&uri);
    *large.body_mut() = Pieces::from(Bytes::from(vec![b' '; 64 << 20]));
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.read_exact(&mut [0; 16]).await.expect("a beginning");
        stream.write_all(ANSWER).await.expect("written");
        stream
    };
    let (answer, _open) = tokio::join!(client.send(large), server);
    assert_eq!(answer.expect("an answer").into_body().collect().await.expect("whole").to_bytes(), "ok");
    drop(first(&client, &listener, &uri, ANSWER).await);
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_given_up() {
    let (listener, uri) = listener().await;
    let client = Upstream::plain(&Timeouts { first_byte: Duration::from_millis(20), ..Timeouts::default() });
    let (answer, _open) = tokio::join!(client.send(request(&uri)), listener.accept());
    assert!(matches!(answer, Err(ForwardError::FirstByte(_))), "{answer:?}");
}

#[tokio::test]
async fn an_upstream_that_can_not_be_reached_in_time_was_sent_nothing() {
    let timeouts = Timeouts { connect: Duration::from_millis(20), ..Timeouts::default() };
    let client = Upstream::new(Bounded::new(Never, timeouts.connect), &timeouts);
    let answer = client.send(request(&Uri::from_static("http://127.0.0.1:1/"))).await;
    assert!(matches!(&answer, Err(error @ ForwardError::Connect(_)) if error.nothing_sent()), "{answer:?}");
}

/// Serves HTTP/2 on the next connection until its client leaves.
async fn serve_http2(listener: &TcpListener) {
    let (stream, _) = listener.accept().await.expect("a client");
    let service = service_fn(|request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/path");
        assert!(request.uri().authority().is_some() && !request.headers().contains_key(HOST));
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
    });
    server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}

#[tokio::test]
async fn a_connection_of_http2_carries_many_requests_and_is_replaced_when_it_ends() {
    let (listener, uri) = listener().await;
    let client = Upstream::new(Bent { http2: true, ..Bent::default() }, &Timeouts::default());
    for _ in 0..2 {
        let requests = async {
            assert_eq!(whole(&client, &uri).await, "ok");
            let (one, other) = tokio::join!(whole(&client, &uri), whole(&client, &uri));
            assert_eq!((&one[..], &other[..]), (&b"ok"[..], &b"ok"[..]));
        };
        // One connection is all that is served, and it ends with the requests.
        tokio::select! {
            () = requests => {}
            () = serve_http2(&listener) => panic!("the client left"),
        }
        let Some(Link::Http2(mut sender, _)) =
            client.pool.take(&Destination::of(&uri).expect("a server"), Instant::now())
        else {
            panic!("it is kept");
        };
        while sender.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

/// Servers bound the streams of a connection, and what is more would wait in the client where nobody sees it.
#[tokio::test]
async fn a_connection_of_http2_that_is_full_has_another_beside_it() {
    let (listener, uri) = listener().await;
    let client = Upstream::new(Bent { http2: true, ..Bent::default() }, &Timeouts::default());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            // An answer that begins and does not end.
            let service = service_fn(|_: Request<Incoming>| async move {
                let body = http_body_util::StreamBody::new(futures::stream::pending::<
                    Result<Frame<Bytes>, Infallible>,
                >());
                Ok::<_, Infallible>(Response::new(body))
            });
            let connection =
                server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(client.send(request(&uri)).await.expect("begun"));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    open.push(client.send(request(&uri)).await.expect("begun"));
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    // Whoever leaves makes room in the first.
    open.swap_remove(0);
    open.push(client.send(request(&uri)).await.expect("begun"));
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

/// Its kernel still takes what is sent: only an answer shows that anybody is there.
#[tokio::test]
async fn a_connection_of_http2_whose_upstream_vanished_is_given_up_long_before_its_requests_are_overdue() {
    let (listener, uri) = listener().await;
    let timeouts = Timeouts { ping: Duration::from_millis(50), ..Timeouts::default() };
    let client = Upstream::new(Bent { http2: true, ..Bent::default() }, &timeouts);
    let mut server = pin!(serve_http2(&listener));
    tokio::select! {
        answer = whole(&client, &uri) => assert_eq!(answer, "ok"),
        () = server.as_mut() => panic!("the client left"),
    }
    // From here on nobody polls it, and it stays open.
    let answer = client.send(request(&uri)).await;
    assert!(matches!(answer, Err(ForwardError::Broken(_))), "{answer:?}");
}

/// Connects, and bends what is seen of it.
#[derive(Clone, Default)]
struct Bent {
    /// How many looks at a connection see nothing of what has come.
    blind: Arc<AtomicUsize>,
    /// Whether both sides agreed upon HTTP/2.
    http2: bool,
}

struct BentStream {
    inner: TokioIo<TcpStream>,
    bent: Bent,
}

impl Service<Uri> for Bent {
    type Response = BentStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<BentStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let bent = self.clone();
        Box::pin(async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            Ok(BentStream { inner: TokioIo::new(TcpStream::connect(address).await?), bent })
        })
    }
}

impl Connected for BentStream {
    fn connected(&self) -> hyper_util::client::legacy::connect::Connected {
        let connected = self.inner.connected();
        if self.bent.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for BentStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let blind = &self.bent.blind;
        if blind.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |looks| looks.checked_sub(1)).is_ok() {
            return Poll::Pending;
        }
        pin!(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for BentStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.inner).poll_shutdown(context)
    }
}

/// Connects to nothing, and takes for ever.
#[derive(Clone)]
struct Never;

impl Service<Uri> for Never {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = std::future::Pending<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::pending()
    }
}

#[tokio::test]
async fn an_answer_that_is_left_closes_its_connection() {
    let (listener, uri) = listener().await;
    let client = client();
    let opening = [STREAM, b"2\r\nok\r\n"].concat();
    let answers: [&[u8]; 1] = [&opening];
    let (answer, served) = tokio::join!(client.send(request(&uri)), serve(&listener, &answers));
    let mut body = answer.expect("an answer").into_body();
    let frame = body.frame().await.expect("a frame").expect("whole");
    assert_eq!(frame.data_ref().expect("data"), "ok");
    drop(body);
    assert_eq!(next(&mut served.expect("served")).await, None);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_an_error() {
    let (listener, uri) = listener().await;
    let (client, server) = (client(), async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        next(&mut stream).await
    });
    let (answer, read) = tokio::join!(client.send(request(&uri)), server);
    assert!(read.is_some());
    assert!(matches!(answer, Err(ForwardError::Broken(_))), "{answer:?}");
}

/// What arrived together is there together: no other task stands between the connection and its answer.
#[tokio::test]
async fn pieces_that_arrived_together_are_read_in_one_go() {
    let (listener, uri) = listener().await;
    let client = client();
    let (answer, served) = tokio::join!(client.send(request(&uri)), serve(&listener, &[STREAM]));
    let (mut body, mut stream) = (answer.expect("an answer").into_body(), served.expect("served"));
    stream.write_all(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n").await.expect("written");
    let mut read = String::new();
    std::future::poll_fn(|context| {
        while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
            let data = frame.expect("a frame").expect("whole").into_data().expect("data");
            read.push_str(std::str::from_utf8(&data).expect("text"));
        }
        if read.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    assert_eq!(read, "abc");
}

#[tokio::test]
async fn a_silent_answer_is_given_up() {
    let (listener, uri) = listener().await;
    let client = Upstream::plain(&Timeouts { idle: Duration::from_millis(20), ..Timeouts::default() });
    let (answer, served) = tokio::join!(client.send(request(&uri)), serve(&listener, &[STREAM]));
    let _open = served.expect("served");
    let error = answer.expect("an answer").into_body().collect().await.expect_err("silent");
    assert!(matches!(error, crate::server::BodyError::Idle(_)), "{error:?}");
}
