//! Connections: accepted within bounds, served by hyper with its timers on, and closed in order.
//!
//! `axum::serve` has no knob for any of this.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use weighbridge_tls::ServerTls;

use crate::metrics::Metrics;

type BoxError = Box<dyn Error + Send + Sync>;

/// Connections at once: as many as a gateway fleet keeps open, far below a process's file descriptors.
/// Those beyond wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// Streams at once on one HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 256;

/// Time for idle connections to close once the server has no more to say.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request; hyper's own default, which is off without a timer.
    pub(super) head: Duration,
    /// For taking what was written to it: as long as our gateway gives its own clients.
    pub(super) write_stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(30), write_stall: Duration::from_secs(60) }
    }
}

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
    tls: Option<Arc<ServerTls>>,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    patience: Patience,
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
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Ok(Self { socket, address, tls: None, places, metrics, patience: Patience::default() })
    }

    /// With TLS, as `tls` says; without, plain http.
    pub fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, ..self }
    }

    /// With less patience, for tests.
    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets open connections finish what they are at.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let open = GracefulShutdown::new();
        while let Some((stream, place)) = stop.run_until_cancelled(self.accept()).await {
            let (router, head, open) = (router.clone(), self.patience.head, open.watcher());
            let (tls, metrics) = (self.tls.clone(), Arc::clone(&self.metrics));
            tokio::spawn(async move {
                let ended = match tls {
                    None => converse(TokioIo::new(stream), router, head, open).await,
                    // Boxed: what TLS adds is not to weigh on plain connections.
                    Some(tls) => Box::pin(converse_by_tls(&tls, stream, router, head, open)).await,
                };
                // A client that breaks off, is not let in or speaks no HTTP is no fault of ours.
                if let Err(error) = ended {
                    if is_stall(&*error) {
                        metrics.write_stalled();
                    }
                    let cause = error.source().map(ToString::to_string);
                    tracing::debug!(%error, cause, "a connection ended early");
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
                Ok((stream, _)) => match tune(&stream, self.patience.write_stall) {
                    Ok(()) => return (stream, place),
                    Err(error) => tracing::debug!(%error, "the client left before its connection was set up"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors: give connections time to close instead of spinning.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Sends each token at once, and gives up on a client that takes nothing for `write_stall`.
fn tune(stream: &TcpStream, write_stall: Duration) -> io::Result<()> {
    // A token is one small packet, and must not wait for the next.
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(write_stall))
}

/// Serves one connection to its end, if its handshake succeeds.
async fn converse_by_tls(
    tls: &ServerTls,
    stream: TcpStream,
    router: Router,
    head: Duration,
    open: Watcher,
) -> Result<(), BoxError> {
    let stream = tls.accept(stream).await?;
    converse(TokioIo::new(stream), router, head, open).await
}

/// Serves one connection to its end, with every timer on.
///
/// # Errors
/// What ended it before its time.
pub(super) async fn converse<I>(io: I, router: Router, head: Duration, open: Watcher) -> Result<(), BoxError>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let began = Arc::new(AtomicBool::new(false));
    let service = {
        let (router, began) = (TowerToHyperService::new(router), Arc::clone(&began));
        service_fn(move |request| {
            began.store(true, Ordering::Relaxed);
            router.call(request)
        })
    };
    let connection = open.watch(builder(head).serve_connection(io, service).into_owned());
    // hyper-util waits without limit for the bytes that tell HTTP/1 from HTTP/2.
    let silent = async {
        tokio::time::sleep(head).await;
        if began.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => ended,
        () = silent => Err("no request came".into()),
    }
}

fn builder(head: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(MAX_HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_HTTP2_STREAMS);
    builder.http2().max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder.http2().keep_alive_interval(head);
    builder
}

/// Whether the kernel gave the connection up, because its client took nothing for too long.
fn is_stall(error: &(dyn Error + 'static)) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) || error.source().is_some_and(is_stall)
}
