//! Certificates and keys out of files.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{NamedFile, PairFiles, Problem, TlsError};

/// A certificate with those that lead to its authority, and its key.
pub(crate) struct Pair {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Pair {
    pub(crate) fn read(files: &PairFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.cert)?;
        let key = files.key.read().map_err(TlsError::of(&files.key))?;
        let key =
            PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::of(&files.key)(Problem::NoKey))?;
        Ok(Self { chain, key })
    }

    /// When the first of the chain ends, in seconds since 1970: without it the whole is none.
    pub(crate) fn ends(&self, file: &NamedFile) -> Result<i64, TlsError> {
        let mut ends = i64::MAX;
        for certificate in &self.chain {
            ends = ends.min(crate::facts(certificate).map_err(TlsError::of(file))?.not_after);
        }
        Ok(ends)
    }
}

/// The authorities in `file`.
///
/// # Errors
/// Where it can't be read, or holds none.
pub fn authorities(file: &NamedFile) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|_| TlsError::of(file)(Problem::Malformed))?;
    }
    Ok(roots)
}

fn certificates(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = file.read().map_err(TlsError::of(file))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|_| TlsError::of(file)(Problem::Malformed))?;
    if found.is_empty() {
        return Err(TlsError::of(file)(Problem::NoCertificate));
    }
    Ok(found)
}
