//! The client.

use std::error::Error;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{Request, Response, Uri};
use hyper::client::conn::{TrySendError, http2};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connection as Connected, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use super::connection::Connection;
use super::pool::{Destination, Home, Link, Pool};
use super::{Pieces, UpstreamBody};
use crate::Timeouts;

/// Probes of a silent connection, so that a vanished node is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

type BoxError = Box<dyn Error + Send + Sync>;

/// A request did not get as far as an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// No connection: nothing was sent.
    #[error("can't connect")]
    Connect(#[source] BoxError),
    /// The connection broke before an answer; the upstream may have seen the request.
    #[error("the connection broke before an answer")]
    Broken(#[source] BoxError),
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
    connector: C,
    pool: Pool,
    first_byte: Duration,
    idle: Duration,
    ping: Duration,
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

impl<C> Upstream<C>
where
    C: Service<Uri> + Clone,
    C::Response: Connected + Read + Write + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
{
    pub(crate) fn new(connector: C, timeouts: &Timeouts) -> Self {
        let Timeouts { first_byte, idle, ping, .. } = *timeouts;
        Self { connector, pool: Pool::default(), first_byte, idle, ping }
    }

    /// Sends `request` and waits for the head of its answer. Dropping the future cancels the request.
    pub(crate) async fn send(
        &self,
        request: Request<Pieces>,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        let answer = tokio::time::timeout(self.first_byte, self.exchange(request)).await;
        answer.unwrap_or(Err(ForwardError::FirstByte(self.first_byte)))
    }

    async fn exchange(&self, mut request: Request<Pieces>) -> Result<Response<UpstreamBody>, ForwardError> {
        let uri = request.uri().clone();
        let destination =
            Destination::of(&uri).ok_or_else(|| ForwardError::Connect("the URL names no server".into()))?;
        // The other side may close an unused connection at any time. A request that it can't have seen takes the next.
        while let Some(link) = self.pool.take(&destination, Instant::now()) {
            match self.over(link, &destination, request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(ForwardError::Broken(error.into_error().into())),
                },
            }
            request.uri_mut().clone_from(&uri);
        }
        let link = self.connect(&destination).await.map_err(ForwardError::Connect)?;
        let answer = self.over(link, &destination, request).await;
        answer.map_err(|error| ForwardError::Broken(error.into_error().into()))
    }

    async fn connect(&self, destination: &Destination) -> Result<Link, BoxError> {
        let Destination { scheme, authority } = destination.clone();
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build()?;
        let mut connector = self.connector.clone();
        std::future::poll_fn(|context| connector.poll_ready(context)).await.map_err(Into::into)?;
        let io = connector.call(uri).await.map_err(Into::into)?;
        if !io.connected().is_negotiated_h2() {
            return Ok(Link::Http1(Box::new(Connection::open(io).await?)));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(self.ping).keep_alive_timeout(self.ping);
        let (sender, driver) = builder.handshake(io).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an upstream ended early");
            }
        });
        let carried = self.pool.share(destination.clone(), sender.clone());
        Ok(Link::Http2(sender, carried))
    }

    async fn over(
        &self,
        link: Link,
        destination: &Destination,
        mut request: Request<Pieces>,
    ) -> Result<Response<UpstreamBody>, TrySendError<Request<Pieces>>> {
        match link {
            Link::Http1(mut connection) => {
                request.headers_mut().insert(HOST, destination.host());
                *request.uri_mut() =
                    request.uri().path_and_query().cloned().map_or_else(Uri::default, Uri::from);
                let (head, body) = connection.send(request).await?.into_parts();
                let home = Home { pool: self.pool.clone(), destination: destination.clone() };
                Ok(Response::from_parts(head, UpstreamBody::driven(body, connection, home, self.idle)))
            }
            Link::Http2(mut sender, carried) => {
                request.headers_mut().remove(HOST);
                let response = sender.try_send_request(request).await?;
                Ok(response.map(|body| UpstreamBody::shared(body, carried, self.idle)))
            }
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
mod tests;
