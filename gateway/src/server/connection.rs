//! One connection, of either protocol: its requests handed to the handler, within bounds of size, number and silence.

use std::convert::Infallible;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use weighbridge_wire::openai::ApiError;

use super::protocol::Protocol;
use super::stall::{Watched, watched};
use super::{Body, CalledBy, Handler, ServerMetrics, error_response};
use crate::config::HEADER_BYTES;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Headers of one request. Clients send about 20; far more is an attack on the parser.
const MAX_HEADERS: usize = 100;
/// Streams of one HTTP/2 connection: more than an SDK opens, few enough that one client can't hold all.
const MAX_STREAMS: u32 = 256;
/// Bytes of one stream of HTTP/2 that wait to be written, beside the one piece that is handed over.
const MAX_SEND_BYTES: usize = 32 << 10;

/// What bounds a connection, and who hears of it.
#[derive(Clone)]
pub(super) struct Bounds {
    /// For the headers of a request to arrive; also how long an idle connection is kept.
    pub headers: Duration,
    /// How long a client that takes nothing is waited for.
    pub write_stall: Duration,
    pub metrics: ServerMetrics,
    /// Finish what is open, take nothing new.
    pub drain: CancellationToken,
}

/// Serves one connection to its end.
///
/// # Errors
/// Where the connection breaks, the client speaks no HTTP, or takes nothing for too long.
pub(super) async fn converse<H: Handler, S>(
    stream: S,
    protocol: Protocol,
    caller: Option<CalledBy>,
    handler: Arc<H>,
    bounds: Bounds,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Bounds { headers, write_stall, metrics, drain } = bounds;
    let activity = Arc::new(Activity::default());
    let service = {
        let (activity, metrics) = (Arc::clone(&activity), metrics.clone());
        service_fn(move |mut request: Request<Incoming>| {
            if let Some(caller) = &caller {
                request.extensions_mut().insert(caller.clone());
            }
            let open = activity.begin();
            let (handler, metrics) = (Arc::clone(&handler), metrics.clone());
            // Boxed: hyper keeps the room of a request's future as long as the connection, and a stream outlives its future.
            Box::pin(async move {
                let response = answer(handler, request, &metrics).await;
                Ok::<_, Infallible>(response.map(|body| Watched::new(body, open)))
            })
        })
    };
    let builder = match (builder(headers, Streams { write_stall, metrics }), protocol) {
        (builder, Protocol::Http1) => builder.http1_only(),
        (builder, Protocol::Either) => builder,
    };
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    // Pinned here, and boxed above: a future that is handed on by value is in memory twice.
    let talk = pin!(async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = drain.cancelled() => {}
            () = activity.idle(headers) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection.as_mut() => ended,
            // The client does not go, or does not take the last of what it was sent.
            () = activity.idle(headers) => Ok(()),
        }
    });
    watched(write_stall, talk).await?
}

/// The handler's answer. A panic is ours to be answered for: the connection, and others' streams in it, go on.
async fn answer<H: Handler>(
    handler: Arc<H>,
    request: Request<Incoming>,
    metrics: &ServerMetrics,
) -> Response<Body> {
    let handling = pin!(AssertUnwindSafe(handler.handle(request)).catch_unwind());
    handling.await.unwrap_or_else(|_| {
        metrics.panics.inc();
        tracing::error!("a request could not be handled: a defect of this program, shown above");
        error_response(&ApiError::internal("The server failed to handle the request."))
    })
}

/// The requests of one connection.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    open: AtomicUsize,
}

/// A request that is not answered to its end.
struct OpenRequest(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> OpenRequest {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }

    /// Ends once nothing was open and nothing began for `time`, and for twice as long at most. hyper has limits of its own for
    /// HTTP/1, none for HTTP/2, and waits for ever for the bytes that tell them apart.
    async fn idle(&self, time: Duration) {
        loop {
            let (begun, open) = (self.begun.load(Ordering::Relaxed), self.open.load(Ordering::Relaxed));
            tokio::time::sleep(time).await;
            if open == 0 && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the streams of an HTTP/2 connection, and gives up those whose client takes nothing.
#[derive(Clone)]
struct Streams {
    write_stall: Duration,
    metrics: ServerMetrics,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let Self { write_stall, metrics } = self.clone();
        let stream = Box::pin(stream);
        tokio::spawn(async move {
            if let Err(stalled) = watched(write_stall, stream).await {
                metrics.write_stalls.inc();
                tracing::debug!(%stalled, "a stream was given up");
            }
        });
    }
}

fn builder(headers: Duration, streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    // Without a timer hyper silently ignores the header timeout.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(HEADER_BYTES as u32)
        .max_send_buf_size(MAX_SEND_BYTES)
        .keep_alive_interval(headers);
    builder
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_where_nothing_is_open_and_nothing_begins() {
        const TIME: Duration = Duration::from_secs(30);
        let activity = Arc::new(Activity::default());
        let open = activity.begin();
        assert!(timeout(100 * TIME, activity.idle(TIME)).await.is_err(), "a request is open");
        drop(open);
        let busy = async {
            for _ in 0..100 {
                drop(activity.begin());
                tokio::time::sleep(TIME - Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = activity.idle(TIME) => panic!("requests came"),
            () = busy => {}
        }
        let began = Instant::now();
        activity.idle(TIME).await;
        assert_eq!(began.elapsed(), TIME);
    }
}
