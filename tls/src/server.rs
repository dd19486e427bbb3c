//! A server's side: which certificate it shows, whom it lets in, and handshakes within bounds.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::metrics::ReasonLabels;
use crate::pem::{Pair, authorities};
use crate::{Certified, HandshakeError, Identity, NamedFile, Problem, Reloaded, TlsError};

/// First byte of every TLS connection: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// For whoever speaks plain HTTP here.
const PLAIN_TEXT_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
content-length: 38\r\nconnection: close\r\n\r\nThis port speaks TLS only: use https.\n";
/// Of 4 KiB each: the head of a request and a little of its body.
const MOST_PLAIN_READS: usize = 16;

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate, and those between it and its authority, in PEM.
    pub cert: NamedFile,
    /// Its private key, in PEM.
    pub key: NamedFile,
}

/// Whom a server lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Authorities that sign their certificates, in PEM.
    pub ca: NamedFile,
    /// Whom a certificate must name.
    pub identity: Identity,
}

/// The files of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// What it shows.
    pub pair: PairFiles,
    /// Whom it lets in; everybody where there is none.
    pub clients: Option<Clients>,
}

/// Bounds on handshakes.
#[derive(Clone, Copy, Debug)]
pub struct Handshakes {
    /// At once. One costs about a millisecond of CPU, so that a storm of them would starve open streams; they wait their
    /// turn. A client holds its place for a round trip, or for the time below where it means ill.
    pub at_once: usize,
    /// From the first byte to the last, the wait included. Twice what a client on the other side of the earth needs
    /// for two round trips and a lost packet.
    pub time: Duration,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { at_once: 256, time: Duration::from_secs(10) }
    }
}

/// A server's side of TLS, whose files are read again when they change.
#[derive(Debug)]
pub struct ServerTls {
    loaded: Reloaded<Loaded>,
    time: Duration,
    places: Semaphore,
    pub(crate) full: Counter,
    pub(crate) failures: Family<ReasonLabels, Counter>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    ends: i64,
}

impl ServerTls {
    /// Reads `files`.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn load(files: ServerFiles, bounds: Handshakes) -> Result<Self, TlsError> {
        let mut read = vec![files.pair.cert.clone(), files.pair.key.clone()];
        read.extend(files.clients.as_ref().map(|clients| clients.ca.clone()));
        Ok(Self {
            loaded: Reloaded::new(read, move || load(&files))?,
            time: bounds.time,
            places: Semaphore::new(bounds.at_once),
            full: Counter::default(),
            failures: Family::default(),
        })
    }

    /// The handshake of a connection that was just accepted, with the certificate as it is now.
    ///
    /// # Errors
    /// Whoever speaks no TLS, is not let in, takes too long or leaves. It is counted.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        // Boxed: what a handshake needs is much, and is gone when the connection idles.
        let handshake = Box::pin(self.handshake(stream));
        let done = tokio::time::timeout(self.time, handshake).await.unwrap_or(Err(HandshakeError::Slow));
        done.inspect_err(|error| {
            self.failures.get_or_create(&ReasonLabels { reason: error.reason() }).inc();
        })
    }

    async fn handshake(&self, mut stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let mut first = [0];
        let seen = stream.peek(&mut first).await.map_err(HandshakeError::Left)?;
        if seen == 0 {
            return Err(HandshakeError::Left(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if first[0] != HANDSHAKE_RECORD {
            // Whether it is read is the client's affair.
            let _ = answer_plain_text(&mut stream).await;
            return Err(HandshakeError::PlainText);
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
        // Only now: a client that says nothing waits for its own time alone.
        let hello = hello.map_err(HandshakeError::Refused)?;
        let _place = self.place().await;
        let config = Arc::clone(&self.loaded.current().config);
        hello.into_stream(config).await.map_err(HandshakeError::Refused)
    }

    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        self.full.inc();
        // Fails only when the semaphore is closed, which nobody does.
        self.places.acquire().await.ok()
    }
}

/// Tells, and takes what was sent meanwhile: closing with bytes unread would reset the connection, answer and all.
async fn answer_plain_text(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(PLAIN_TEXT_ANSWER).await?;
    stream.shutdown().await?;
    let mut sent = [0; 4096];
    for _ in 0..MOST_PLAIN_READS {
        if stream.read(&mut sent).await? == 0 {
            break;
        }
    }
    Ok(())
}

impl Certified for ServerTls {
    fn usage(&self) -> &'static str {
        "server"
    }

    fn look(&self) -> (i64, u64) {
        let (loaded, failures) = self.loaded.look();
        (loaded.ends, failures)
    }
}

fn load(files: &ServerFiles) -> Result<Loaded, TlsError> {
    let pair = Pair::read(&files.pair)?;
    let ends = pair.ends(&files.pair.cert)?;
    let setup = |error| TlsError::of(&files.pair.cert)(Problem::Setup(error));
    let mismatch = |_| TlsError::of(&files.pair.key)(Problem::Mismatch);
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let Pair { chain, key } = pair;
    let mut config = match &files.clients {
        None => builder
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(mismatch)?,
        Some(clients) => {
            // Both ends are ours: nothing older is needed.
            let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(setup)?;
            let verifier = Named::new(clients)?;
            let builder = builder.with_client_cert_verifier(Arc::new(verifier));
            let mut config = builder.with_single_cert(chain, key).map_err(mismatch)?;
            // A resumed session would let in who was let in once, whatever has become of its certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), ends })
}

/// Lets in whoever an authority says is one of ours, and of those only who is named.
#[derive(Debug)]
struct Named {
    signed: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl Named {
    fn new(clients: &Clients) -> Result<Self, TlsError> {
        let roots = Arc::new(authorities(&clients.ca)?);
        let signed = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider())).build();
        let signed = signed.map_err(|error| TlsError::of(&clients.ca)(Problem::Authorities(error)))?;
        let name = clients.identity.server_name();
        let name = name.map_err(|_| TlsError::of(&clients.ca)(Problem::Malformed))?;
        Ok(Self { signed, name })
    }
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        // A name is a name, whichever side shows it.
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)
            .map_err(|_| Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
