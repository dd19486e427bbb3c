//! The exchange of what an account signs for an access token (RFC 7523).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{EMAIL, KEY_ID, PUBLIC_KEY};
use crate::simulator::state::State;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
/// Seconds that clocks may differ, and that an assertion may hold.
const SKEW: u64 = 300;
const LASTS: u64 = 3600;

/// A token for the form in `body`, or why there is none: status and body.
pub(in crate::simulator) fn token(state: &State, headers: &HeaderMap, body: &[u8]) -> (u16, Value) {
    match checked(state.knows_account(), headers, body) {
        Ok(()) => {
            let (token, seconds) = state.give_token();
            (200, json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}))
        }
        Err((error, description)) => (400, json!({"error": error, "error_description": description})),
    }
}

fn checked(known: bool, headers: &HeaderMap, body: &[u8]) -> Result<(), (&'static str, String)> {
    let invalid = |what: &str| ("invalid_grant", format!("Invalid JWT: {what}"));
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if field("grant_type") != Some(GRANT) {
        return Err(("unsupported_grant_type", "Invalid grant_type".to_owned()));
    }
    let (signed, signature) =
        field("assertion").and_then(|text| text.rsplit_once('.')).ok_or_else(|| invalid("no signature"))?;
    let (head, claims) = signed.split_once('.').ok_or_else(|| invalid("no claims"))?;
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| invalid("no base64url"));
    let json = |part: &str| serde_json::from_slice::<Value>(&decoded(part)?).map_err(|_| invalid("no JSON"));
    let (head, claims) = (json(head)?, json(claims)?);
    if head["alg"] != "RS256" || head["kid"] != KEY_ID {
        return Err(invalid("the header is of another key"));
    }
    if !known || claims["iss"] != EMAIL {
        return Err(("invalid_grant", "Invalid grant: account not found".to_owned()));
    }
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC_KEY);
    key.verify(signed.as_bytes(), &decoded(signature)?).map_err(|_| invalid("Signature"))?;
    if !claims["scope"].as_str().is_some_and(|scopes| scopes.split(' ').any(|scope| scope == SCOPE)) {
        return Err(("invalid_scope", "Empty or missing scope not allowed.".to_owned()));
    }
    let host = headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Google's own clients name Google, wherever they ask.
    let here = |audience: &str| audience == AUDIENCE || audience.ends_with(&format!("://{host}/token"));
    if !claims["aud"].as_str().is_some_and(here) {
        return Err(invalid("the audience is another"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = |name: &str| claims[name].as_u64().unwrap_or_default();
    let (issued, ends) = (time("iat"), time("exp"));
    if issued > now + SKEW || ends + SKEW < now || ends > issued + LASTS {
        return Err(invalid("Token must be a short-lived token (60 minutes) and in a reasonable timeframe."));
    }
    Ok(())
}
