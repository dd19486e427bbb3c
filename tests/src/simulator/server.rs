//! The simulator's server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::respond::answer;
use super::state::State;
use super::{Counts, Seen};

/// A running simulator; it ends when dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

/// A certificate for `localhost`, and the key that signed it.
pub struct Certificate {
    /// The certificate in PEM; a client that trusts it reaches the simulator.
    pub pem: String,
    acceptor: TlsAcceptor,
}

impl Certificate {
    /// A fresh self-signed certificate.
    ///
    /// # Errors
    /// Where the libraries refuse.
    pub fn new() -> anyhow::Result<Self> {
        Self::speaking(&[])
    }

    /// The same of a server that offers HTTP/2, as providers do.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn http2() -> anyhow::Result<Self> {
        Self::speaking(&[b"h2", b"http/1.1"])
    }

    fn speaking(protocols: &[&[u8]]) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { pem: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

impl Simulator {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start() -> io::Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, None)
    }

    /// Starts with TLS on a free loopback port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start_tls(certificate: &Certificate) -> io::Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, Some(certificate.acceptor.clone()))
    }

    /// Starts on `listener`.
    ///
    /// # Errors
    /// Where its address can't be read.
    pub fn on(listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let state = Arc::new(State::new());
        let accept = accept(listener, tls, Arc::clone(&state));
        Ok(Self { address, state, _task: AbortOnDropHandle::new(tokio::spawn(accept)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.state.counts.borrow().clone()
    }

    /// Resolves once the counts are as asked.
    pub async fn wait_for(&self, mut asked: impl FnMut(&Counts) -> bool) {
        // Fails only once the sender is gone, and we hold it.
        let _ = self.state.counts.subscribe().wait_for(|counts| asked(counts)).await;
    }

    /// Lets `steps` events of gated streams (or answers of silent requests) pass.
    pub fn release(&self, steps: usize) {
        self.state.gate.add_permits(steps);
    }

    /// Takes back every access token that was given.
    pub fn revoke_tokens(&self) {
        self.state.revoke_tokens();
    }

    /// Says of every access token from now on that it lasts this long. Nothing ends it but [`Self::revoke_tokens`].
    pub fn tokens_last(&self, seconds: u64) {
        self.state.tokens_last(seconds);
    }

    /// Whether Google knows the service account from now on, and gives tokens for it.
    pub fn know_account(&self, known: bool) {
        self.state.know_account(known);
    }

    /// Ends every session of AWS's; keys without one are as good as before.
    pub fn end_sessions(&self) {
        self.state.end_sessions();
    }

    /// Whether a cloud's keys may see the list of models from now on.
    pub fn show_lists(&self, shown: bool) {
        self.state.show_lists(shown);
    }

    /// From now on takes these keys and no other, for calls and for the list of models.
    pub fn take(&self, keys: &[&str]) {
        self.state.take(keys);
    }

    /// The last requests, oldest first; those for the list of models are none.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        tokio::spawn(async move {
            match tls {
                None => serve(stream, state).await,
                // A client that does not trust us is a test's business, not an error here.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, state).await,
                    Err(error) => tracing::debug!(%error, "no TLS"),
                },
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        // An error in place of an answer makes hyper close the connection.
        async move { answer(state, request).await.ok_or_else(|| io::Error::other("hung up")) }
    });
    let connection = Builder::new(TokioExecutor::new());
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
