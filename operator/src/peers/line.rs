//! A connection to one of our pods, which is kept from question to question: by mutual TLS, each side naming itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_tls::Identity;

use super::shown::{Shown, ShownError};
use crate::dial::Dial;

/// For a connection within the cluster, its handshake included.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// We can't say who we are.
    #[error(transparent)]
    Shown(#[from] ShownError),
    /// It is named as none can be.
    #[error("no certificate can name it")]
    Name,
    /// Nobody is there, or somebody else.
    #[error("no connection, or its certificate names somebody else")]
    Connect(#[source] std::io::Error),
    /// Not in time.
    #[error("no connection within {CONNECT:?}")]
    Slow,
    /// It does not speak HTTP, or closed.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
}

/// An open connection.
pub(super) struct Line {
    sender: SendRequest<Empty<Bytes>>,
    _driven: AbortOnDropHandle<()>,
}

impl Line {
    /// Connects by `dial` to `identity` at `address`, and to nobody else there.
    pub(super) async fn open(
        dial: &dyn Dial,
        shown: &Shown,
        identity: &Identity,
        address: SocketAddr,
    ) -> Result<Self, LineError> {
        let named = identity.server_name().map_err(|_| LineError::Name)?;
        let config = shown.current()?;
        let connecting = async {
            let stream = dial.dial(address).await.map_err(LineError::Connect)?;
            match config {
                None => Self::over(TokioIo::new(stream)).await,
                Some(config) => {
                    let stream = TlsConnector::from(Arc::clone(&config)).connect(named, stream).await;
                    Self::over(TokioIo::new(stream.map_err(LineError::Connect)?)).await
                }
            }
        };
        tokio::time::timeout(CONNECT, connecting).await.unwrap_or(Err(LineError::Slow))
    }

    async fn over(stream: impl Read + Write + Unpin + Send + 'static) -> Result<Self, LineError> {
        let (sender, connection) = handshake(stream).await.map_err(LineError::Broken)?;
        let driven = tokio::spawn(async move {
            // How it ends is told to whoever asks.
            let _ = connection.await;
        });
        Ok(Self { sender, _driven: AbortOnDropHandle::new(driven) })
    }

    /// Whether it can be asked once more.
    pub(super) fn is_good(&self) -> bool {
        !self.sender.is_closed()
    }

    /// One question.
    pub(super) async fn ask(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, LineError> {
        self.sender.ready().await.map_err(LineError::Broken)?;
        self.sender.send_request(request).await.map_err(LineError::Broken)
    }
}
