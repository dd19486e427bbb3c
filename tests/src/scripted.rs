//! Engines that answer as a test says, and fail every so often: what a revision is like, without its weights.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::simulator::{COMPLETION_TOKENS, completion, events};

/// Answers that one engine gave.
#[derive(Debug, Default)]
pub struct Given {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Given {
    /// Answers, and failures.
    pub fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Whether the next answer is a failure, where one of so many is.
    fn fails(&self, every: Option<u64>) -> bool {
        let so_far = self.answered.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed);
        let fails = every.is_some_and(|every| so_far % every == every - 1);
        if fails { &self.failed } else { &self.answered }.fetch_add(1, Ordering::Relaxed);
        fails
    }
}

/// A server in the place of engines; it ends when dropped.
pub struct Engines {
    /// Where it listens.
    pub address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Engines {
    /// Answers at `listener`. Who is meant is told by the address that was called: `who` says what it has given so far, and
    /// that one answer in so many is a failure.
    ///
    /// # Errors
    /// Where its address can't be read.
    pub fn on<F>(listener: TcpListener, who: impl Fn(SocketAddr) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = (Arc<Given>, Option<u64>)> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(called) = stream.local_addr() else { continue };
                let who = who(called);
                tokio::spawn(async move {
                    let (given, every) = who.await;
                    serve(stream, given, every).await;
                });
            }
        };
        Ok(Self { address, _task: AbortOnDropHandle::new(tokio::spawn(accept)) })
    }

    /// One engine on a free loopback port, of whose answers one in so many is a failure.
    ///
    /// # Errors
    /// Where there is no port.
    pub async fn one(every: Option<u64>) -> io::Result<(Self, Arc<Given>)> {
        let given = Arc::new(Given::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let its = Arc::clone(&given);
        let engine = Self::on(listener, move |_| std::future::ready((Arc::clone(&its), every)))?;
        Ok((engine, given))
    }
}

async fn serve(stream: TcpStream, given: Arc<Given>, every: Option<u64>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let given = Arc::clone(&given);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(answer(&body, given.fails(every)))
        }
    });
    // How a caller leaves is its own affair.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn answer(asked: &Bytes, fails: bool) -> Response<Full<Bytes>> {
    let asked: serde_json::Value = serde_json::from_slice(asked).unwrap_or_default();
    let streams = asked["stream"] == true;
    let (status, kind, body) = if fails {
        let error = serde_json::json!({"error": {"message": "it broke", "type": "server_error", "param": null, "code": null}});
        (StatusCode::INTERNAL_SERVER_ERROR, "application/json", error.to_string())
    } else if streams {
        (StatusCode::OK, "text/event-stream", events("m", true, COMPLETION_TOKENS as usize, false).concat())
    } else {
        (StatusCode::OK, "application/json", completion("m", true))
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    }
    response
}
