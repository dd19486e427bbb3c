//! Requests signed as S3 wants them (Signature Version 4): whoever sees one learns nothing to sign another with.

use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, Request};
use secrecy::ExposeSecret as _;

use super::super::credentials::AccessKey;

/// Who signs, for which region.
#[derive(Clone)]
pub(in super::super) struct Signer(Arc<(AccessKey, String)>);

impl Signer {
    pub(super) fn new(key: &AccessKey, region: &str) -> Self {
        Self(Arc::new((key.clone(), region.to_owned())))
    }

    pub(super) fn region(&self) -> &str {
        &self.0.1
    }

    /// Signs a request without a body as it is. `None` where it can't be signed, which no address and no time of ours brings about.
    pub(super) fn sign<B>(&self, request: &mut Request<B>, now: SystemTime) -> Option<()> {
        let (AccessKey { id, secret, session }, region) = &*self.0;
        let session = session.as_ref().map(|session| session.expose_secret().to_owned());
        let identity =
            Credentials::new(id, secret.expose_secret(), session, None, "storage.credentialsSecret").into();
        let mut settings = SigningSettings::default();
        // S3's own ways: the path as it is sent, and the digest of the body as a header.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(now)
            .settings(settings)
            .build()
            .ok()?
            .into();
        // Of the other headers none is changed to somebody's gain.
        let own = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-amz-"));
        let own = own.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let uri = request.uri().to_string();
        let body = SignableBody::Bytes(b"");
        let signable = SignableRequest::new(request.method().as_str(), uri, own, body).ok()?;
        let (instructions, _) = sign(signable, &parameters).ok()?.into_parts();
        for (name, value) in instructions.headers() {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The example "GET Bucket Lifecycle" of AWS's own manual for S3, which signs the same headers.
    #[test]
    fn a_request_is_signed_as_the_manual_of_s3_signs_it() {
        let key = AccessKey {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned().into(),
            session: None,
        };
        let mut request = Request::get("https://examplebucket.s3.amazonaws.com/?lifecycle").body(()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        Signer::new(&key, "us-east-1").sign(&mut request, now).unwrap();
        let headers = request.headers();
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
        assert_eq!(
            headers["x-amz-content-sha256"],
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert!(headers["authorization"].is_sensitive());
    }
}
