//! Google's Vertex AI: Gemini's and Anthropic's simulators at its paths, behind access tokens that it gives for what a service
//! account signs.

mod predict;
mod token;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};

pub(super) use predict::predict;
pub(super) use token::token;

use super::error::Refusal;
use super::state::State;

/// The project that there is.
pub const PROJECT: &str = "simulated-1";
/// Where its models are.
pub const LOCATION: &str = "us-central1";
/// What stands before a publisher's models.
const PREFIXES: [&str; 2] = ["/v1/projects/", "/v1beta1/projects/"];

/// What the only account is called.
const EMAIL: &str = "simulated@simulated-1.iam.gserviceaccount.com";
const KEY_ID: &str = "simulated-key-1";
/// Made for these tests, and good for nothing else.
const PRIVATE_KEY: &[u8] = include_bytes!("key.pkcs8.der");
const PUBLIC_KEY: &[u8] = include_bytes!("key.public.der");

/// The key file of the account, whose tokens come from `token_uri`.
pub fn service_account(token_uri: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": KEY_ID,
        "private_key": pem(PRIVATE_KEY),
        "client_email": EMAIL,
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
    })
}

fn pem(key: &[u8]) -> String {
    let base64 = STANDARD.encode(key);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let kind = "PRIVATE KEY";
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// Whether a path is one of these.
pub(super) fn is_path(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// The path of the list of Google's models.
pub(super) const LIST: &str = "/v1beta1/publishers/google/models";

/// Whether the request shows a token.
pub(super) fn known(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !shown.is_some_and(|token| state.knows_token(token)) {
        return Err(Refusal::new(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
             authentication credential.",
        ));
    }
    Ok(())
}

/// Whether the request may come in: it shows a token, and its path is in the project and the location.
pub(super) fn authorised(state: &State, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    known(state, headers)?;
    let place = format!("{PROJECT}/locations/{LOCATION}/publishers/");
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default();
    if !rest.starts_with(&place) {
        return Err(Refusal::new(
            403,
            format!(
                "Permission 'aiplatform.endpoints.predict' denied on resource '{path}' (or it may not exist)."
            ),
        ));
    }
    Ok(())
}

/// A request for Claude as Anthropic has it: its version in a header, and the model in the body.
pub(super) fn plain(
    model: &str,
    counts: bool,
    stream: bool,
    headers: &mut HeaderMap,
    body: &mut Value,
) -> Result<(), Refusal> {
    if !counts && !body["model"].is_null() {
        return Err(Refusal::bad("model: Extra inputs are not permitted"));
    }
    if !counts && (body["stream"] == true) != stream {
        return Err(Refusal::bad("stream: does not fit the method"));
    }
    super::bedrock::version(body, headers, &["vertex-2023-10-16", "2026-10-21"])?;
    if !counts {
        body["model"] = json!(model);
    }
    Ok(())
}
