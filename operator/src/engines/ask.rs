//! A question to an engine's admin port.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use super::Said;
use crate::dial::Dial;

/// For an answer, the connection included.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of an answer; an engine's metrics take some tens of KiB.
const BYTES: usize = 1 << 20;

/// Why there was no answer. For the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the question is none")]
    Question(#[source] http::Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("{0} answered {1}")]
    Status(&'static str, StatusCode),
    #[error("the answer broke off, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {ANSWER:?}")]
    Slow,
}

/// What the engine whose admin port is at `address` says.
pub(super) async fn said(dial: &dyn Dial, address: SocketAddr) -> Result<Said, AskError> {
    let asking = async {
        let stream = dial.dial(address).await.map_err(AskError::Connect)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(AskError::Broken)?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(async move {
            // How it ends is told to whoever asks.
            let _ = connection.await;
        }));
        let (status, words) = get(&mut sender, address, "/readyz").await?;
        match status {
            StatusCode::OK => {
                let (status, metrics) = get(&mut sender, address, "/metrics").await?;
                if status != StatusCode::OK {
                    return Err(AskError::Status("/metrics", status));
                }
                Ok(Said::started(&words, &metrics))
            }
            StatusCode::SERVICE_UNAVAILABLE => Ok(Said::Starting(words)),
            status => Err(AskError::Status("/readyz", status)),
        }
    };
    tokio::time::timeout(ANSWER, asking).await.unwrap_or(Err(AskError::Slow))
}

async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    path: &'static str,
) -> Result<(StatusCode, String), AskError> {
    sender.ready().await.map_err(AskError::Broken)?;
    let request = Request::get(path).header(HOST, address.to_string());
    let request = request.body(Empty::new()).map_err(AskError::Question)?;
    let response = sender.send_request(request).await.map_err(AskError::Broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BYTES).collect().await.map_err(AskError::Body)?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;
    use crate::dial::Tcp;

    #[tokio::test]
    async fn an_answer_is_read_and_what_is_none_is_not() {
        let metrics = "weighbridge_cold_start_seconds{phase=\"total\"} 2\n";
        for (status, words, expected) in [
            (StatusCode::OK, "ready".to_owned(), Some(Said::started("ready", metrics))),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "loading".to_owned(),
                Some(Said::Starting("loading".to_owned())),
            ),
            (StatusCode::NOT_FOUND, "what?".to_owned(), None),
            (StatusCode::OK, "x".repeat(BYTES + 1), None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new()
                .route("/readyz", get(move || async move { (status, words) }))
                .route("/metrics", get(move || async move { metrics }));
            tokio::spawn(async move { axum::serve(listener, router).await });
            assert_eq!(said(&Tcp, address).await.ok(), expected);
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(said(&Tcp, nobody).await, Err(AskError::Connect(_))));
    }
}
