use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, KeyToPath, PodSpec, PodTemplateSpec, ProjectedVolumeSource, ResourceRequirements,
    SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weighbridge_crds::labels;

use super::{Decision, Images, names, pod};
use crate::validate::{BaseUrl, ProviderKey, ProviderPlace, ValidatedProvider};

const KEY_VOLUME: &str = "provider-keys";
const KEY_FOLDER: &str = "/var/run/secrets/weighbridge/provider";

/// The proxy's pod, without the label that names its revision.
pub fn template(
    provider: &ValidatedProvider,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> PodTemplateSpec {
    let ValidatedProvider { owner, kind, base_url, place, keys, allow_private, data_policy } = provider;
    for (index, ProviderKey { secret, weight: _, seen }) in keys.iter().enumerate() {
        let seen = if *seen { "it exists" } else { "nobody looked for it: there is no cluster here" };
        decisions.push(Decision::new(
            format!(
                "key {} of Secret {} is mounted into the proxy, and nowhere else",
                secret.key, secret.name
            ),
            format!("apiKeys[{index}] names it, and {seen}"),
        ));
    }
    let region = data_policy.as_ref().and_then(|policy| policy.region.as_ref());
    if let (Some(region), Some(url)) = (region.filter(|_| kind.regional_base_url("").is_some()), base_url) {
        decisions.push(Decision::new(
            format!("calls go to {}", url.as_str()),
            format!("dataPolicy.region is {region}, and the host is what holds the provider to it"),
        ));
    }
    let mut arguments = vec![
        "proxy".to_owned(),
        format!("--listen=0.0.0.0:{}", labels::SERVING_PORT),
        format!("--metrics-listen=0.0.0.0:{}", labels::ADMIN_PORT),
        format!("--kind={}", kind.as_str()),
    ];
    arguments.extend(base_url.as_ref().map(|url| format!("--base-url={}", BaseUrl::as_str(url))));
    arguments.extend(place.iter().flat_map(ProviderPlace::flags));
    let key_files = keys.iter().enumerate();
    arguments.extend(key_files.map(|(index, key)| format!("--key-file={KEY_FOLDER}/{index}={}", key.weight)));
    arguments.push(format!("--provider={}", owner.name()));
    arguments.push(format!("--namespace={}", owner.namespace()));
    if *allow_private {
        arguments.push("--allow-private".to_owned());
    }
    arguments.extend(images.bounds.of_proxy());
    let certificate = pod::certificate(labels::proxy_certificate(owner.name()), decisions);
    arguments.extend(certificate.arguments);
    let keys_mount = VolumeMount {
        name: KEY_VOLUME.to_owned(),
        mount_path: KEY_FOLDER.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let memory = format!("{}Mi", images.bounds.proxy_memory_mebibytes());
    decisions.push(Decision::new(
        format!("{memory} of memory at most"),
        format!(
            "what the proxy takes in at once follows from it, and two bodies of {} bytes must fit a fifth",
            images.bounds.max_body_bytes
        ),
    ));
    let container = Container {
        name: "proxy".to_owned(),
        image: Some(images.gateway.clone()),
        image_pull_policy: Some(images.pull_policy.as_str().to_owned()),
        args: Some(arguments),
        ports: Some(pod::ports()),
        env: Some(vec![pod::memory_limit()]),
        resources: Some(resources(&memory)),
        volume_mounts: Some(vec![keys_mount, certificate.mount]),
        security_context: Some(pod::container_security()),
        startup_probe: Some(pod::probe("/readyz", 1, 60, 5)),
        readiness_probe: Some(pod::probe("/readyz", 2, 2, 5)),
        liveness_probe: Some(pod::probe("/livez", 10, 6, 5)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    decisions.push(Decision::new(
        "310 s to end",
        "the proxy drains for at most 300 s, and has ten seconds more to stop",
    ));
    let image_pull_secrets = images.references(decisions);
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(names::provider_labels(owner)), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod::pod_security()),
            termination_grace_period_seconds: Some(310),
            image_pull_secrets,
            containers: vec![container],
            volumes: Some(vec![key_volume(keys), certificate.volume]),
            ..PodSpec::default()
        }),
    }
}

/// One file a key, named by its place. The kubelet swaps all of them when a Secret changes, with no restart.
fn key_volume(keys: &[ProviderKey]) -> Volume {
    let file = |(index, key): (usize, &ProviderKey)| VolumeProjection {
        secret: Some(SecretProjection {
            name: key.secret.name.clone(),
            // Only the one key, whatever else the Secret holds.
            items: Some(vec![KeyToPath { key: key.secret.key.clone(), path: index.to_string(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: KEY_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(keys.iter().enumerate().map(file).collect()),
        }),
        ..Volume::default()
    }
}

/// A proxy copies bytes: small, with room for many open streams.
fn resources(memory: &str) -> ResourceRequirements {
    let amounts = |pairs: &[(&str, &str)]| {
        let map: BTreeMap<_, _> =
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect();
        Some(map)
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "50m"), ("memory", "64Mi")]),
        limits: amounts(&[("memory", memory)]),
        claims: None,
    }
}
