//! The way to the provider: names looked up once and checked, TLS, all within one time limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::address::is_public;
use super::{ProxyConfig, ProxyConfigError};
use crate::forward::{Bounded, client_tls, connector};

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Connects to the provider.
pub(super) type ProviderConnector = Bounded<HttpsConnector<HttpConnector<CheckedResolver>>>;

pub(super) fn provider_connector(config: &ProxyConfig) -> Result<ProviderConnector, ProxyConfigError> {
    let resolver = CheckedResolver { allow_private: config.allow_private };
    let mut http = connector(HttpConnector::new_with_resolver(resolver), &config.timeouts);
    http.enforce_http(false);
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(client_tls(config.ca_file.as_deref())?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    Ok(Bounded::new(https, config.timeouts.connect))
}

/// Looks a name up and hands on only addresses that may be reached. The connection goes to these very
/// addresses, so a second answer of the name server can't lead it elsewhere.
#[derive(Clone, Debug)]
pub(super) struct CheckedResolver {
    allow_private: bool,
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|found| allow_private || is_public(found.ip())).collect();
            if allowed.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the name leads only to loopback, private or link-local addresses",
                ));
            }
            Ok(allowed.into_iter())
        })
    }
}
