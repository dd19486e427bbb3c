//! How the server of a source that is fetched is asked: who asks, and who vouches for the server.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::source::Source;
use crate::{OpenWeights, SecretKey};

/// How the server of a source that is fetched, and is no hub, is asked.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Base URL of the server of an `s3`, `gs` or `oci` source, in place of the cloud's own or of `https://` and the registry's name:
    /// another implementation, or a mirror. Buckets are the first part of the path. With a Secret it is https, but for this machine's own
    /// `localhost`, and for `s3`, which signs in place of showing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"))]
    pub endpoint: Option<String>,
    /// Region of an `s3` source's bucket. Default: `us-east-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9][-a-z0-9]*$"))]
    pub region: Option<String>,
    /// Secret with what the server is shown; which keys of it, the kind of source says. `https`: `token`, sent as a bearer token to
    /// the source's own host alone. `s3`: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where there is one, `AWS_SESSION_TOKEN`. `gs`:
    /// `service-account.json`. `oci`: `.dockerconfigjson`. Default: what anybody may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
    /// Takes an `oci` source for an image, of which the source names a file, and has the kubelet mount it as a volume in place of
    /// fetching; `credentialsSecret` is for pulling it then. The cluster has to serve image volumes. Default: the source is an artefact,
    /// each of whose layers is a file, and is fetched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub image_volume: bool,
}

/// A Secret in the same namespace, of which certain keys are read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SecretName {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a ConfigMap in the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ConfigMapKey {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key inside the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A key of the Secret that gives access to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialKey {
    /// The key, and the name of the file that an engine reads.
    pub name: &'static str,
    /// Whether there is no access without it.
    pub is_needed: bool,
}

/// The token of an `https` source.
pub const TOKEN_KEY: &str = "token";
/// The id of an access key of S3.
pub const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// What it signs with.
pub const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// What a temporary one is shown with.
pub const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
/// The key file of a service account of Google's.
pub const SERVICE_ACCOUNT_KEY: &str = "service-account.json";
/// Logins to registries, as a Secret of type `kubernetes.io/dockerconfigjson` has them.
pub const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

impl Source {
    /// What of `storage.credentialsSecret` is read; nothing where the kind of source has none.
    pub fn credential_keys(&self) -> &'static [CredentialKey] {
        const fn needed(name: &'static str) -> CredentialKey {
            CredentialKey { name, is_needed: true }
        }
        const WEB: &[CredentialKey] = &[needed(TOKEN_KEY)];
        const S3: &[CredentialKey] = &[
            needed(ACCESS_KEY_ID),
            needed(SECRET_ACCESS_KEY),
            CredentialKey { name: SESSION_TOKEN, is_needed: false },
        ];
        const GCS: &[CredentialKey] = &[needed(SERVICE_ACCOUNT_KEY)];
        const REGISTRY: &[CredentialKey] = &[needed(DOCKER_CONFIG_KEY)];
        match self {
            Source::Web { .. } => WEB,
            Source::S3 { .. } => S3,
            Source::Gcs { .. } => GCS,
            Source::Registry { .. } => REGISTRY,
            Source::Hub { .. } | Source::Claim { .. } | Source::File { .. } => &[],
        }
    }
}

impl OpenWeights {
    /// Keys that `storage.credentialsSecret` has to hold for this source.
    pub fn needed_credentials(&self) -> Vec<SecretKey> {
        let named = self.storage.as_ref().and_then(|storage| storage.credentials_secret.as_ref());
        let (Some(SecretName { name }), Ok(source)) = (named, self.source.parse::<Source>()) else {
            return Vec::new();
        };
        let needed = source.credential_keys().iter().filter(|key| key.is_needed);
        needed.map(|key| SecretKey { name: name.clone(), key: key.name.to_owned() }).collect()
    }
}
