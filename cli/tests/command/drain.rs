//! SIGTERM at the process, under 32 open streams: none is cut, nothing new comes in, and it ends well. Over both protocols, in
//! the clear and with TLS.

use std::io::{self, Error};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weighbridge_tests::certificates::anonymous;
use weighbridge_tests::simulator::Simulator;

use crate::process::Up;

const STREAMS: usize = 32;
/// Streams that share a connection where the protocol lets them.
const TOGETHER: usize = 8;
/// Longer than anything here takes: what is still not there will not come.
const NEVER: Duration = Duration::from_secs(120);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    fn streams(self) -> usize {
        match self {
            Self::Http1 => 1,
            Self::Http2 => TOGETHER,
        }
    }

    /// Connects, by TLS that trusts the certificate in `trusted` where there is one.
    async fn connect(self, to: SocketAddr, folder: &Path, trusted: Option<&str>) -> io::Result<Sender> {
        let stream = TcpStream::connect(to).await?;
        let link: Box<dyn Io> = match trusted {
            None => Box::new(stream),
            Some(trusted) => {
                let config = anonymous(folder, trusted, &[self.alpn()]).expect("a client");
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(TlsConnector::from(config).connect(name, stream).await?)
            }
        };
        Ok(match self {
            Self::Http1 => {
                let (sender, connection) =
                    http1::handshake(TokioIo::new(link)).await.map_err(Error::other)?;
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Self::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(link)).await.map_err(Error::other)?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        })
    }
}

type Asked = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

impl Sender {
    /// Asks for a stream; what comes back resolves when its first text is there.
    fn ask(&mut self, door: &str) -> Asked {
        let body = r#"{"model":"gated","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::post(format!("http://{door}/v1/chat/completions")).header("host", door);
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)));
        let request = request.expect("a request");
        match self {
            Self::One(sender) => Box::pin(sender.send_request(request)),
            Self::Two(sender) => Box::pin(sender.send_request(request)),
        }
    }
}

fn manifest(folder: &Path, provider: SocketAddr) -> std::path::PathBuf {
    let file = folder.join("models.yaml");
    let yaml = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ExternalProvider\nmetadata: {{name: acme}}\n\
         spec: {{kind: OpenAICompatible, baseURL: 'http://{provider}/v1', allowPrivate: true, \
         apiKeys: [{{name: acme, key: api-key}}]}}\n---\n\
         apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: gated}}\n\
         spec: {{external: {{provider: acme, model: gated}}}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    file
}

async fn drains(protocol: Protocol, secure: bool) {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start().await.unwrap();
    let file = manifest(folder.path(), simulator.address());
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut flags = vec!["--secret", "acme/api-key=env:ACME_KEY"];
    if secure {
        flags.extend(["--tls-cert-file", &cert, "--tls-key-file", &key]);
    }
    let mut up = Up::start(&file, &flags, &[("ACME_KEY", "sk-canary")]);
    let pem = made.cert.pem();
    let trusted = secure.then_some(pem.as_str());
    let address: SocketAddr = up.door.parse().unwrap();

    let door = up.door.clone();
    let open = (0..STREAMS / protocol.streams()).map(|_| async {
        let mut sender = protocol.connect(address, folder.path(), trusted).await.expect("let in");
        let asked: Vec<Asked> = (0..protocol.streams()).map(|_| sender.ask(&door)).collect();
        (sender, futures::future::try_join_all(asked).await.expect("begun"))
    });
    let begin = async {
        // The head of an answer comes with its first text, the second event of each stream.
        for event in 0..2 {
            let all = STREAMS as u64;
            simulator.wait_for(|counts| counts.waiting == all && counts.taken == event * all).await;
            simulator.release(STREAMS);
        }
    };
    let begun = async { tokio::join!(futures::future::join_all(open), begin) };
    let (open, ()) = tokio::time::timeout(NEVER, begun).await.expect("streams do not begin");

    up.terminate();
    up.hear("finishing open streams");
    let refused = async {
        // Those who still lie in the backlog are cut off.
        while protocol.connect(address, folder.path(), trusted).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NEVER, refused).await.expect("it takes new connections");
    assert_eq!(simulator.counts().abandoned, 0);
    simulator.release(STREAMS * 8);
    for (sender, streams) in open {
        for stream in streams {
            let whole = tokio::time::timeout(NEVER, stream.into_body().collect()).await.expect("it hangs");
            let text = String::from_utf8(whole.expect("not cut").to_bytes().to_vec()).unwrap();
            assert!(text.contains("Hello") && text.ends_with("data: [DONE]\n\n"), "{text}");
        }
        drop(sender);
    }
    let (code, said) = up.wait();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(simulator.counts().abandoned, 0, "no stream was cut on its other side");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_cuts_no_stream_of_http_1() {
    drains(Protocol::Http1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_cuts_no_stream_of_http_1_by_tls() {
    drains(Protocol::Http1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_cuts_no_stream_of_http_2() {
    drains(Protocol::Http2, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_cuts_no_stream_of_http_2_by_tls() {
    drains(Protocol::Http2, true).await;
}
