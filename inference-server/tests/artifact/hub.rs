//! A server of our own: speaks the paths and headers of a hub, over TLS where asked, and misbehaves where a test says so.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().unwrap(), last.parse().unwrap()))
    }
}

/// What goes back; a test changes it before it does.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<&'static str, String>,
    pub body: Vec<u8>,
    /// Bytes of the body that are sent before the connection breaks.
    pub cut: Option<usize>,
    /// Nothing is sent and the connection stays open until the client leaves.
    pub silent: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: BTreeMap::new(), body: Vec::new(), cut: None, silent: false }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.insert(name, value.to_string());
        self
    }
}

/// The file that the hub holds; every path means it.
#[derive(Clone, Debug)]
pub struct HubFile {
    pub content: Vec<u8>,
    pub commit: String,
    /// In large-file storage: the hub names its digest.
    pub large: bool,
}

impl HubFile {
    pub fn large(content: &[u8]) -> Self {
        Self { content: content.to_vec(), commit: "c".repeat(40), large: true }
    }

    pub fn digest(&self) -> String {
        Sha256::digest(&self.content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As a well-behaved server would answer.
    pub fn reply_to(&self, asked: &Asked) -> Reply {
        let etag = format!("\"{}\"", self.digest());
        let mut reply = Reply::status(200).with("etag", &etag).with("x-repo-commit", &self.commit);
        if self.large {
            reply = reply.with("x-linked-etag", &etag).with("x-linked-size", self.content.len());
        }
        let condition = asked.header("if-range").is_none_or(|condition| condition == etag);
        match asked.range().filter(|_| condition) {
            Some((first, last)) => {
                let total = self.content.len();
                reply.status = 206;
                reply.body = self.content[first..=last.min(total - 1)].to_vec();
                reply.with("content-range", format!("bytes {first}-{}/{total}", last.min(total - 1)))
            }
            None => {
                reply.body = self.content.clone();
                reply
            }
        }
    }
}

/// Changes the reply to the request; the file may be changed for later ones too.
pub type Mischief = Box<dyn FnMut(&Asked, &mut HubFile, Reply) -> Reply + Send>;

/// A running hub; stops answering when dropped.
pub struct Hub {
    address: std::net::SocketAddr,
    /// Its authority in PEM, where it speaks TLS.
    authority: Option<String>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<std::sync::atomic::AtomicBool>,
}

impl Hub {
    pub fn start(file: HubFile) -> Self {
        Self::with(file, |_, _, reply| reply)
    }

    pub fn with(
        file: HubFile,
        mischief: impl FnMut(&Asked, &mut HubFile, Reply) -> Reply + Send + 'static,
    ) -> Self {
        Self::listening(file, None, mischief)
    }

    /// Behind TLS, with a certificate for `localhost` of an authority that nobody knows.
    pub fn secure(
        file: HubFile,
        mischief: impl FnMut(&Asked, &mut HubFile, Reply) -> Reply + Send + 'static,
    ) -> Self {
        let (authority, tls) = certified();
        let mut hub = Self::listening(file, Some(Arc::new(tls)), mischief);
        hub.authority = Some(authority);
        hub
    }

    fn listening(
        file: HubFile,
        tls: Option<Arc<ServerConfig>>,
        mischief: impl FnMut(&Asked, &mut HubFile, Reply) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stopped: Arc<std::sync::atomic::AtomicBool> = Arc::default();
        let shared: Arc<Mutex<(HubFile, Mischief)>> = Arc::new(Mutex::new((file, Box::new(mischief))));
        let (log, stop) = (Arc::clone(&asked), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let (log, shared, tls) = (Arc::clone(&log), Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || match tls {
                    None => answer(stream, &log, &shared),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        answer(StreamOwned::new(connection, stream), &log, &shared);
                    }
                });
            }
        });
        Self { address, authority: None, asked, stopped }
    }

    pub fn url(&self) -> url::Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// `localhost:PORT`, which its certificate is for.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Its authority in PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.clone().expect("a server with TLS")
    }

    /// What trusts its certificate.
    pub fn authority(&self) -> Arc<rustls::RootCertStore> {
        Arc::new(weighbridge_tls::authorities_of(self.authority_pem().as_bytes()).unwrap())
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method == method).count()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// An authority in PEM, and a server's side with a certificate of it.
fn certified() -> (String, ServerConfig) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut of_authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = of_authority.self_signed(&authority_key).unwrap();
    let pem = authority.pem();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(of_authority, authority_key);
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain = vec![server.signed_by(&key, &issuer).unwrap().der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (pem, config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// How a connection ends in good order.
trait Hangup: Read + Write {
    fn hang_up(&mut self) -> io::Result<()>;
}

impl Hangup for TcpStream {
    /// Closed by halves: unread bytes would turn the close into a reset that eats what was sent.
    fn hang_up(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

impl Hangup for StreamOwned<ServerConnection, TcpStream> {
    fn hang_up(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.hang_up()
    }
}

/// One request a connection: a cut must not hurt a neighbour.
fn answer(mut stream: impl Hangup, log: &Mutex<Vec<Asked>>, shared: &Mutex<(HubFile, Mischief)>) {
    let Some(asked) = read(&mut stream) else { return };
    log.lock().unwrap().push(asked.clone());
    let reply = {
        let (file, mischief) = &mut *shared.lock().unwrap();
        let reply = file.reply_to(&asked);
        mischief(&asked, file, reply)
    };
    if reply.silent {
        let _ = io::copy(&mut stream, &mut io::sink());
        return;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    if !reply.headers.contains_key("content-length") {
        head += &format!("content-length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let _ = stream.write_all(head.as_bytes());
    if asked.method != "HEAD" {
        let _ = stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]);
    }
    let _ = stream.hang_up();
}

fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    Some(Asked { method, path, headers })
}
