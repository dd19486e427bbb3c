//! Signature Version 4, computed anew from the request as it arrived.
//!
//! https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::{Value, json};

use crate::simulator::error::Refusal;
use crate::simulator::state::State;

/// The region that there is.
pub const REGION: &str = "us-east-1";
/// The only access key's id.
pub const ACCESS_KEY_ID: &str = "AKIASIMULATED0000001";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "simulated/secret+canary/0123456789abcdef";
/// The token without which it does not hold where a request has one.
pub const SESSION_TOKEN: &str = "simulated//session+token+canary==";
/// A key that goes without a signature.
pub const API_KEY: &str = "bedrock-api-key-simulated-canary";

const ALGORITHM: &str = "AWS4-HMAC-SHA256 ";
/// Seconds that clocks may differ.
const SKEW: i64 = 900;

/// The access key as a Secret has it; a temporary one where `session`.
pub fn access_key(session: bool) -> Value {
    let mut key = json!({"accessKeyId": ACCESS_KEY_ID, "secretAccessKey": SECRET_ACCESS_KEY});
    if session {
        key["sessionToken"] = json!(SESSION_TOKEN);
    }
    key
}

/// Whether the request may come in.
pub(in crate::simulator) fn authorised(state: &State, head: &Parts, body: &[u8]) -> Result<(), Refusal> {
    let shown = header(head, "authorization").unwrap_or_default();
    if let Some(key) = shown.strip_prefix("Bearer ") {
        let known = key == API_KEY;
        let said = "Authentication failed: Please make sure your API Key is valid.";
        return if known { Ok(()) } else { Err(Refusal::aws(403, "AccessDeniedException", said)) };
    }
    let Some(fields) = shown.strip_prefix(ALGORITHM) else {
        return Err(Refusal::aws(403, "MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let field =
        |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(credential), Some(signed), Some(signature)) =
        (field("Credential"), field("SignedHeaders"), field("Signature"))
    else {
        return Err(Refusal::aws(403, "IncompleteSignatureException", "Authorization header requires more"));
    };
    let (id, scope) = credential.split_once('/').unwrap_or_default();
    if id != ACCESS_KEY_ID || header(head, "x-amz-security-token").is_some_and(|token| token != SESSION_TOKEN)
    {
        let said = "The security token included in the request is invalid.";
        return Err(Refusal::aws(403, "UnrecognizedClientException", said));
    }
    if header(head, "x-amz-security-token").is_some() && !state.has_sessions() {
        let said = "The security token included in the request is expired";
        return Err(Refusal::aws(403, "ExpiredTokenException", said));
    }
    let refused = |said: String| Err(Refusal::aws(403, "InvalidSignatureException", &said));
    let time = header(head, "x-amz-date").unwrap_or_default();
    let day = time.get(..8).unwrap_or_default();
    if scope != format!("{day}/{REGION}/bedrock/aws4_request") {
        return refused("Credential should be scoped to a valid region and to the right service.".to_owned());
    }
    let is_now = DateTime::strptime("%Y%m%dT%H%M%SZ", time)
        .and_then(|time| time.to_zoned(TimeZone::UTC))
        .is_ok_and(|time| (time.timestamp().as_second() - Timestamp::now().as_second()).abs() < SKEW);
    if !is_now {
        return refused(format!("Signature expired: {time} is not now"));
    }
    let names: Vec<&str> = signed.split(';').collect();
    let must = ["host", "x-amz-date"]
        .into_iter()
        .chain(header(head, "x-amz-security-token").is_some().then_some("x-amz-security-token"));
    for name in must {
        if !names.contains(&name) {
            return refused(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
        }
    }
    let request = canonical(head, body, signed, &names);
    let text =
        format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, request.as_bytes()).as_ref()));
    let mut key = format!("AWS4{SECRET_ACCESS_KEY}").into_bytes();
    for part in [day, REGION, "bedrock", "aws4_request"] {
        key = sign(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    if hex(sign(&Key::new(HMAC_SHA256, &key), text.as_bytes()).as_ref()) != signature {
        return refused(format!(
            "The request signature we calculated does not match the signature you provided. The Canonical String for \
             this request should have been\n'{request}'"
        ));
    }
    Ok(())
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

fn canonical(head: &Parts, body: &[u8], signed: &str, names: &[&str]) -> String {
    let Parts { method, uri, .. } = head;
    // Everywhere but at S3 each segment is escaped once more than it was sent.
    let path: String = uri
        .path()
        .bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let mut query: Vec<&str> =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let headers: String = names
        .iter()
        .map(|name| {
            let value = match *name {
                "host" => header(head, "host").or(uri.authority().map(|authority| authority.as_str())),
                name => header(head, name),
            };
            let words: Vec<&str> = value.unwrap_or_default().split_ascii_whitespace().collect();
            format!("{name}:{}\n", words.join(" "))
        })
        .collect();
    let hash = hex(digest(&SHA256, body).as_ref());
    format!("{method}\n{path}\n{}\n{headers}\n{signed}\n{hash}", query.join("&"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the documentation's test suite: `get-vanilla-query-order-key-case`, but for the body.
    #[test]
    fn a_request_is_written_as_it_is_signed() {
        let request = http::Request::get("/model/a%3Ab/x?Param2=value2&Param1=value1")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z");
        let (head, ()) = request.body(()).expect("a request").into_parts();
        assert_eq!(
            canonical(&head, b"", "host;x-amz-date", &["host", "x-amz-date"]),
            "GET\n/model/a%253Ab/x\nParam1=value1&Param2=value2\nhost:example.amazonaws.com\n\
             x-amz-date:20150830T123600Z\n\nhost;x-amz-date\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
