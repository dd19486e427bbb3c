//! The way to engines and proxies: by mutual TLS in a cluster, by plain HTTP on one machine.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tower::Service;
use weighbridge_tls::{ClientTls, Identity};

use super::{Bounded, ForwardError, Pieces, Upstream, UpstreamBody, connector};
use crate::Timeouts;
use crate::directory::Endpoint;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// A client of engines and proxies.
#[derive(Clone, Debug)]
pub(crate) enum PodClient {
    /// Plain HTTP: all of it is this process.
    Plain(Upstream<HttpConnector>),
    /// We show who we are, and see who answers.
    Mutual(Upstream<Bounded<MutualConnector>>),
}

impl PodClient {
    pub(crate) fn new(tls: Option<Arc<ClientTls>>, timeouts: &Timeouts) -> Self {
        let Some(tls) = tls else { return Self::Plain(Upstream::plain(timeouts)) };
        let mut tcp = connector(HttpConnector::new_with_resolver(NamedAddress), timeouts);
        tcp.enforce_http(false);
        let mutual = Bounded::new(MutualConnector { tcp, tls }, timeouts.connect);
        Self::Mutual(Upstream::new(mutual, timeouts))
    }

    /// How `endpoint` is called; `None` where nobody can vouch for who answers there.
    pub(crate) fn origin(&self, endpoint: &Endpoint) -> Option<(Scheme, Authority)> {
        match self {
            Self::Plain(_) => Some((Scheme::HTTP, endpoint.authority.clone())),
            Self::Mutual(_) => Some((Scheme::HTTPS, endpoint.vouched.clone()?)),
        }
    }

    pub(crate) async fn send(
        &self,
        request: Request<Pieces>,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        match self {
            Self::Plain(upstream) => upstream.send(request).await,
            Self::Mutual(upstream) => upstream.send(request).await,
        }
    }
}

/// Connects to the host of [`Identity::host_at`]: where it says, to whom it says, with our certificate as it is now.
#[derive(Clone, Debug)]
pub(crate) struct MutualConnector {
    tcp: HttpConnector<NamedAddress>,
    tls: Arc<ClientTls>,
}

impl Service<Uri> for MutualConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        HttpsConnector::new(self.tcp.clone(), self.tls.current(), true, Arc::new(expected)).call(uri)
    }
}

/// Whom the server's certificate must name.
fn expected(uri: &Uri) -> Result<ServerName<'static>, BoxError> {
    let (_, who) = parts(uri.host().unwrap_or_default())?;
    Ok(ServerName::try_from(who.to_owned())?)
}

fn parts(host: &str) -> io::Result<(std::net::IpAddr, &str)> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "the host says neither where nor who");
    Identity::parts_of_host(host).ok_or_else(refused)
}

/// Reads the address out of the host: no name of ours is ever looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedAddress;

impl Service<Name> for NamedAddress {
    type Response = std::iter::Once<SocketAddr>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        // The connector sets the port.
        std::future::ready(
            parts(name.as_str()).map(|(address, _)| std::iter::once(SocketAddr::new(address, 0))),
        )
    }
}
