//! `s3:` and `gs:` sources: objects in buckets, by the one address that both have.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::super::{ArtifactRequest, Credentials, FetchError, StorageAccess, cache};
use super::s3::Signer;
use super::{Access, Kind, Origin, gcs};

/// Where S3 has buckets of which no region is said.
const DEFAULT_REGION: &str = "us-east-1";
/// What S3 leaves as it is when it reckons what was signed, and a path's own slash.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

pub(super) fn s3(request: &ArtifactRequest, bucket: &str, key: &str) -> Result<Origin, FetchError> {
    let StorageAccess { endpoint, region, credentials } = &request.storage;
    let region = region.as_deref().unwrap_or(DEFAULT_REGION);
    // A name with a dot has no certificate as a host's.
    let (home, path) = match endpoint {
        Some(endpoint) => (endpoint.clone(), format!("{bucket}/{key}")),
        None if bucket.contains(['.', '_']) => {
            (cloud(&format!("https://s3.{region}.amazonaws.com"))?, format!("{bucket}/{key}"))
        }
        None => (cloud(&format!("https://{bucket}.s3.{region}.amazonaws.com"))?, key.to_owned()),
    };
    let access = match credentials {
        Some(Credentials::AccessKey(key)) => Access::Signature(Signer::new(key, region)),
        Some(Credentials::Token(_) | Credentials::ServiceAccount(_) | Credentials::Login(_)) | None => {
            Access::Nothing
        }
    };
    // Of an object that was stored with its SHA-256, S3 says it when asked to.
    let ask = [("x-amz-checksum-mode", HeaderValue::from_static("ENABLED"))];
    let ask = ask.into_iter().map(|(name, value)| (http::HeaderName::from_static(name), value));
    origin(Kind::S3, home, &path, access, ask.collect())
}

pub(super) fn gcs(request: &ArtifactRequest, bucket: &str, object: &str) -> Result<Origin, FetchError> {
    let StorageAccess { endpoint, region: _, credentials } = &request.storage;
    let home = match endpoint {
        Some(endpoint) => endpoint.clone(),
        None => cloud("https://storage.googleapis.com")?,
    };
    let access = match credentials {
        Some(Credentials::ServiceAccount(account)) => Access::Assertion(gcs::Assertions::new(account)),
        Some(Credentials::Token(_) | Credentials::AccessKey(_) | Credentials::Login(_)) | None => {
            Access::Nothing
        }
    };
    origin(Kind::Gcs, home, &format!("{bucket}/{object}"), access, HeaderMap::new())
}

fn cloud(address: &str) -> Result<Url, FetchError> {
    super::address(Kind::S3, address)
}

fn origin(kind: Kind, home: Url, path: &str, access: Access, ask: HeaderMap) -> Result<Origin, FetchError> {
    let home = super::address(kind, home.as_str())?;
    let mut url = home.clone();
    let before = home.path().trim_end_matches('/');
    url.set_path(&format!("{before}/{}", utf8_percent_encode(path, PLAIN)));
    Ok(Origin {
        kind,
        key: cache::key(&["bucket", url.as_str()]),
        home,
        url,
        revision: String::new(),
        is_fixed: false,
        access,
        ask,
        artefact: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(source: &str, change: impl Fn(&mut StorageAccess)) -> String {
        let mut request = ArtifactRequest::new(source.parse().unwrap(), "/cache".into());
        change(&mut request.storage);
        Origin::of(&request).unwrap().url.to_string()
    }

    #[test]
    fn buckets_are_hosts_at_the_cloud_and_paths_elsewhere() {
        let at = |endpoint: &'static str| {
            move |storage: &mut StorageAccess| storage.endpoint = Some(endpoint.parse().unwrap())
        };
        let nowhere = |_: &mut StorageAccess| {};
        for (source, expected) in [
            ("s3://models/a b+c/ü.gguf", "https://models.s3.us-east-1.amazonaws.com/a%20b%2Bc/%C3%BC.gguf"),
            ("s3://my.models/m", "https://s3.us-east-1.amazonaws.com/my.models/m"),
            ("gs://models/m?x#y", "https://storage.googleapis.com/models/m%3Fx%23y"),
        ] {
            assert_eq!(address(source, nowhere), expected);
        }
        assert_eq!(
            address("s3://models/m", |storage| storage.region = Some("eu-west-1".to_owned())),
            "https://models.s3.eu-west-1.amazonaws.com/m"
        );
        let minio = "http://minio.storage.svc:9000";
        assert_eq!(address("s3://models/m", at(minio)), format!("{minio}/models/m"));
        assert_eq!(address("gs://models/m", at("https://x/base/")), "https://x/base/models/m");
    }
}
