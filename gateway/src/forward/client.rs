//! The client.

use std::error::Error;
use std::time::Duration;

use http::{Request, Response};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{Pieces, UpstreamBody};
use crate::Timeouts;

/// How long an unused connection is kept. Shorter than the servers' own limit (ours: 30 s), so that the
/// client closes first and no request meets a connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// Unused connections kept for one endpoint: as many as it answers at once, and no heap of them.
const POOL_SIZE: usize = 256;
/// Probes of a silent connection, so that a vanished node is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A request did not get as far as an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// No connection: nothing was sent.
    #[error("can't connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// The connection broke before an answer; the upstream may have seen the request.
    #[error("the connection broke before an answer")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// No answer began within the limit.
    #[error("no answer within {0:?}")]
    FirstByte(Duration),
}

impl ForwardError {
    /// Whether the upstream can't have seen the request, so that another may be asked.
    pub(crate) fn nothing_sent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// One pooled client over the connector `C`.
#[derive(Clone, Debug)]
pub(crate) struct Upstream<C> {
    client: Client<C, Pieces>,
    first_byte: Duration,
    idle: Duration,
}

impl Upstream<HttpConnector> {
    /// A client for plain HTTP to addresses; it looks up no names.
    pub(crate) fn plain(timeouts: &Timeouts) -> Self {
        Self::new(connector(HttpConnector::new(), timeouts), timeouts)
    }
}

/// Sets what every connection of ours has.
pub(crate) fn connector<R>(mut connector: HttpConnector<R>, timeouts: &Timeouts) -> HttpConnector<R> {
    // Nagle's algorithm would hold a request's body back for the upstream's delayed ACK.
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_connect_timeout(Some(timeouts.connect));
    connector
}

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    pub(crate) fn new(connector: C, timeouts: &Timeouts) -> Self {
        let client = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .build(connector);
        Self { client, first_byte: timeouts.first_byte, idle: timeouts.idle }
    }

    /// Sends `request` and waits for the head of its answer. Dropping the future cancels the request.
    pub(crate) async fn send(
        &self,
        request: Request<Pieces>,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        match tokio::time::timeout(self.first_byte, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response.map(|body| UpstreamBody::new(body, self.idle))),
            Ok(Err(error)) if error.is_connect() => Err(ForwardError::Connect(error.into())),
            Ok(Err(error)) => Err(ForwardError::Broken(error.into())),
            Err(_) => Err(ForwardError::FirstByte(self.first_byte)),
        }
    }
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tower::Service;

    use super::*;

    /// The other half of the known bug: a request's body must not wait for the upstream's delayed ACK.
    #[tokio::test]
    async fn connections_to_upstreams_do_not_wait_for_acks() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri = format!("http://{}/", listener.local_addr().expect("its address")).parse().expect("a URI");
        let mut connector = connector(HttpConnector::new(), &Timeouts::default());
        let connected = connector.call(uri).await.expect("connected");
        assert!(connected.inner().nodelay().expect("readable"));
    }
}
