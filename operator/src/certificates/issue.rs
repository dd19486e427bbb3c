use std::fmt;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer as Signer, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;
use weighbridge_tls::{Facts, Identity, facts_of_pem};

use super::Lifetimes;
use crate::plan::certificate::signer;

/// How far clocks of nodes may be behind the operator's, in seconds; of a short life, a tenth.
const CLOCK_SKEW: i64 = 300;

/// A certificate that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The library refuses.
    #[error("a certificate can't be made")]
    Made(#[source] rcgen::Error),
    /// Not what the library made.
    #[error("it holds no certificate that can be read")]
    Read(#[source] weighbridge_tls::Problem),
    /// Not the key of an authority. What the library says of it is not kept: it may repeat lines.
    #[error("it holds no private key that can be read")]
    Key,
    /// A time that no certificate can have.
    #[error("the clock shows a time that no certificate can have")]
    Clock,
}

/// One authority. Its key has no `Debug`.
pub struct Authority {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// What its certificate says.
    pub facts: Facts,
    key: KeyPair,
}

/// A certificate and its key, in PEM. Has no `Debug`.
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// What the certificate says.
    pub facts: Facts,
}

/// Whom our parts are to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Certificates of every authority, in PEM, the newest first.
    pub bundle: String,
    /// Their subjects, as DER.
    pub subjects: Vec<Vec<u8>>,
}

/// The authorities of an installation, the newest first, and what they sign.
pub struct Issuer {
    authorities: Vec<Authority>,
    lifetimes: Lifetimes,
    trust: Trust,
}

impl Authority {
    /// A new one, with a name that none before it had.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn create(lifetimes: &Lifetimes, now: Timestamp) -> Result<Self, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("Weighbridge authority {:016x}", rand::random::<u64>()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now, lifetimes.authority_seconds())?;
        let key = KeyPair::generate().map_err(IssueError::Made)?;
        let certificate = params.self_signed(&key).map_err(IssueError::Made)?.pem();
        Self::read(certificate, &key.serialize_pem())
    }

    /// One that was made before.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn read(certificate: String, key: &str) -> Result<Self, IssueError> {
        let facts = facts_of_pem(certificate.as_bytes()).map_err(IssueError::Read)?;
        let key = KeyPair::from_pem(key).map_err(|_| IssueError::Key)?;
        Ok(Self { certificate, facts, key })
    }

    /// Its key, for the Secret that keeps it and for nothing else.
    pub(crate) fn key(&self) -> String {
        self.key.serialize_pem()
    }
}

impl Issuer {
    /// Signs with `authorities`, the newest first.
    pub fn new(authorities: Vec<Authority>, lifetimes: Lifetimes) -> Self {
        let bundle = authorities.iter().map(|authority| authority.certificate.as_str()).collect();
        let subjects = authorities.iter().map(|authority| authority.facts.subject.clone()).collect();
        Self { authorities, lifetimes, trust: Trust { bundle, subjects } }
    }

    /// Whom our parts are to trust.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The authorities, the newest first.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// A new certificate for `identity`, with a new key.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn issue(&self, identity: &Identity, now: Timestamp) -> Result<Leaf, IssueError> {
        let mut params = CertificateParams::new(vec![identity.to_string()]).map_err(IssueError::Made)?;
        // Names are in the extension; a subject's common name is too short for some.
        params.distinguished_name = named("Weighbridge");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let (client, server) = (ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth);
        params.extended_key_usages = match identity {
            // It calls engines and proxies, and answers the operator.
            Identity::Gateway => vec![client, server],
            Identity::Operator => vec![client],
            Identity::Engine { .. } | Identity::Proxy { .. } => vec![server],
        };
        params.use_authority_key_identifier_extension = true;
        let seconds = self.lifetimes.leaf_seconds();
        (params.not_before, params.not_after) = validity(now, seconds)?;
        let facts: Vec<_> = self.authorities.iter().map(|authority| authority.facts.clone()).collect();
        let authority = signer(&facts, now.as_second().saturating_add(seconds));
        let authority = authority.and_then(|index| self.authorities.get(index)).ok_or(IssueError::Key)?;
        let signer = Signer::from_ca_cert_pem(&authority.certificate, &authority.key);
        let key = KeyPair::generate().map_err(IssueError::Made)?;
        let certificate = params.signed_by(&key, &signer.map_err(IssueError::Made)?);
        let certificate = certificate.map_err(IssueError::Made)?.pem();
        let facts = facts_of_pem(certificate.as_bytes()).map_err(IssueError::Read)?;
        Ok(Leaf { certificate, key: key.serialize_pem(), facts })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("authorities", &self.authorities.len()).finish_non_exhaustive()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From a little before `now`, for nodes whose clocks are behind, until `seconds` after it.
fn validity(now: Timestamp, seconds: i64) -> Result<(OffsetDateTime, OffsetDateTime), IssueError> {
    let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).map_err(|_| IssueError::Clock);
    let now = now.as_second();
    Ok((at(now.saturating_sub(CLOCK_SKEW.min(seconds / 10)))?, at(now.saturating_add(seconds))?))
}
