use k8s_openapi::api::core::v1::{
    Capabilities, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, PodSecurityContext, Probe,
    ResourceFieldSelector, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weighbridge_crds::labels;

use super::Decision;

const CERTIFICATE_VOLUME: &str = "certificate";
const CERTIFICATE_FOLDER: &str = "/var/run/secrets/weighbridge/certificate";

/// User, and group, that every container of ours runs as; the one of the usual "nonroot" images.
const NONROOT: i64 = 65532;

/// Pod-wide half of Pod Security "restricted".
pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NONROOT),
        run_as_group: Some(NONROOT),
        // Makes the cache folder writable and the mounted key readable for that user, and nobody else.
        fs_group: Some(NONROOT),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// Container's half of Pod Security "restricted", and a read-only root on top of it.
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

/// The two ports that engines and proxies have.
pub fn ports() -> Vec<ContainerPort> {
    vec![port(labels::SERVING_PORT_NAME, labels::SERVING_PORT), admin_port()]
}

/// The port where a pod says how it is.
pub fn admin_port() -> ContainerPort {
    port(labels::ADMIN_PORT_NAME, labels::ADMIN_PORT)
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Tells a gateway or proxy its memory limit, whatever the pod's template says, so that its own bounds follow from it.
pub fn memory_limit() -> EnvVar {
    let limit =
        ResourceFieldSelector { resource: "limits.memory".to_owned(), ..ResourceFieldSelector::default() };
    EnvVar {
        name: "WEIGHBRIDGE_MEMORY_LIMIT".to_owned(),
        value: None,
        value_from: Some(EnvVarSource { resource_field_ref: Some(limit), ..EnvVarSource::default() }),
    }
}

/// A probe of the admin port.
pub fn probe(path: &str, period_seconds: i32, failure_threshold: i32, timeout_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(labels::ADMIN_PORT_NAME.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(timeout_seconds),
        ..Probe::default()
    }
}

/// What makes a pod show its certificate, and let in gateways of ours alone.
pub struct Certificate {
    /// Flags.
    pub arguments: Vec<String>,
    /// The Secret.
    pub volume: Volume,
    /// Where it is.
    pub mount: VolumeMount,
}

/// The certificate in `secret`. Only its name is in the template: a renewed one rolls nothing, and the pod reads it again.
pub fn certificate(secret: String, decisions: &mut Vec<Decision>) -> Certificate {
    decisions.push(Decision::new(
        format!("calls need a gateway's certificate; the pod's own is in Secret {secret}"),
        "nobody goes round keys, limits and metering, NetworkPolicy enforced or not; the operator issues and renews both",
    ));
    let files = [("tls-cert-file", "tls.crt"), ("tls-key-file", "tls.key"), ("client-ca-file", "ca.crt")];
    let item =
        |(_, file): (&str, &str)| KeyToPath { key: file.to_owned(), path: file.to_owned(), mode: None };
    Certificate {
        arguments: files.map(|(flag, file)| format!("--{flag}={CERTIFICATE_FOLDER}/{file}")).into(),
        volume: Volume {
            name: CERTIFICATE_VOLUME.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret),
                default_mode: Some(0o440),
                // Named, so that a pod waits for a Secret that is not whole yet.
                items: Some(files.map(item).into()),
                optional: None,
            }),
            ..Volume::default()
        },
        mount: VolumeMount {
            name: CERTIFICATE_VOLUME.to_owned(),
            mount_path: CERTIFICATE_FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        },
    }
}
