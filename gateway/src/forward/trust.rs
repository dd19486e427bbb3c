//! Whose certificates are believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why TLS to a server can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of certificate authorities can't be used.
    #[error("{path} can't be read as PEM certificates")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

/// A client that believes public authorities, and those of `ca_file`.
pub(crate) fn client_tls(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca_file {
        let refused = |source: BoxError| TrustError::Authorities { path: path.to_owned(), source };
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
        .map_err(TrustError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
