//! What a pod needs to fetch: what the server is shown, who may vouch for it, and proxies on the way.

use clap::Args;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EnvVar, KeyToPath, LocalObjectReference, ProjectedVolumeSource, SecretProjection,
    Volume, VolumeProjection,
};
use weighbridge_crds::ConfigMapKey;

use super::engine_pod::{WeightsPart, read_only_mount};
use super::{Decision, Images};
use crate::validate::{AdapterPlace, ImageFile, Open, StoredFile, Weights};

const CREDENTIALS_VOLUME: &str = "weighbridge-credentials";
pub(super) const CREDENTIALS_FOLDER: &str = "/var/run/secrets/weighbridge/credentials";
const AUTHORITIES_VOLUME: &str = "weighbridge-authorities";
const AUTHORITIES_FOLDER: &str = "/var/run/weighbridge/authorities";
pub(super) const AUTHORITIES_FILE: &str = "/var/run/weighbridge/authorities/ca.crt";

/// Proxies between engines and what they fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Proxies {
    /// Proxy of engines to servers with TLS, from which they fetch weights, as http://host:port; one that wants a password
    /// can't be named here, where everybody could read it.
    #[arg(long, value_name = "URL", value_parser = proxy)]
    pub https_proxy: Option<String>,
    /// Likewise to servers without TLS.
    #[arg(long, value_name = "URL", value_parser = proxy)]
    pub http_proxy: Option<String>,
    /// Servers that engines reach without: names with all under them, addresses and ranges, separated by commas.
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,
}

fn proxy(given: &str) -> Result<String, String> {
    let rest = given.strip_prefix("http://").ok_or("write http://host:port")?;
    let is_plain = !rest.is_empty() && !rest.contains(['@', '/', '?', '#']);
    if is_plain { Ok(given.to_owned()) } else { Err("write http://host:port alone".to_owned()) }
}

impl Proxies {
    fn variables(&self) -> Vec<EnvVar> {
        let Self { https_proxy, http_proxy, no_proxy } = self;
        let all = [("HTTPS_PROXY", https_proxy), ("HTTP_PROXY", http_proxy), ("NO_PROXY", no_proxy)];
        let set = all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        set.map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), value_from: None })
            .collect()
    }
}

/// Puts the keys of the Secret that gives access into a folder.
pub(super) fn show_credentials(stored: &StoredFile, part: &mut WeightsPart, decisions: &mut Vec<Decision>) {
    let StoredFile { source: _, endpoint: _, region: _, secret, keys } = stored;
    let Some(secret) = secret else { return };
    decisions.push(Decision::new(
        format!("Secret {secret} at {CREDENTIALS_FOLDER}, of it what the source needs"),
        "storage.credentialsSecret names it; the values stay in the Secret",
    ));
    // One projection a key: a pod waits for those that are needed, and not for the others.
    let projection = |key: &weighbridge_crds::CredentialKey| VolumeProjection {
        secret: Some(SecretProjection {
            name: secret.clone(),
            items: Some(vec![item(key.name, key.name)]),
            optional: (!key.is_needed).then_some(true),
        }),
        ..VolumeProjection::default()
    };
    part.credentials = true;
    part.volumes.push(Volume {
        name: CREDENTIALS_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(keys.iter().map(projection).collect()),
        }),
        ..Volume::default()
    });
    part.mounts.push(read_only_mount(CREDENTIALS_VOLUME, CREDENTIALS_FOLDER));
}

/// How a pod that fetches gets at servers. One that does not stays as it is.
pub(super) fn reach(open: &Open, images: &Images, part: &mut WeightsPart, decisions: &mut Vec<Decision>) {
    if let Some(ConfigMapKey { name, key }) = &open.authorities {
        decisions.push(Decision::new(
            format!("ConfigMap {name}, key {key}, at {AUTHORITIES_FILE}"),
            "caCertificates names it: its authorities may vouch for the server, beside the public ones",
        ));
        part.volumes.push(Volume {
            name: AUTHORITIES_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: Some(vec![item(key, "ca.crt")]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
        part.mounts.push(read_only_mount(AUTHORITIES_VOLUME, AUTHORITIES_FOLDER));
    }
    let fetches = match &open.weights {
        Weights::Hub(_) | Weights::Stored(_) => true,
        Weights::Image(_) | Weights::Claim { .. } | Weights::File { .. } => {
            open.adapters.iter().any(|adapter| matches!(adapter.place, AdapterPlace::Hub(_)))
        }
    };
    let mut variables = images.proxies.variables();
    // The model's own word on its own way out; two of one name would be refused.
    variables.retain(|variable| !names_variable(open, &variable.name));
    if fetches && !variables.is_empty() {
        let names: Vec<_> = variables.iter().map(|variable| variable.name.as_str()).collect();
        decisions.push(Decision::new(
            names.join(", "),
            "the operator was told which proxies are between engines and what they fetch",
        ));
        part.env.get_or_insert_default().extend(variables);
    }
}

/// Secrets for pulling our image, and the one that the weights are in.
pub(super) fn pull_secrets(
    open: &Open,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> Option<Vec<LocalObjectReference>> {
    let ours = images.references(decisions);
    let Weights::Image(ImageFile { reference: _, file: _, secret: Some(secret) }) = &open.weights else {
        return ours;
    };
    decisions.push(Decision::new(
        format!("the image of the weights is pulled with Secret {secret}"),
        "storage.credentialsSecret names it",
    ));
    let mut all = ours.unwrap_or_default();
    if !all.iter().any(|known| known.name == *secret) {
        all.push(LocalObjectReference { name: secret.clone() });
    }
    Some(all)
}

fn names_variable(open: &Open, name: &str) -> bool {
    let spec = open.pod_template.as_ref().and_then(|added| added.spec.as_ref());
    let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    containers.iter().flat_map(|container| &container.env).any(|variable| variable.name == name)
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}
