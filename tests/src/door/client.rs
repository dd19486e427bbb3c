//! A plain HTTP client that shows bytes as they come.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// One connection. Dropping it closes the connection, as a client that leaves does.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    _connection: AbortOnDropHandle<()>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A streamed answer.
pub struct Streamed {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    buffered: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// Connects by TLS of `config`, to whom `name` names.
    ///
    /// # Errors
    /// Where nobody listens, or the handshake fails.
    pub async fn connect_tls(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned())?;
        Self::over(TlsConnector::from(config).connect(name, stream).await?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection ended early");
            }
        });
        Ok(Self { sender, _connection: AbortOnDropHandle::new(connection) })
    }

    /// Sends a request and returns as soon as the answer's head is there.
    ///
    /// # Errors
    /// Where the connection breaks first.
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Streamed> {
        let mut request = Request::builder().method(method).uri(path).header("host", "gateway.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body.into()))?).await?;
        let (head, body) = response.into_parts();
        Ok(Streamed { status: head.status, headers: head.headers, body, buffered: Vec::new() })
    }

    /// Posts JSON and reads the whole answer.
    ///
    /// # Errors
    /// Where the connection breaks first.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.open(Method::POST, path, &[("content-type", "application/json")], body).await?.whole().await
    }

    /// Gets and reads the whole answer.
    ///
    /// # Errors
    /// Where the connection breaks first.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.open(Method::GET, path, &[], Bytes::new()).await?.whole().await
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {:?}", self.body))
    }

    /// The body as text.
    ///
    /// # Errors
    /// Where it is none.
    pub fn text(&self) -> anyhow::Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }
}

impl Streamed {
    /// The next event with its blank line, or `None` at a clean end.
    ///
    /// # Errors
    /// Where the connection breaks, or ends within an event.
    pub async fn event(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffered.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.buffered.split_off(end + 2);
                return Ok(Some(String::from_utf8(std::mem::replace(&mut self.buffered, rest))?));
            }
            match self.body.frame().await {
                Some(frame) => self.buffered.extend_from_slice(frame?.data_ref().unwrap_or(&Bytes::new())),
                None if self.buffered.is_empty() => return Ok(None),
                None => bail!("the stream ended within an event: {:?}", self.buffered),
            }
        }
    }

    /// What has come since the last call, or `None` at a clean end.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn piece(&mut self) -> anyhow::Result<Option<Bytes>> {
        if self.has_more() {
            return Ok(Some(Bytes::from(std::mem::take(&mut self.buffered))));
        }
        let frame = self.body.frame().await.transpose()?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Whether bytes have arrived that no event was made of yet.
    pub fn has_more(&self) -> bool {
        !self.buffered.is_empty()
    }

    /// The rest of the answer.
    ///
    /// # Errors
    /// Where the connection breaks first.
    pub async fn whole(self) -> anyhow::Result<Answer> {
        let Self { status, headers, body, mut buffered } = self;
        buffered.extend_from_slice(&body.collect().await?.to_bytes());
        Ok(Answer { status, headers, body: Bytes::from(buffered) })
    }
}
