//! A public key, and what it says of a signature.

use std::fmt;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};

/// A key that models are signed with: on the curves P-256 and P-384, or Ed25519.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// As the algorithm takes it: a point.
    bytes: Vec<u8>,
}

/// Text that is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "signature.publicKey is no public key that is served: write one on the curve P-256 or P-384, or of Ed25519, in PEM, as `openssl \
     pkey -pubout` prints it"
)]
pub struct InvalidKey;

impl PublicKey {
    /// A key in PEM.
    ///
    /// # Errors
    /// What is none, or of a kind that is not served.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey)?;
        let (kind, bytes) = parts(info.as_ref()).ok_or(InvalidKey)?;
        let served = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        // Of a curve, the one with the hash of the same strength: the list has it first.
        let algorithm = served.mapping.iter().flat_map(|(_, algorithms)| algorithms.iter().copied());
        let mut algorithm = algorithm.filter(|algorithm| algorithm.public_key_alg_id().as_ref() == kind);
        let algorithm = algorithm.find(|algorithm| is_served(*algorithm)).ok_or(InvalidKey)?;
        Ok(Self { algorithm, bytes: bytes.to_vec() })
    }

    /// Whether its owner signed `message`.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm.verify_signature(&self.bytes, message, signature).is_ok()
    }
}

/// The three pairs of a kind of key and a hash that OpenSSF Model Signing writes, and Ed25519.
fn is_served(algorithm: &dyn SignatureVerificationAlgorithm) -> bool {
    use rustls::pki_types::alg_id;
    let pair = (algorithm.public_key_alg_id(), algorithm.signature_alg_id());
    [
        (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384),
        (alg_id::ED25519, alg_id::ED25519),
    ]
    .contains(&pair)
}

/// The algorithm and the key of a SubjectPublicKeyInfo (RFC 5280) of less than 128 bytes, as those of all served kinds are.
fn parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, rest) = value(der, 0x30)?;
    let (algorithm, after) = value(info, 0x30)?;
    let (bits, end) = value(after, 0x03)?;
    let (unused, key) = bits.split_first()?;
    (rest.is_empty() && end.is_empty() && *unused == 0).then_some((algorithm, key))
}

/// The value of a DER element with `tag`, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    (*found == tag && *length < 0x80).then(|| rest.split_at_checked(usize::from(*length)))?
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_served_kinds_are_read_and_others_refused() {
        for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let pem = rcgen::KeyPair::generate_for(kind).unwrap().public_key_pem();
            assert!(PublicKey::from_pem(&pem).is_ok(), "{kind:?}");
        }
        let short = "-----BEGIN PUBLIC KEY-----\nMAUwAwYBAA==\n-----END PUBLIC KEY-----\n";
        for bad in [
            "",
            "-----BEGIN PUBLIC KEY-----",
            short,
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(PublicKey::from_pem(bad).unwrap_err(), InvalidKey, "{bad}");
        }
    }
}
