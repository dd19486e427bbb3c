//! An access key of AWS: read from JSON, and shown by a signature of each request (Signature Version 4).

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use weighbridge_wire::provider::Region;

use super::file::KeyError;
use super::key::ShowError;

/// An access key, and what it signs for. `Debug` shows its id, which is no secret.
pub(super) struct AccessKey {
    id: String,
    secret: SecretString,
    session_token: Option<SecretString>,
    service: &'static str,
    region: Region,
}

/// As we document it, as a credential process writes it, and as the settings of SDKs spell it. What else they write is not read.
#[derive(Deserialize)]
struct Written {
    #[serde(alias = "AccessKeyId", alias = "aws_access_key_id")]
    #[serde(rename = "accessKeyId")]
    id: String,
    #[serde(alias = "SecretAccessKey", alias = "aws_secret_access_key")]
    #[serde(rename = "secretAccessKey")]
    secret: SecretString,
    #[serde(alias = "SessionToken", alias = "aws_session_token")]
    #[serde(rename = "sessionToken", default)]
    session_token: Option<SecretString>,
}

impl AccessKey {
    pub(super) fn read(text: &str, service: &'static str, region: &Region) -> Result<Self, KeyError> {
        let Written { id, secret, session_token } =
            serde_json::from_str(text).map_err(|_| KeyError::NoAccessKey)?;
        let session_token = session_token.filter(|token| !token.expose_secret().is_empty());
        let is_text = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = session_token.as_ref().is_none_or(|token| is_text(token.expose_secret()));
        if !is_text(&id) || !is_text(secret.expose_secret()) || !token {
            return Err(KeyError::NoAccessKey);
        }
        Ok(Self { id, secret, session_token, service, region: region.clone() })
    }

    /// Signs `request` as it is: its address, what its body is, and every byte of `body`.
    pub(super) fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
        at: SystemTime,
    ) -> Result<(), ShowError> {
        let session_token = self.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        let credentials =
            Credentials::new(&self.id, self.secret.expose_secret(), session_token, None, "a provider's key");
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_str())
            .name(self.service)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| ShowError::Unsignable("a parameter is missing"))?
            .into();
        // The host is signed with the address. A header that is not signed may change on the way, which costs nothing.
        let signed = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let signed = signed.into_iter().map(|value| (CONTENT_TYPE.as_str(), value));
        let uri = request.uri().to_string();
        let signable =
            SignableRequest::new(request.method().as_str(), uri, signed, SignableBody::Bytes(body))
                .map_err(ShowError::Signature)?;
        let (instructions, _) = sign(signable, &parameters).map_err(ShowError::Signature)?.into_parts();
        for (name, value) in instructions.headers() {
            let unfit = |_| ShowError::Unsignable("a signature is no header");
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| ShowError::Unsignable("a signature has no header"))?;
            let mut value = HeaderValue::from_str(value).map_err(unfit)?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        self.session_token.iter().chain([&self.secret]).cloned().collect()
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, secret: _, session_token: _, service, region } = self;
        let mut shown = f.debug_struct("AccessKey");
        shown.field("id", id).field("service", service).field("region", region).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn read(text: &str) -> Result<AccessKey, KeyError> {
        AccessKey::read(text, "bedrock", &"us-east-1".parse().expect("a region"))
    }

    #[test]
    fn every_spelling_is_read_and_what_is_missing_is_refused() {
        for text in [
            r#"{"accessKeyId":"AKIA1","secretAccessKey":"canary/5f1d","sessionToken":"token"}"#,
            r#"{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"canary/5f1d","SessionToken":"token","Expiration":"x"}"#,
            r#"{"aws_access_key_id":"AKIA1","aws_secret_access_key":"canary/5f1d","aws_session_token":"token"}"#,
        ] {
            let key = read(text).expect(text);
            let printed = format!("{key:?}");
            assert!(printed.contains("AKIA1") && !printed.contains("canary") && !printed.contains("token"));
            let secrets = key.secrets();
            let secrets: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
            assert_eq!(secrets, ["token", "canary/5f1d"]);
        }
        let lasting = r#"{"accessKeyId":"AKIA1","secretAccessKey":"s","sessionToken":""}"#;
        assert_eq!(read(lasting).expect("a key").secrets().len(), 1);
        for text in [
            "{}",
            r#"{"accessKeyId":"AKIA1"}"#,
            r#"{"secretAccessKey":"s"}"#,
            r#"{"accessKeyId":"","secretAccessKey":"s"}"#,
            r#"{"accessKeyId":"a b","secretAccessKey":"s"}"#,
            r#"{"accessKeyId":"AKIA1","secretAccessKey":"s\n"}"#,
            r#"{"accessKeyId":"AKIA1","secretAccessKey":"s","sessionToken":"a b"}"#,
            r#"{"accessKeyId":"AKIA1","secretAccessKey":"s""#,
        ] {
            assert_eq!(read(text).expect_err(text), KeyError::NoAccessKey, "{text}");
        }
    }

    fn signed(body: &[u8]) -> http::HeaderMap {
        let key =
            r#"{"accessKeyId":"AKIDEXAMPLE","secretAccessKey":"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}"#;
        let key = read(key).expect("a key");
        let mut request =
            Request::post("https://bedrock-runtime.us-east-1.amazonaws.com/model/x.y-v1%3A0/invoke")
                .header("content-type", "application/json")
                .header("traceparent", "00-1-1-01")
                .body(())
                .expect("a request");
        key.sign(&mut request, body, UNIX_EPOCH + Duration::from_secs(1_440_938_160)).expect("signed");
        request.headers().clone()
    }

    /// The signature was computed by botocore, of the same request, key and time.
    #[test]
    fn a_request_is_signed_as_aws_own_client_signs_it() {
        let headers = signed(b"{}");
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, Signature=1ccfb11f34b99f5905598f5cb19a91e7c24ad15da9863c31947ad6b869b9d7a9"
        );
        assert!(headers["authorization"].is_sensitive());
        assert_ne!(signed(b"{ }")["authorization"], headers["authorization"]);
    }
}
