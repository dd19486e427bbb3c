use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, HostAlias, LocalObjectReference, PodDNSConfig, Toleration, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Refusal;

const FIELD: &str = "openWeights.podTemplate";
/// The one container of an engine's pod.
pub const ENGINE_CONTAINER: &str = "engine";
/// Volumes of an engine's pod begin so, or are called so: no added one may.
const OUR_VOLUMES: [&str; 6] =
    ["cache", "models", "adapters-", "certificate", "shared-memory", "weighbridge-"];
/// Labels and annotations under these are Weighbridge's, or say what a pod is of.
const OUR_KEYS: [&str; 2] = ["serving.weighbridge.dev/", "app.kubernetes.io/"];
/// Annotations that change how a pod is confined, or give it devices: by the kubelet, by a container runtime, or by both.
pub const CONFINING_ANNOTATIONS: [&str; 5] = [
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "cdi.k8s.io/",
    "io.kubernetes.cri-o.",
];
/// Where what is added is mounted. Everywhere else is the image's, or holds what the engine was given.
const FOLDERS: [&str; 2] = ["/mnt/", "/etc/"];
/// A provider's key is its proxy's alone, and of a Secret nobody can tell here whether it holds one.
const NO_SECRET: &str = "from a Secret, and an engine reads none but `hub.tokenSecret` and `storage.credentialsSecret`: remove it, or use a ConfigMap";

/// What a ModelDeployment adds to its engine pods. This type is the list of what may be added: nothing here changes who a
/// pod runs as, what it may do, which programs run in it, or what the plan gives it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodTemplate {
    /// Labels and annotations beside ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<AddedMetadata>,
    /// Where pods are placed, and what they read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<AddedSpec>,
}

/// Labels and annotations of the pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddedMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Fields of a pod's spec, with Kubernetes' own meaning. Lists and maps come beside what the plan has.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct AddedSpec {
    /// Which nodes and pods it seeks or shuns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// The engine's container, once at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<AddedContainer>,
    /// How it looks names up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<PodDNSConfig>,
    /// Where it looks names up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_policy: Option<String>,
    /// Lines of its hosts file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// Secrets that its images are pulled with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Labels that its node has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Whether pods of less priority make room for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_policy: Option<String>,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// What runs its containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Who places it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Taints that its node may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// How its like are spread.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// What the engine's container may mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
}

/// What the engine's container reads besides.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct AddedContainer {
    /// Always [`ENGINE_CONTAINER`].
    pub name: String,
    /// Variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Volumes of the same patch, under `/mnt` or `/etc`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
}

/// Reads `openWeights.podTemplate`, beside nodes that the profile selects by `selected`.
pub(super) fn pod_template(
    given: &Value,
    selected: &BTreeMap<String, String>,
) -> Result<PodTemplate, Refusal> {
    let read: Result<PodTemplate, _> = serde_path_to_error::deserialize(given);
    let template = read.map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { FIELD.to_owned() } else { format!("{FIELD}.{path}") };
        Refusal::invalid(format!("{at}: {}: it may not be set here: remove it", error.inner()))
    })?;
    // Kubernetes' own types pass over what they do not know, and here nothing is.
    let kept = serde_json::to_value(&template).unwrap_or_default();
    if let Some(path) = lost(given, &kept) {
        return Err(Refusal::invalid(format!(
            "{FIELD}{path} is no field of Kubernetes there: correct or remove it"
        )));
    }
    let PodTemplate { metadata, spec } = &template;
    metadata.as_ref().map_or(Ok(()), check_metadata)?;
    spec.as_ref().map_or(Ok(()), |spec| check_spec(spec, selected))?;
    Ok(template)
}

/// The first path of `given` that `kept` has not.
fn lost(given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Null, _) => None,
        (Value::Object(given), kept) => given.iter().find_map(|(name, value)| {
            let empty = value.is_null()
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty);
            match kept.get(name) {
                Some(kept) => lost(value, kept).map(|path| format!(".{name}{path}")),
                None if empty => None,
                None => Some(format!(".{name}")),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(place, (given, kept))| lost(given, kept).map(|path| format!("[{place}]{path}"))),
        _ => None,
    }
}

/// Whether an annotation called `key` changes how a pod is confined, or what devices it has.
pub fn confines(key: &str) -> bool {
    CONFINING_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix))
}

fn check_metadata(metadata: &AddedMetadata) -> Result<(), Refusal> {
    let AddedMetadata { labels, annotations } = metadata;
    let ours = |key: &&String| OUR_KEYS.iter().any(|prefix| key.starts_with(prefix));
    if let Some(key) = labels.keys().chain(annotations.keys()).find(ours) {
        return Err(Refusal::invalid(format!(
            "{FIELD}.metadata has {key:?}, by which pods are told apart: use a key of your own"
        )));
    }
    match annotations.keys().find(|key| confines(key)) {
        Some(key) => Err(Refusal::invalid(format!(
            "{FIELD}.metadata.annotations has {key:?}, by which a pod is confined less or given devices: remove it"
        ))),
        None => Ok(()),
    }
}

fn check_spec(spec: &AddedSpec, selected: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if let Some(key) = spec.node_selector.keys().find(|key| selected.contains_key(*key)) {
        return Err(Refusal::invalid(format!(
            "{FIELD}.spec.nodeSelector has {key:?}, which the ResourceProfile selects nodes by: remove it, or name another profile"
        )));
    }
    spec.volumes.iter().try_for_each(check_volume)?;
    let mut seen = false;
    for AddedContainer { name, env, volume_mounts } in &spec.containers {
        if name != ENGINE_CONTAINER || seen {
            return Err(Refusal::invalid(format!(
                "{FIELD}.spec.containers has {name:?}: the one container is {ENGINE_CONTAINER:?}, once, and no other is added"
            )));
        }
        seen = true;
        env.iter().try_for_each(check_variable)?;
        volume_mounts.iter().try_for_each(|mount| check_mount(mount, &spec.volumes))?;
    }
    Ok(())
}

fn check_volume(volume: &Volume) -> Result<(), Refusal> {
    let name = &volume.name;
    let wrong = |words: &str| Err(Refusal::invalid(format!("{FIELD}.spec.volumes has {name:?}, {words}")));
    if OUR_VOLUMES.iter().any(|ours| name == ours || ours.ends_with('-') && name.starts_with(ours)) {
        return wrong("which is a volume of the engine's own: use another name");
    }
    let sources = || volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    if sources().any(|source| source.service_account_token.is_some()) {
        return wrong("with a token of the ServiceAccount, which an engine is not given: remove that source");
    }
    let of_csi = volume.csi.as_ref().is_some_and(|csi| csi.node_publish_secret_ref.is_some());
    if volume.secret.is_some() || of_csi || sources().any(|source| source.secret.is_some()) {
        return wrong(NO_SECRET);
    }
    let readable = [
        volume.config_map.is_some(),
        volume.csi.is_some(),
        volume.downward_api.is_some(),
        volume.empty_dir.is_some(),
        volume.ephemeral.is_some(),
        volume.persistent_volume_claim.is_some(),
        volume.projected.is_some(),
    ];
    if readable.contains(&true) {
        return Ok(());
    }
    wrong(
        "of a type that may not be added: use configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim or \
         projected",
    )
}

/// A variable is for what the engine or its libraries read, such as `NCCL_TOPO_FILE`; not for what loads code into it, nor for
/// what NVIDIA's runtime reads: by `NVIDIA_VISIBLE_DEVICES` a container has GPUs that nobody gave it.
fn check_variable(variable: &EnvVar) -> Result<(), Refusal> {
    let name = &variable.name;
    let ours = name.starts_with("WEIGHBRIDGE_") || name.starts_with("NVIDIA_") || name == "HF_TOKEN";
    let loads = name.starts_with("LD_") || ["PLUGIN", "INJECTION"].iter().any(|word| name.contains(word));
    if ours || loads || name == "PATH" {
        return Err(Refusal::invalid(format!(
            "{FIELD}.spec.containers[engine].env has {name:?}, which is the operator's to set: remove it"
        )));
    }
    let source = variable.value_from.as_ref().and_then(|source| source.secret_key_ref.as_ref());
    if source.is_some() {
        return Err(Refusal::invalid(format!(
            "{FIELD}.spec.containers[engine].env has {name:?}, {NO_SECRET}"
        )));
    }
    Ok(())
}

fn check_mount(mount: &VolumeMount, volumes: &[Volume]) -> Result<(), Refusal> {
    let VolumeMount { name, mount_path, .. } = mount;
    let wrong = |words: String| {
        Err(Refusal::invalid(format!("{FIELD}.spec.containers[engine].volumeMounts: {words}")))
    };
    if !volumes.iter().any(|volume| volume.name == *name) {
        return wrong(format!("{name:?} is no volume of podTemplate.spec.volumes: add it there"));
    }
    let under = FOLDERS.iter().find_map(|folder| mount_path.strip_prefix(folder));
    let is_plain = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !under.is_some_and(is_plain) {
        return wrong(format!("mountPath {mount_path:?} is not under /mnt or /etc: put it there"));
    }
    if mount_path.starts_with("/etc/ld.so") {
        return wrong(format!("mountPath {mount_path:?} says which code is loaded: use another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(given: Value) -> Result<PodTemplate, String> {
        let selected = BTreeMap::from([("disk".to_owned(), "fast".to_owned())]);
        pod_template(&given, &selected).map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_may_be_added_is_kept_whole() {
        let given = json!({
            "metadata": {"labels": {"team": "a"}, "annotations": {"example.com/note": "b"}},
            "spec": {
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}}},
                "priorityClassName": "high", "runtimeClassName": "nvidia", "schedulerName": "kueue",
                "nodeSelector": {"zone": "a"}, "tolerations": [{"key": "k", "operator": "Exists"}],
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
                "imagePullSecrets": [{"name": "registry"}],
                "volumes": [{"name": "ca", "configMap": {"name": "nccl-topology"}}],
                "containers": [{"name": "engine", "env": [{"name": "NCCL_TOPO_FILE", "value": "/etc/nccl/topology.xml"}],
                    "volumeMounts": [{"name": "ca", "mountPath": "/etc/nccl"}]}],
            },
        });
        let template = read(given.clone()).expect("allowed");
        assert_eq!(lost(&given, &serde_json::to_value(&template).expect("JSON")), None);
        assert_eq!(read(json!({})), Ok(PodTemplate::default()));
    }

    #[test]
    fn what_may_not_be_is_refused_with_its_field() {
        let of_engine = |fields: Value| {
            let mut container = json!({"name": "engine"});
            for (name, value) in fields.as_object().expect("fields") {
                container[name] = value.clone();
            }
            json!({"spec": {"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]}})
        };
        let volume = |fields: Value| json!({"spec": {"volumes": [fields]}});
        for (given, words) in [
            (
                json!({"spec": {"securityContext": {}}}),
                "openWeights.podTemplate.spec.securityContext: unknown field",
            ),
            (json!({"spec": {"serviceAccountName": "admin"}}), "spec.serviceAccountName"),
            (json!({"spec": {"hostNetwork": true}}), "spec.hostNetwork"),
            (json!({"spec": {"initContainers": []}}), "spec.initContainers"),
            (json!({"spec": {"resourceClaims": []}}), "spec.resourceClaims"),
            (of_engine(json!({"resources": {"claims": []}})), "spec.containers[0].resources"),
            (of_engine(json!({"image": "evil"})), "spec.containers[0].image"),
            (of_engine(json!({"securityContext": {}})), "spec.containers[0].securityContext"),
            (of_engine(json!({"command": ["sh"]})), "spec.containers[0].command"),
            (
                json!({"spec": {"containers": [{"name": "side"}]}}),
                "has \"side\": the one container is \"engine\"",
            ),
            (
                json!({"spec": {"nodeSelector": {"disk": "slow"}}}),
                "which the ResourceProfile selects nodes by",
            ),
            (
                json!({"spec": {"affinity": {"nodeAffinty": {}, "podAffinty": {"x": 1}}}}),
                "spec.affinity.podAffinty is no field",
            ),
            (json!({"spec": {"tolerations": "all"}}), "spec.tolerations"),
            (
                json!({"metadata": {"labels": {"serving.weighbridge.dev/model": "m"}}}),
                "use a key of your own",
            ),
            (json!({"metadata": {"annotations": {"app.kubernetes.io/name": "m"}}}), "use a key of your own"),
            (
                json!({"metadata": {"annotations": {
                    "container.apparmor.security.beta.kubernetes.io/engine": "unconfined"}}}),
                "annotations has \"container.apparmor.security.beta.kubernetes.io/engine\"",
            ),
            (
                json!({"metadata": {"annotations": {
                    "container.seccomp.security.alpha.kubernetes.io/engine": "unconfined"}}}),
                "by which a pod is confined less",
            ),
            (
                json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}}),
                "by which a pod is confined less",
            ),
            (
                json!({"metadata": {"annotations": {"cdi.k8s.io/gpus": "nvidia.com/gpu=all"}}}),
                "or given devices",
            ),
            (
                json!({"metadata": {"annotations": {"io.kubernetes.cri-o.Devices": "/dev/fuse"}}}),
                "or given devices",
            ),
            (json!({"metadata": {"name": "m"}}), "metadata.name: unknown field"),
            (volume(json!({"name": "v", "hostPath": {"path": "/"}})), "of a type that may not be added"),
            (volume(json!({"name": "v", "secret": {"secretName": "account"}})), "from a Secret"),
            (
                volume(json!({"name": "v", "projected": {"sources": [{"secret": {"name": "account"}}]}})),
                "from a Secret",
            ),
            (
                volume(
                    json!({"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "account"}}}),
                ),
                "from a Secret",
            ),
            (
                of_engine(
                    json!({"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "account", "key": "k"}}}]}),
                ),
                "env has \"KEY\", from a Secret",
            ),
            (volume(json!({"name": "cache", "emptyDir": {}})), "a volume of the engine's own"),
            (volume(json!({"name": "adapters-1", "emptyDir": {}})), "a volume of the engine's own"),
            (
                volume(
                    json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
                ),
                "a token of the ServiceAccount",
            ),
            (of_engine(json!({"env": [{"name": "LD_PRELOAD", "value": "/mnt/x.so"}]})), "\"LD_PRELOAD\""),
            (of_engine(json!({"env": [{"name": "HF_TOKEN", "value": "t"}]})), "\"HF_TOKEN\""),
            (
                of_engine(json!({"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]})),
                "\"NVIDIA_VISIBLE_DEVICES\"",
            ),
            (
                of_engine(json!({"env": [{"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "all"}]})),
                "\"NVIDIA_DRIVER_CAPABILITIES\"",
            ),
            (
                of_engine(json!({"env": [{"name": "NCCL_NET_PLUGIN", "value": "/mnt/x.so"}]})),
                "\"NCCL_NET_PLUGIN\"",
            ),
            (
                of_engine(json!({"volumeMounts": [{"name": "v", "mountPath": "/etc//"}]})),
                "is not under /mnt or /etc",
            ),
            (
                of_engine(json!({"volumeMounts": [{"name": "v", "mountPath": "/etc/."}]})),
                "is not under /mnt or /etc",
            ),
            (
                of_engine(json!({"volumeMounts": [{"name": "v", "mountPath": "/etc/ld.so.preload"}]})),
                "which code is loaded",
            ),
            (
                of_engine(json!({"volumeMounts": [{"name": "v", "mountPath": "/cache"}]})),
                "is not under /mnt or /etc",
            ),
            (
                of_engine(json!({"volumeMounts": [{"name": "v", "mountPath": "/mnt/../cache"}]})),
                "is not under /mnt",
            ),
            (
                of_engine(json!({"volumeMounts": [{"name": "models", "mountPath": "/mnt/m"}]})),
                "is no volume of",
            ),
        ] {
            let message = read(given.clone()).expect_err("refused");
            assert!(message.contains(words), "{given}: {message}");
        }
    }
}
