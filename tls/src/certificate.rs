//! What we look at in a certificate.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;

use crate::Problem;

/// What a certificate says of itself. Nothing of it is checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The names that it is for.
    pub dns_names: Vec<String>,
    /// Whose it is, as DER.
    pub subject: Vec<u8>,
    /// Who signed it, as DER.
    pub issuer: Vec<u8>,
    /// Whether a server may show it.
    pub of_a_server: bool,
    /// From when it holds, in seconds since 1970.
    pub not_before: i64,
    /// Until when, in seconds since 1970.
    pub not_after: i64,
}

/// Reads `certificate`.
///
/// # Errors
/// Where it is none.
pub fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, Problem> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| Problem::Malformed)?;
    let names = parsed.subject_alternative_name().map_err(|_| Problem::Malformed)?;
    let dns_names = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    // Without the extension a certificate is for any use (RFC 5280, section 4.2.1.12).
    let uses = parsed.extended_key_usage().map_err(|_| Problem::Malformed)?;
    Ok(Facts {
        of_a_server: uses.is_none_or(|uses| uses.value.any || uses.value.server_auth),
        dns_names: dns_names.collect(),
        subject: parsed.subject().as_raw().to_vec(),
        issuer: parsed.issuer().as_raw().to_vec(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

/// Reads the first certificate of `pem`.
///
/// # Errors
/// Where there is none.
pub fn facts_of_pem(pem: &[u8]) -> Result<Facts, Problem> {
    facts(&CertificateDer::from_pem_slice(pem).map_err(|_| Problem::NoCertificate)?)
}
