//! The accept loop: hyper with timers on, bounded connections, graceful end.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_tls::{Accepted, Identity, ServerTls};

use super::connection::{self, BoxError};
use super::protocol::{Protocol, first_word};
use super::stall::Stalled;
use super::{Admin, Body, ServerMetrics, Shutdown};
use crate::control::ControlThread;
use crate::forward::chain;
use crate::{Drain, Limits, Timeouts};

/// Pause after a failed accept (out of file descriptors): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections to the admin port: Prometheus and the kubelet need a handful.
const ADMIN_CONNECTIONS: usize = 64;
/// Bytes that the kernel holds for a client beyond what is on its way. More of them, and a client that reads slowly would
/// look like one that reads nothing for minutes.
const UNSENT_BYTES: u32 = 32 << 10;

/// Who called, as the certificate says: in a request's extensions, where callers show one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CalledBy(pub Identity);

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
    /// There is no thread beside those that serve.
    #[error("no thread can be had for probes and the cluster's changes")]
    Control(#[source] io::Error),
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

/// Serves the public and, by `control`, the admin port, which answers until the last public request is done.
pub(crate) async fn serve<H: Handler>(
    control: &ControlThread,
    settings: Settings,
    listeners: Listeners,
    admin: Admin,
    handler: Arc<H>,
    metrics: ServerMetrics,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Listeners { public, tls, admin: admin_listener } = listeners;
    let public_done = CancellationToken::new();
    let admin = match admin_listener {
        Some(listener) => {
            let listener = control.adopt(listener).map_err(ServeError::Control)?;
            let accept =
                Accept::new(&settings.admin(), listener, None, Arc::new(admin), ServerMetrics::default());
            let done = public_done.clone().cancelled_owned();
            Some(control.run(async move { drop(accept.run(done).await) }))
        }
        None => None,
    };
    let accept = Accept::new(&settings, public, tls, handler, metrics);
    let served = serve_public(&settings, accept, &shutdown).await;
    public_done.cancel();
    if let Some(admin) = admin {
        admin.await.ok();
    }
    served
}

/// Serves a port that is open to few, within the bounds of the admin port, until `stop`; whoever is being answered then is cut
/// off.
pub(crate) async fn serve_aside<H: Handler>(
    settings: &Settings,
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    handler: Arc<H>,
    stop: impl Future<Output = ()>,
) {
    let accept = Accept::new(&settings.admin(), listener, tls, handler, ServerMetrics::default());
    accept.run(stop).await.cut.cancel();
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
    open.drain.cancel();
    tokio::select! {
        () = open.connections.wait() => Ok(()),
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
    /// Closed, so that it can be waited for.
    connections: TaskTracker,
    /// Lets each finish what is open.
    drain: CancellationToken,
    /// Ends each at once.
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
        let open = Open {
            connections: TaskTracker::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
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
        open.connections.close();
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
        let (handler, tls, metrics) = (Arc::clone(&self.handler), self.tls.clone(), self.metrics.clone());
        let bounds = connection::Bounds {
            headers: self.settings.headers,
            write_stall: self.settings.write_stall,
            metrics: self.metrics.clone(),
            drain: open.drain.clone(),
        };
        let cut = open.cut.clone();
        open.connections.spawn(async move {
            let _counted = Counted::begin(&metrics.connections);
            let talk = pin!(async {
                match tls {
                    None => match first_word(&stream, bounds.headers, &bounds.drain).await? {
                        Some(protocol) => connection::converse(stream, protocol, None, handler, bounds).await,
                        None => Ok(()),
                    },
                    // Boxed: what TLS adds is not to weigh on plain connections.
                    Some(tls) => Box::pin(converse_by_tls(&tls, stream, handler, bounds)).await,
                }
            });
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
            drop(slot);
        });
    }
}

/// One more, until it is dropped, whatever ends it.
struct Counted(Gauge);

impl Counted {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn converse_by_tls<H: Handler>(
    tls: &ServerTls,
    stream: TcpStream,
    handler: Arc<H>,
    bounds: connection::Bounds,
) -> Result<(), BoxError> {
    let Accepted { stream, caller } = tls.accept(stream).await?;
    let protocol = Protocol::negotiated(stream.get_ref().1.alpn_protocol());
    connection::converse(stream, protocol, caller.map(CalledBy), handler, bounds).await
}

/// Sends each chunk at once, and gives up on a client that takes nothing for `write_stall`.
fn tune(stream: &TcpStream, write_stall: Duration) -> io::Result<()> {
    // Nagle's algorithm would hold small chunks back for the client's delayed ACK: 40 ms a stream.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.set_tcp_user_timeout(Some(write_stall))
}

/// Whether the connection was given up, by us or by the kernel, because its client took nothing for too long.
fn is_stall(error: &(dyn Error + 'static)) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    error.is::<Stalled>()
        || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
        || error.source().is_some_and(is_stall)
}

#[cfg(test)]
mod tests;
