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

/// As [`Pair::read`], of what was never a file.
pub(crate) fn pair_of(certificate: &str, key: &str) -> Result<Pair, Problem> {
    let chain = certificates_of(certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Problem::NoKey)?;
    Ok(Pair { chain, key })
}

/// As [`authorities`], of what was never a file.
///
/// # Errors
/// Where it holds none, or one that can't be read.
pub fn authorities_of(pem: &[u8]) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(pem)? {
        roots.add(certificate).map_err(|_| Problem::Malformed)?;
    }
    Ok(roots)
}

/// The authorities in `file`.
///
/// # Errors
/// Where it can't be read, or holds none.
pub fn authorities(file: &NamedFile) -> Result<RootCertStore, TlsError> {
    let bytes = file.read().map_err(TlsError::of(file))?;
    authorities_of(&bytes).map_err(TlsError::of(file))
}

fn certificates(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = file.read().map_err(TlsError::of(file))?;
    certificates_of(&bytes).map_err(TlsError::of(file))
}

fn certificates_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| Problem::Malformed)?;
    if found.is_empty() { Err(Problem::NoCertificate) } else { Ok(found) }
}
