//! The accept loop: hyper with timers on, bounded connections, graceful end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use weighbridge_tls::ServerTls;

use super::{Admin, Body, ServerMetrics, Shutdown};
use crate::forward::chain;
use crate::{Drain, Limits, Timeouts};

type BoxError = Box<dyn Error + Send + Sync>;

/// Headers of one request. Clients send about 20; far more is an attack on the parser.
const MAX_HEADERS: usize = 100;
/// Bytes of one request's headers, for both protocols.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Streams of one HTTP/2 connection: more than an SDK opens, few enough that one client can't hold all.
const MAX_STREAMS: u32 = 256;
/// Pause after a failed accept (out of file descriptors): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a client of HTTP/2 that was told nothing begins with (RFC 9113, section 3.4). No method of HTTP/1 begins like it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Connections to the admin port: Prometheus and the kubelet need a handful.
const ADMIN_CONNECTIONS: usize = 64;

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer. Dropping the future means that the client has left.
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// Sockets to serve on.
#[derive(Debug)]
pub struct Listeners {
    /// Where callers come.
    pub public: TcpListener,
    /// What `public` shows to callers and whom it lets in; plain http where there is none.
    pub tls: Option<Arc<ServerTls>>,
    /// Where probes and Prometheus come, always by plain http; never the same as `public`.
    pub admin: Option<TcpListener>,
}

/// A role could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The drain's time ran out with requests open.
    #[error("{open} connections were still open after the drain timeout of {timeout:?}")]
    DrainTimeout {
        /// Connections cut.
        open: usize,
        /// The time they had.
        timeout: Duration,
    },
    /// The proxy's configuration is refused.
    #[error("the proxy can't start")]
    Proxy(#[from] crate::ProxyConfigError),
    /// The export of spans and metrics can't be set up.
    #[error("nothing can be exported")]
    Telemetry(#[from] crate::TelemetryError),
}

/// What the accept loop needs of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    connections: usize,
    headers: Duration,
    write_stall: Duration,
    drain: Drain,
}

impl Settings {
    pub(crate) fn new(limits: &Limits, timeouts: &Timeouts, drain: &Drain) -> Self {
        Self {
            connections: limits.connections,
            headers: timeouts.headers,
            write_stall: timeouts.write_stall,
            drain: drain.clone(),
        }
    }

    fn admin(&self) -> Self {
        Self { connections: ADMIN_CONNECTIONS, ..self.clone() }
    }
}

/// Serves the public and the admin port. The admin port answers until the last public request is done.
pub(crate) async fn serve<H: Handler>(
    settings: Settings,
    listeners: Listeners,
    admin: Admin,
    handler: Arc<H>,
    metrics: ServerMetrics,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let public_done = CancellationToken::new();
    let admin_task = async {
        let Some(listener) = listeners.admin else { return };
        let accept =
            Accept::new(&settings.admin(), listener, None, Arc::new(admin), ServerMetrics::default());
        accept.run(public_done.clone().cancelled_owned()).await;
    };
    let public_task = async {
        let accept = Accept::new(&settings, listeners.public, listeners.tls, handler, metrics);
        let served = serve_public(&settings, accept, &shutdown).await;
        public_done.cancel();
        served
    };
    let ((), served) = tokio::join!(admin_task, public_task);
    served
}

async fn serve_public<H: Handler>(
    settings: &Settings,
    accept: Accept<H>,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let delay = settings.drain.delay;
    let slots = Arc::clone(&accept.slots);
    let open = accept
        .run(async {
            shutdown.draining().await;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = shutdown.aborted() => {}
            }
        })
        .await;
    let timeout = settings.drain.timeout;
    tokio::select! {
        () = open.graceful.shutdown() => Ok(()),
        () = shutdown.aborted() => {
            open.cut.cancel();
            Ok(())
        }
        () = tokio::time::sleep(timeout) => {
            open.cut.cancel();
            let open = settings.connections.saturating_sub(slots.available_permits());
            Err(ServeError::DrainTimeout { open, timeout })
        }
    }
}

struct Accept<H> {
    settings: Settings,
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    handler: Arc<H>,
    metrics: ServerMetrics,
    slots: Arc<Semaphore>,
}

/// What is still open once the listener is closed.
struct Open {
    graceful: GracefulShutdown,
    /// Ends those on which nothing was said yet.
    closing: CancellationToken,
    /// Ends all.
    cut: CancellationToken,
}

impl<H: Handler> Accept<H> {
    fn new(
        settings: &Settings,
        listener: TcpListener,
        tls: Option<Arc<ServerTls>>,
        handler: Arc<H>,
        metrics: ServerMetrics,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(settings.connections));
        Self { settings: settings.clone(), listener, tls, handler, metrics, slots }
    }

    /// Accepts until `stop`, then closes the listener.
    async fn run(self, stop: impl Future<Output = ()>) -> Open {
        let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
        let open = Open { graceful: GracefulShutdown::new(), closing, cut };
        let accepting = async {
            loop {
                let slot = self.slot().await;
                match self.listener.accept().await {
                    Ok((stream, _)) => self.spawn(stream, slot, &open),
                    Err(error) => {
                        tracing::warn!(%error, "can't accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
        open.closing.cancel();
        open
    }

    /// Waits for a place. Those who find none wait in the kernel's backlog, which is bounded too.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        self.metrics.connections_full.inc();
        // Fails only when the semaphore is closed, which nobody does.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    fn spawn(&self, stream: TcpStream, slot: Option<OwnedSemaphorePermit>, open: &Open) {
        if let Err(error) = tune(&stream, self.settings.write_stall) {
            tracing::debug!(%error, "the client left before its connection was set up");
            return;
        }
        let (handler, tls) = (Arc::clone(&self.handler), self.tls.clone());
        let (headers, metrics, cut) = (self.settings.headers, self.metrics.clone(), open.cut.clone());
        let (open, closing) = (open.graceful.watcher(), open.closing.clone());
        tokio::spawn(async move {
            metrics.connections.inc();
            let talk = async {
                match tls {
                    None => match first_word(&stream, headers, &closing).await? {
                        Some(http1) => converse(stream, http1, handler, headers, open).await,
                        None => Ok(()),
                    },
                    // Boxed: what TLS adds is not to weigh on plain connections.
                    Some(tls) => Box::pin(converse_by_tls(&tls, stream, handler, headers, open)).await,
                }
            };
            tokio::select! {
                ended = talk => {
                    if let Err(error) = ended {
                        if is_stall(&*error) {
                            metrics.write_stalls.inc();
                        }
                        tracing::debug!(error = %chain(&*error), "a connection ended early");
                    }
                }
                () = cut.cancelled() => {}
            }
            metrics.connections.dec();
            drop(slot);
        });
    }
}

/// Whether it is HTTP/1 that the client speaks, once it says something; `None` where it does not in time, or before `closing`.
async fn first_word(
    stream: &TcpStream,
    time: Duration,
    closing: &CancellationToken,
) -> io::Result<Option<bool>> {
    tokio::select! {
        biased;
        http1 = speaks_http1(stream) => http1.map(Some),
        () = closing.cancelled() => Ok(None),
        () = tokio::time::sleep(time) => Ok(None),
    }
}

/// Whether the client's first bytes are none of HTTP/2. Where too few have come to tell, hyper-util reads on.
async fn speaks_http1(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let seen = stream.peek(&mut first).await?;
    Ok(first.get(..seen).is_some_and(|first| !PREFACE.starts_with(first)))
}

async fn converse_by_tls<H: Handler>(
    tls: &ServerTls,
    stream: TcpStream,
    handler: Arc<H>,
    headers: Duration,
    open: Watcher,
) -> Result<(), BoxError> {
    let stream = tls.accept(stream).await?;
    let http1 = stream.get_ref().1.alpn_protocol() == Some(b"http/1.1");
    converse(stream, http1, handler, headers, open).await
}

/// Serves one connection to its end. That it is HTTP/1 is better known before: to tell it from HTTP/2 hyper-util reads the
/// first bytes apart, and hyper's buffer, which grows by doubling, is then twice as large for as long as the connection.
async fn converse<H: Handler, S>(
    stream: S,
    http1: bool,
    handler: Arc<H>,
    headers: Duration,
    open: Watcher,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let began = Arc::new(AtomicBool::new(false));
    let service = {
        let began = Arc::clone(&began);
        service_fn(move |request: Request<Incoming>| {
            began.store(true, Ordering::Relaxed);
            let handler = Arc::clone(&handler);
            // Boxed: hyper keeps the room of a request's future as long as the connection, and a stream outlives its future.
            Box::pin(async move { Ok::<_, Infallible>(handler.handle(request).await) })
        })
    };
    let builder = if http1 { builder(headers).http1_only() } else { builder(headers) };
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = open.watch(connection);
    // hyper-util waits without limit for the bytes that tell HTTP/1 from HTTP/2.
    let silent = async {
        tokio::time::sleep(headers).await;
        if began.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => ended,
        () = silent => Ok(()),
    }
}

fn builder(headers: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer hyper silently ignores the header timeout.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(headers);
    builder
}

/// Sends each chunk at once, and gives up on a client that takes nothing for `write_stall`.
fn tune(stream: &TcpStream, write_stall: Duration) -> io::Result<()> {
    // Nagle's algorithm would hold small chunks back for the client's delayed ACK: 40 ms a stream.
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(write_stall))
}

/// Whether the kernel gave the connection up, because its client took nothing for too long.
fn is_stall(error: &(dyn Error + 'static)) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) || error.source().is_some_and(is_stall)
}

#[cfg(test)]
mod tests;
