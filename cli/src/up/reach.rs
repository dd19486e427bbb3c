//! How an engine of this machine reaches its weights: who vouches for their server, and what that is shown.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use secrecy::ExposeSecret as _;
use url::Url;
use weighbridge_crds::source::Source;
use weighbridge_crds::{ConfigMapKey, SecretKey};
use weighbridge_inference_server::artifact::{
    ArtifactRequest, Credentials, HubAccess, Network, StorageAccess, Token,
};
use weighbridge_inference_server::server::{AdapterConfig, ModelFile};
use weighbridge_operator::validate::{AdapterPlace, HubFile, Open, OpenAdapter, StoredFile};
use weighbridge_tls::authorities_of;

use super::UpError;
use super::local::{Name, Reading};
use crate::secret::SecretError;

/// Who may vouch for the server of a model's weights, and the proxies of this machine's environment.
pub(super) fn network(name: &Name, open: &Open, reading: &Reading<'_>) -> Result<Network, UpError> {
    let Some(ConfigMapKey { name: map, key }) = &open.authorities else {
        return Ok(Network { authorities: None, proxies: reading.proxies.clone() });
    };
    let refused = |problem: String| UpError::Model {
        name: name.clone(),
        problem: format!("openWeights.caCertificates: ConfigMap {map:?}, key {key:?}: {problem}"),
    };
    let is_meant = |at: &str, found: &ConfigMap| at == name.namespace && found.name_any() == *map;
    let found = reading.config_maps.iter().find(|(at, found)| is_meant(at, found));
    let data = found.and_then(|(_, found)| found.data.as_ref());
    let pem = data.and_then(|data| data.get(key));
    let pem = pem.ok_or_else(|| refused("it is not in the file: add it".to_owned()))?;
    let authorities = authorities_of(pem.as_bytes()).map_err(|problem| refused(problem.to_string()))?;
    Ok(Network { authorities: Some(Arc::new(authorities)), proxies: reading.proxies.clone() })
}

/// What the server of `source` is shown: the keys of the Secret that the model names.
pub(super) fn storage(
    name: &Name,
    source: &Source,
    stored: &StoredFile,
    reading: &Reading<'_>,
) -> Result<StorageAccess, UpError> {
    let StoredFile { source: _, endpoint, region, secret, keys } = stored;
    let refused = |problem: String| UpError::Model { name: name.clone(), problem };
    let endpoint = endpoint.as_deref().map(Url::parse).transpose();
    let endpoint = endpoint.map_err(|error| refused(format!("openWeights.storage.endpoint: {error}")))?;
    let anybody = StorageAccess { endpoint, region: region.clone(), credentials: None };
    let Some(secret) = secret else { return Ok(anybody) };
    let is_needed = |key: &str| keys.iter().any(|known| known.name == key && known.is_needed);
    let read = |key: &str| {
        let named = SecretKey { name: secret.clone(), key: key.to_owned() };
        match reading.secrets.read(&name.namespace, &named, "openWeights.storage.credentialsSecret") {
            Ok(value) => Ok(Some(value.expose_secret().to_owned())),
            Err(SecretError::Missing { .. }) if !is_needed(key) => Ok(None),
            Err(source) => {
                Err(UpError::Secret { kind: "ModelDeployment", name: name.clone(), source: Box::new(source) })
            }
        }
    };
    let credentials =
        Credentials::read(source, read)?.map_err(|error| refused(format!("openWeights.{error}")))?;
    Ok(StorageAccess { credentials, ..anybody })
}

/// `HF_TOKEN` goes to the public hub only: a file may name any endpoint, and must not collect tokens.
pub(super) fn access(name: &Name, hub: &HubFile, reading: &Reading<'_>) -> Result<HubAccess, UpError> {
    let invalid = |source| UpError::HubToken { name: name.clone(), source };
    let endpoint = hub.endpoint.as_deref().map(Url::parse).transpose();
    let endpoint = endpoint.map_err(|error| UpError::Model {
        name: name.clone(),
        problem: format!("openWeights.hub.endpoint: {error}"),
    })?;
    let token = match &hub.token {
        Some(key) => {
            let value = reading.secrets.read(&name.namespace, key, "openWeights.hub.tokenSecret");
            let value = value.map_err(|source| UpError::Secret {
                kind: "ModelDeployment",
                name: name.clone(),
                source: Box::new(source),
            })?;
            Some(Token::new(value.expose_secret()).map_err(invalid)?)
        }
        None if endpoint.is_none() => Token::from_environment().map_err(invalid)?,
        None => None,
    };
    Ok(HubAccess { endpoint, token })
}

/// The adapters of a model that is fetched by `request`: the same hub, claims and cache.
pub(super) fn adapters(
    name: &Name,
    open: &Open,
    request: &ArtifactRequest,
) -> Result<Vec<AdapterConfig>, UpError> {
    let one = |adapter: &OpenAdapter| {
        let OpenAdapter { name: label, source, place, digest } = adapter;
        let field = format!("openWeights.engine.adapters {label}");
        let refused = |problem: String| UpError::Model { name: name.clone(), problem };
        let revision = match place {
            AdapterPlace::Hub(revision) => revision.clone(),
            AdapterPlace::File => None,
            AdapterPlace::Claim { claim, file: _ } if request.claims.contains_key(claim) => None,
            AdapterPlace::Claim { claim, file: _ } => {
                return Err(refused(format!(
                    "{field}: source names the claim {claim:?}; on this machine a folder stands in for it: add \
                     --claim {claim}=FOLDER"
                )));
            }
        };
        let digest = digest.as_deref().map(str::parse).transpose();
        let request = ArtifactRequest {
            source: source.parse().map_err(|error| refused(format!("{field}: {error}")))?,
            revision,
            digest: digest.map_err(|error| refused(format!("{field}: digest: {error}")))?,
            signature: None,
            ..request.clone()
        };
        Ok(AdapterConfig { name: label.clone(), file: ModelFile::Source(Box::new(request)) })
    };
    open.adapters.iter().map(one).collect()
}
