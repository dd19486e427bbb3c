//! What a service account shows Google Cloud Storage: a JSON Web Token that it signs itself, so that nobody else is asked for one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use rustls::SignatureScheme;
use serde_json::{Value, json};

use super::super::credentials::ServiceAccount;

/// What is asked for; what the account may do within that, its roles say.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_only";
/// Seconds that one holds, which Google bounds.
const LASTS: u64 = 3600;
/// Seconds after which another is made.
const RENEWED: u64 = 3000;

/// A service account, and what it signed last.
#[derive(Clone)]
pub(in super::super) struct Assertions {
    account: Arc<ServiceAccount>,
    last: Arc<Mutex<Option<(u64, HeaderValue)>>>,
}

impl Assertions {
    pub(super) fn new(account: &ServiceAccount) -> Self {
        Self { account: Arc::new(account.clone()), last: Arc::default() }
    }

    /// What a request at `now` shows. `None` where the key can't sign, which reading it has tried.
    pub(super) fn at(&self, now: SystemTime) -> Option<HeaderValue> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, value)) = &*last
            && (*made..made + RENEWED).contains(&now)
        {
            return Some(value.clone());
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {}", signed(&self.account, now)?)).ok()?;
        value.set_sensitive(true);
        *last = Some((now, value.clone()));
        Some(value)
    }
}

fn signed(account: &ServiceAccount, now: u64) -> Option<String> {
    let ServiceAccount { email, key_id, key } = account;
    let mut head = json!({"alg": "RS256", "typ": "JWT"});
    if let (Some(head), Some(id)) = (head.as_object_mut(), key_id) {
        head.insert("kid".to_owned(), id.clone().into());
    }
    let claims = json!({"iss": email, "sub": email, "scope": SCOPE, "iat": now, "exp": now + LASTS});
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let text = format!("{}.{}", encoded(&head), encoded(&claims));
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])?;
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes()).ok()?);
    Some(format!("{text}.{signature}"))
}
