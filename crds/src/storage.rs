//! How the server of a source that is fetched is asked: who asks, and who vouches for the server.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::source::Source;
use crate::{OpenWeights, SecretKey};

/// How the server of an `https` source is asked.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Secret with what the server is shown. Of `https` sources its key `token` is sent as a bearer token, to the source's own
    /// host alone. Default: what anybody may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
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

impl Source {
    /// What of `storage.credentialsSecret` is read; nothing where the kind of source has none.
    pub fn credential_keys(&self) -> &'static [CredentialKey] {
        const WEB: &[CredentialKey] = &[CredentialKey { name: TOKEN_KEY, is_needed: true }];
        match self {
            Source::Web { .. } => WEB,
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
