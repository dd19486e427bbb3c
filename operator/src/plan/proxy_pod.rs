use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, KeyToPath, PodSpec, PodTemplateSpec, ResourceRequirements, SecretVolumeSource, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weighbridge_crds::labels;

use super::{Decision, Images, names, pod};
use crate::validate::ValidatedProvider;

const KEY_FOLDER: &str = "/var/run/secrets/weighbridge/provider";

/// The proxy's pod, without the label that names its revision.
pub fn template(
    provider: &ValidatedProvider,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> PodTemplateSpec {
    let ValidatedProvider { owner, base_url, key, allow_private, key_seen } = provider;
    let seen = if *key_seen { "it exists" } else { "nobody looked for it: there is no cluster here" };
    decisions.push(Decision::new(
        format!("key {} of Secret {} is mounted into the proxy, and nowhere else", key.key, key.name),
        format!("apiKeySecret names it, and {seen}"),
    ));
    let mut arguments = vec![
        "proxy".to_owned(),
        format!("--listen=0.0.0.0:{}", labels::SERVING_PORT),
        format!("--metrics-listen=0.0.0.0:{}", labels::ADMIN_PORT),
        format!("--base-url={}", base_url.as_str()),
        format!("--key-file={KEY_FOLDER}/key"),
        format!("--provider={}", owner.name()),
        format!("--namespace={}", owner.namespace()),
    ];
    if *allow_private {
        arguments.push("--allow-private".to_owned());
    }
    let container = Container {
        name: "proxy".to_owned(),
        image: Some(images.gateway.clone()),
        image_pull_policy: Some(images.pull_policy.as_str().to_owned()),
        args: Some(arguments),
        ports: Some(pod::ports()),
        resources: Some(resources()),
        volume_mounts: Some(vec![VolumeMount {
            name: "provider-key".to_owned(),
            mount_path: KEY_FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
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
            volumes: Some(vec![key_volume(&key.name, &key.key)]),
            ..PodSpec::default()
        }),
    }
}

fn key_volume(secret: &str, key: &str) -> Volume {
    Volume {
        name: "provider-key".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            // Only the one key, whatever else the Secret holds.
            items: Some(vec![KeyToPath { key: key.to_owned(), path: "key".to_owned(), mode: None }]),
            default_mode: Some(0o440),
            optional: None,
        }),
        ..Volume::default()
    }
}

/// A proxy copies bytes: small, with room for many open streams.
fn resources() -> ResourceRequirements {
    let amounts = |pairs: &[(&str, &str)]| {
        let map: BTreeMap<_, _> =
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect();
        Some(map)
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "50m"), ("memory", "64Mi")]),
        limits: amounts(&[("memory", "256Mi")]),
        claims: None,
    }
}
