//! Connections: accepted within bounds, served by hyper with its timers on, and closed in order.
//!
//! `axum::serve` has no knob for any of this.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Connections at once: as many as a gateway fleet keeps open, far below a process's file descriptors.
/// Those beyond wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// A request's head has this long to arrive; hyper's own default, which is off without a timer.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// Streams at once on one HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 256;

/// Time for idle connections to close once the server has no more to say.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenerError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A bound port that serves a router.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenerError`] when it is taken or not ours.
    pub async fn bind(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, ListenerError> {
        let bound = async {
            let socket = TcpListener::bind(address).await?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = bound.await.map_err(|source| ListenerError { address, source })?;
        Ok(Self { socket, address, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), metrics })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets open connections finish what they are at.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let open = GracefulShutdown::new();
        while let Some((stream, place)) = stop.run_until_cancelled(self.accept()).await {
            let service = TowerToHyperService::new(router.clone());
            let builder = builder();
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = open.watch(connection);
            tokio::spawn(async move {
                // A client that breaks off or speaks no HTTP is no fault of ours.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
        drop(self.socket);
        tokio::time::timeout(CLOSE_TIMEOUT, open.shutdown()).await.ok();
    }

    /// The next connection and its place.
    async fn accept(&self) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            if self.places.available_permits() == 0 {
                self.metrics.connections_full();
            }
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // The semaphore is never closed.
                std::future::pending().await
            };
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // A token is one small packet, and must not wait for the next.
                    stream.set_nodelay(true).ok();
                    return (stream, place);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors: give connections time to close instead of spinning.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Serves one connection, with every timer on.
pub(super) fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_HTTP2_STREAMS);
    builder.http2().max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder.http2().keep_alive_interval(HEADER_TIMEOUT);
    builder
}
