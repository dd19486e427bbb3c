//! The way to the provider: names looked up once and checked, TLS, all within one time limit.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;

use super::address::is_public;
use super::{ProxyConfig, ProxyConfigError};
use crate::forward::{Bounded, connector};

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Connects to the provider.
pub(super) type ProviderConnector = Bounded<HttpsConnector<HttpConnector<CheckedResolver>>>;

pub(super) fn provider_connector(config: &ProxyConfig) -> Result<ProviderConnector, ProxyConfigError> {
    let resolver = CheckedResolver { allow_private: config.allow_private };
    let mut http = connector(HttpConnector::new_with_resolver(resolver), &config.timeouts);
    http.enforce_http(false);
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(config.ca_file.as_deref())?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    Ok(Bounded::new(https, config.timeouts.connect))
}

/// Public authorities, and those of `ca_file`.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, ProxyConfigError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca_file {
        let refused = |source: BoxError| ProxyConfigError::Ca { path: path.to_owned(), source };
        let mut found = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(error.into()))? {
            let certificate = certificate.map_err(|error| refused(error.into()))?;
            roots.add(certificate).map_err(|error| refused(error.into()))?;
            found = true;
        }
        if !found {
            return Err(refused("it holds no certificate".into()));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ProxyConfigError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
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
