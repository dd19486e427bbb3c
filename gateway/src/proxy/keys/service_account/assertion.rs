//! What a service account signs to say who it is: a JSON Web Token (RFC 7523), by RSA with SHA-256.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// What of Google's is asked for; what an account may do within that, its roles say.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Seconds that an assertion holds, which Google bounds. It is used at once.
const LASTS: u64 = 3600;

/// Who signs, for whom.
pub(super) struct Assertion {
    email: String,
    key: Arc<dyn SigningKey>,
    key_id: Option<String>,
    audience: String,
}

impl Assertion {
    /// `None` where `private_key` is no RSA key in PEM.
    pub(super) fn new(
        email: String,
        private_key: &SecretString,
        key_id: Option<String>,
        audience: String,
    ) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(private_key.expose_secret().as_bytes()).ok()?;
        let key = any_supported_type(&key).ok()?;
        let assertion = Self { email, key, key_id, audience };
        assertion.sign(b"").map(|_| assertion)
    }

    pub(super) fn email(&self) -> &str {
        &self.email
    }

    /// The assertion at `now`, in seconds since 1970. `None` where the key can't sign, which [`Self::new`] has tried.
    pub(super) fn at(&self, now: u64) -> Option<String> {
        let mut head = json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(head), Some(id)) = (head.as_object_mut(), &self.key_id) {
            head.insert("kid".to_owned(), id.clone().into());
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.audience,
            "iat": now,
            "exp": now + LASTS,
        });
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&head), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())?);
        Some(format!("{signed}.{signature}"))
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])?;
        signer.sign(message).ok()
    }
}
