use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

async fn whole(client: &Upstream<HttpConnector>, uri: &Uri) -> Bytes {
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

/// The upstream closed a connection that nobody used: the request takes another, and its sender sees nothing of it.
#[tokio::test]
async fn an_unused_connection_that_was_closed_is_not_used() {
    let (listener, uri) = listener().await;
    let client = client();
    let (first, served) = tokio::join!(whole(&client, &uri), serve(&listener, &[ANSWER]));
    assert_eq!(first, "ok");
    drop(served.expect("served"));
    let (second, served) = tokio::join!(whole(&client, &uri), serve(&listener, &[ANSWER]));
    assert_eq!(second, "ok");
    served.expect("served by a second connection");
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
