//! Pod Security "restricted" as a function, so that every template a plan can emit is checked without a server.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::validate::confines;

/// Every way in which `pod` with this metadata breaks Pod Security "restricted" or our own addition to it: no
/// ServiceAccount token, a read-only root, and no annotation that says how it is confined.
pub fn violations(metadata: Option<&ObjectMeta>, pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut require = |holds: bool, rule: &str| {
        if !holds {
            found.push(rule.to_owned());
        }
    };
    require(pod.host_network != Some(true), "hostNetwork must not be set");
    require(pod.host_pid != Some(true), "hostPID must not be set");
    require(pod.host_ipc != Some(true), "hostIPC must not be set");
    require(pod.automount_service_account_token == Some(false), "automountServiceAccountToken must be false");
    let security = pod.security_context.as_ref();
    require(
        security.and_then(|security| security.run_as_non_root) == Some(true),
        "pod runAsNonRoot must be true",
    );
    require(security.and_then(|security| security.run_as_user) != Some(0), "pod runAsUser must not be 0");
    let seccomp =
        security.and_then(|security| security.seccomp_profile.as_ref()).map(|profile| profile.type_.as_str());
    require(
        matches!(seccomp, Some("RuntimeDefault" | "Localhost")),
        "pod seccompProfile must be RuntimeDefault",
    );
    require(security.is_none_or(|security| security.sysctls.is_none()), "sysctls must not be set");
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    for key in annotations.into_iter().flatten().map(|(key, _)| key) {
        require(!confines(key), &format!("annotation {key} must not be set"));
    }
    for volume in pod.volumes.iter().flatten() {
        require(allowed(volume), &format!("volume {} has a type that is not allowed", volume.name));
    }
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    for container in containers {
        found.extend(of_container(container).into_iter().map(|rule| format!("{}: {rule}", container.name)));
    }
    if pod.ephemeral_containers.is_some() {
        found.push("ephemeral containers must not be planned".to_owned());
    }
    found
}

fn of_container(container: &Container) -> Vec<&'static str> {
    let Some(security) = &container.security_context else { return vec!["securityContext is missing"] };
    let mut found = Vec::new();
    let mut require = |holds: bool, rule: &'static str| {
        if !holds {
            found.push(rule);
        }
    };
    require(security.allow_privilege_escalation == Some(false), "allowPrivilegeEscalation must be false");
    require(security.privileged != Some(true), "privileged must not be set");
    require(security.run_as_non_root != Some(false), "runAsNonRoot must not be false");
    require(security.run_as_user != Some(0), "runAsUser must not be 0");
    require(security.read_only_root_filesystem == Some(true), "readOnlyRootFilesystem must be true");
    require(
        security.proc_mount.as_deref().is_none_or(|mount| mount == "Default"),
        "procMount must be Default",
    );
    let capabilities = security.capabilities.as_ref();
    let dropped = capabilities.and_then(|capabilities| capabilities.drop.as_ref());
    require(
        dropped.is_some_and(|names| names.iter().any(|name| name == "ALL")),
        "capabilities must drop ALL",
    );
    let added = capabilities.and_then(|capabilities| capabilities.add.as_ref());
    require(
        added.is_none_or(|names| names.iter().all(|name| name == "NET_BIND_SERVICE")),
        "no capability but NET_BIND_SERVICE may be added",
    );
    let host_port = container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|port| port != 0));
    require(!host_port, "hostPort must not be set");
    found
}

fn allowed(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some()
        || volume.image.is_some()
}
