use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ImageVolumeSource,
    PersistentVolumeClaimVolumeSource, PodResourceClaim, PodSpec, PodTemplateSpec, ResourceRequirements,
    SecretKeySelector, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weighbridge_crds::{DEFAULT_DRAIN, Device, Gpu, KvCacheType, SleepingWeights, labels};

use super::cache::store_folder;
use super::{Decision, Images, added, claims, fetching, names, pod};
use crate::owner::Owner;
use crate::validate::{
    AdapterPlace, CountedBy, ENGINE_CONTAINER, GPU_PRODUCT_LABEL, Hardware, Held, HubFile, ImageFile, Open,
    OpenAdapter, Weights,
};

pub(super) const CACHE_FOLDER: &str = "/cache";
/// The volume there: what is fetched, and what is compiled.
pub(super) const CACHE_VOLUME: &str = "cache";
/// Where the claim of a ModelCache is.
const STORE_FOLDER: &str = "/store";
const MODELS_FOLDER: &str = "/models";
const ADAPTERS_FOLDER: &str = "/adapters";

/// Validation lets NVIDIA's resources alone come here, and classes of devices; slices of a card (`nvidia.com/mig-…`) are on
/// nodes with this taint too.
const GPU_TAINT: &str = "nvidia.com/gpu";
/// Where programs that share memory look for it.
const SHARED_MEMORY_FOLDER: &str = "/dev/shm";
/// Its most bytes: NCCL takes tens of MiB a GPU, and the container runtime's own 64 MiB are too few.
const SHARED_MEMORY: &str = "1Gi";

/// What a server needs to stop once its streams have ended or were cut: idle connections get five seconds.
const STOP_SECONDS: u64 = 10;

/// What people are told where a model gets `count` GPUs.
pub fn of_gpus(count: i32) -> String {
    match count {
        ..=1 => "where a GPU can't be used the CPU serves, and each pod's log and /readyz say why".to_owned(),
        more => format!(
            "the model is shared out to {more} GPUs; where they can't be used, or its heads can't be shared out to as many, \
             the CPU serves, and each pod's log and /readyz say why"
        ),
    }
}

/// Pods of one revision, without the label that names it.
pub fn template(
    owner: &Owner,
    open: &Open,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> PodTemplateSpec {
    let mut weights = match &open.held {
        Some(held) => held_weights(open, held, decisions),
        None => weights(open, images, decisions),
    };
    let adapters = adapters(open, &mut weights, decisions);
    let certificate = pod::certificate(labels::engine_certificate(owner.name()), decisions);
    weights.volumes.push(certificate.volume);
    weights.mounts.push(certificate.mount);
    share_memory(open, &mut weights, decisions);
    let hardware = hardware(owner, &open.hardware, decisions);
    let container = Container {
        name: ENGINE_CONTAINER.to_owned(),
        image: Some(images.inference_server.clone()),
        image_pull_policy: Some(images.pull_policy.as_str().to_owned()),
        args: Some(
            [arguments(owner, open, &weights), images.bounds.of_engine(), adapters, certificate.arguments]
                .concat(),
        ),
        env: weights.env,
        ports: Some(pod::ports()),
        resources: Some(hardware.resources),
        volume_mounts: Some(weights.mounts),
        security_context: Some(pod::container_security()),
        startup_probe: Some(pod::probe("/readyz", 1, 10_800, 5)),
        readiness_probe: Some(pod::probe("/readyz", 2, 2, 5)),
        liveness_probe: Some(pod::probe("/livez", 10, 6, 5)),
        // The engine's last words are the reason in the ModelDeployment's condition.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    decisions.push(Decision::new(
        "startup may take 3 hours, asked every second",
        "weights may have to be fetched first, and a model that is loaded should answer at once",
    ));
    let drain = open.drain_timeout.as_secs();
    let grace = drain + STOP_SECONDS;
    decisions.push(Decision::new(
        format!("{grace} s to end"),
        format!("open streams get {drain} s to finish, and the server {STOP_SECONDS} more to stop"),
    ));
    let image_pull_secrets = fetching::pull_secrets(open, images, decisions);
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::engine_labels(owner, open.held.as_ref())),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod::pod_security()),
            termination_grace_period_seconds: i64::try_from(grace).ok(),
            image_pull_secrets,
            containers: vec![container],
            volumes: Some(weights.volumes),
            node_selector: hardware.node_selector,
            tolerations: hardware.tolerations,
            resource_claims: hardware.claim.map(|claim| vec![claim]),
            ..PodSpec::default()
        }),
    };
    if let Some(added) = &open.pod_template {
        added::add(&mut template, added, decisions);
    }
    template
}

/// What a pod needs to get at weights.
pub(super) struct WeightsPart {
    /// As its program is told.
    pub(super) source: String,
    /// Whether what a server is shown lies in a folder.
    pub(super) credentials: bool,
    pub(super) env: Option<Vec<EnvVar>>,
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
}

/// Typed, never passed through: a tenant's text becomes the value of a flag, not a flag.
fn arguments(owner: &Owner, open: &Open, weights: &WeightsPart) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned()];
    let mut flag =
        |name: &str, value: Option<String>| arguments.extend(value.map(|value| format!("--{name}={value}")));
    flag("listen", Some(format!("0.0.0.0:{}", labels::SERVING_PORT)));
    flag("admin-listen", Some(format!("0.0.0.0:{}", labels::ADMIN_PORT)));
    flag("model-name", Some(format!("{}/{}", owner.namespace(), owner.name())));
    arguments.extend(described(open, weights));
    let mut flag =
        |name: &str, value: Option<String>| arguments.extend(value.map(|value| format!("--{name}={value}")));
    let signature = open.signature.as_ref();
    flag("signature-bundle", signature.map(|signature| signature.bundle.clone()));
    flag("signature-key", signature.map(|signature| signature.public_key.clone()));
    flag("sleep-after", open.sleep.map(|sleep| sleep.after_seconds.to_string()));
    let kept = open.sleep.map(|sleep| sleep.weights).filter(|weights| *weights != SleepingWeights::default());
    flag("sleep-weights", kept.map(|weights| weights.to_string()));
    flag("device", open.hardware.gpu().map(|_| "cuda".to_owned()));
    let several = open.hardware.gpu().map(|gpu| gpu.count).filter(|count| *count > 1);
    flag("tensor-parallel", several.map(|count| count.to_string()));
    flag("threads", open.hardware.threads().map(|threads| threads.to_string()));
    flag("cache-folder", Some(CACHE_FOLDER.to_owned()));
    flag("store", open.held.as_ref().map(|held| store_folder(STORE_FOLDER, &held.cache)));
    flag("entry", open.held.as_ref().map(|held| held.model.name.clone()));
    let drain = Some(open.drain_timeout).filter(|drain| *drain != DEFAULT_DRAIN);
    flag("drain-timeout", drain.map(|drain| drain.as_secs().to_string()));
    arguments
}

/// Which model it is and what it is served with: what an engine is told, and what an inspection is.
pub(super) fn described(open: &Open, weights: &WeightsPart) -> Vec<String> {
    // Saying the default aloud rolls no pod.
    let kv_cache_type = Some(open.kv_cache_type).filter(|kind| *kind != KvCacheType::Auto);
    let mut flags = located_flags(open, weights);
    flags.extend(typed([
        ("context-length", open.context_length.map(|tokens| tokens.to_string())),
        ("max-sequences", open.max_sequences.map(|sequences| sequences.to_string())),
        ("kv-cache-type", kv_cache_type.map(|kind| kind.to_string())),
        ("quantize", open.quantize.map(|kind| kind.to_string())),
    ]));
    flags
}

/// Where something is, and how it is got at: what an engine, an inspection and a fetch are told.
pub(super) fn located_flags(open: &Open, weights: &WeightsPart) -> Vec<String> {
    let (hub, stored) = match &open.weights {
        Weights::Hub(hub) => (Some(hub), None),
        Weights::Stored(stored) => (None, Some(stored)),
        Weights::Image(_) | Weights::Claim { .. } | Weights::File { .. } => (None, None),
    };
    // What is read from a cache is fetched from nowhere.
    let authorities = open.authorities.as_ref().filter(|_| open.held.is_none());
    let flags = [
        ("source", Some(weights.source.clone())),
        ("revision", hub.and_then(|hub| hub.revision.clone())),
        ("digest", open.digest.clone()),
        ("hub-endpoint", hub.and_then(|hub| hub.endpoint.clone())),
        ("storage-endpoint", stored.and_then(|stored| stored.endpoint.clone())),
        ("storage-region", stored.and_then(|stored| stored.region.clone())),
        ("credentials-folder", weights.credentials.then(|| fetching::CREDENTIALS_FOLDER.to_owned())),
        ("ca-file", authorities.map(|_| fetching::AUTHORITIES_FILE.to_owned())),
    ];
    typed(flags).collect()
}

fn typed<const N: usize>(flags: [(&str, Option<String>); N]) -> impl Iterator<Item = String> {
    flags.map(|(name, value)| value.map(|value| format!("--{name}={value}"))).into_iter().flatten()
}

/// Memory that several GPUs' threads share, which NCCL needs.
fn share_memory(open: &Open, weights: &mut WeightsPart, decisions: &mut Vec<Decision>) {
    if open.hardware.gpu().is_none_or(|gpu| gpu.count < 2) {
        return;
    }
    let name = "shared-memory";
    let memory = EmptyDirVolumeSource {
        medium: Some("Memory".to_owned()),
        size_limit: Some(Quantity(SHARED_MEMORY.to_owned())),
    };
    weights.volumes.push(Volume { name: name.to_owned(), empty_dir: Some(memory), ..Volume::default() });
    weights.mounts.push(VolumeMount {
        name: name.to_owned(),
        mount_path: SHARED_MEMORY_FOLDER.to_owned(),
        ..VolumeMount::default()
    });
    decisions.push(Decision::new(
        format!("{SHARED_MEMORY} of memory at most at {SHARED_MEMORY_FOLDER}"),
        "NCCL adds up over several GPUs through it; what is used of it counts in the profile's memory",
    ));
}

/// Flags of the adapters; claims that the model is not on are mounted too, each once.
fn adapters(open: &Open, weights: &mut WeightsPart, decisions: &mut Vec<Decision>) -> Vec<String> {
    let mut folders = BTreeMap::new();
    if let Weights::Claim { claim, file: _ } = &open.weights {
        folders.insert(claim.as_str(), MODELS_FOLDER.to_owned());
    }
    let mut flags = Vec::new();
    for OpenAdapter { name, source, place, digest } in &open.adapters {
        let source = match place {
            AdapterPlace::Hub(revision) => {
                let held = open.held.as_ref().and_then(|held| held.adapters.get(name));
                flags.extend(held.map(|entry| format!("--adapter-entry={name}={}", entry.name)));
                flags.extend(revision.iter().map(|revision| format!("--adapter-revision={name}={revision}")));
                source.clone()
            }
            AdapterPlace::File => source.clone(),
            AdapterPlace::Claim { claim, file } => {
                let folder = folders.entry(claim.as_str()).or_insert_with(|| {
                    let volume = format!("adapters-{}", weights.volumes.len());
                    let folder = format!("{ADAPTERS_FOLDER}/{claim}");
                    decisions.push(Decision::new(
                        format!("claim {claim} at {folder}, read-only"),
                        "adapters come from a claim that the model is not on",
                    ));
                    weights.volumes.push(claim_volume(&volume, claim));
                    weights.mounts.push(read_only_mount(&volume, &folder));
                    folder
                });
                format!("file://{folder}/{file}")
            }
        };
        flags.push(format!("--adapter={name}={source}"));
        flags.extend(digest.iter().map(|digest| format!("--adapter-digest={name}={digest}")));
    }
    flags
}

fn claim_volume(name: &str, claim: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: Some(true),
        }),
        ..Volume::default()
    }
}

pub(super) fn read_only_mount(volume: &str, folder: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// What a pod needs to read weights from a cache's claim: no way to where they came from, and no token.
fn held_weights(open: &Open, held: &Held, decisions: &mut Vec<Decision>) -> WeightsPart {
    let Held { cache, claim, model: _, adapters: _ } = held;
    decisions.push(Decision::new(
        format!("claim {claim} at {STORE_FOLDER}, read-only"),
        format!("ModelCache {cache} holds the weights, and an engine only reads them"),
    ));
    let (own, own_mount) = own_folder();
    WeightsPart {
        source: open.source.clone(),
        credentials: false,
        env: None,
        volumes: vec![own, claim_volume("store", claim)],
        mounts: vec![own_mount, read_only_mount("store", STORE_FOLDER)],
    }
}

/// The pod's own folder for what is fetched or compiled.
fn own_folder() -> (Volume, VolumeMount) {
    let volume = Volume {
        name: CACHE_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let mount = VolumeMount {
        name: CACHE_VOLUME.to_owned(),
        mount_path: CACHE_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    (volume, mount)
}

/// Volumes, variables and the source that a pod is told.
pub(super) fn weights(open: &Open, images: &Images, decisions: &mut Vec<Decision>) -> WeightsPart {
    let (cache, cache_mount) = own_folder();
    let mut part = WeightsPart {
        source: String::new(),
        credentials: false,
        env: None,
        volumes: vec![cache],
        mounts: vec![cache_mount],
    };
    match &open.weights {
        Weights::Hub(HubFile { source, token, revision: _, endpoint: _ }) => {
            decisions.push(Decision::new(
                "an emptyDir at /cache",
                "weights come from a hub and the root is read-only",
            ));
            part.source.clone_from(source);
            if let Some(token) = token {
                decisions.push(Decision::new(
                    format!("HF_TOKEN from Secret {}, key {}", token.name, token.key),
                    "hub.tokenSecret names it; the value stays in the Secret",
                ));
                let key =
                    SecretKeySelector { name: token.name.clone(), key: token.key.clone(), optional: None };
                part.env.get_or_insert_default().push(EnvVar {
                    name: "HF_TOKEN".to_owned(),
                    value: None,
                    value_from: Some(EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() }),
                });
            }
        }
        Weights::Stored(stored) => {
            decisions.push(Decision::new(
                "an emptyDir at /cache",
                "weights come from a server and the root is read-only",
            ));
            part.source.clone_from(&stored.source);
            fetching::show_credentials(stored, &mut part, decisions);
        }
        Weights::Image(ImageFile { reference, file, secret: _ }) => {
            decisions.push(Decision::new(
                format!("image {reference} at {MODELS_FOLDER}, read-only"),
                "storage.imageVolume has the kubelet pull and mount it; nothing is fetched",
            ));
            part.source = format!("file://{MODELS_FOLDER}/{file}");
            part.volumes.push(Volume {
                name: "models".to_owned(),
                image: Some(ImageVolumeSource { reference: Some(reference.clone()), pull_policy: None }),
                ..Volume::default()
            });
            part.mounts.push(read_only_mount("models", MODELS_FOLDER));
        }
        Weights::Claim { claim, file } => {
            decisions.push(Decision::new(
                format!("claim {claim} at {MODELS_FOLDER}, read-only"),
                "weights come from a claim, and an engine only reads them",
            ));
            part.source = format!("file://{MODELS_FOLDER}/{file}");
            part.volumes.push(claim_volume("models", claim));
            part.mounts.push(read_only_mount("models", MODELS_FOLDER));
        }
        // Validation refuses a file in a cluster; the argument alone is what a machine would be given.
        Weights::File { path } => part.source = format!("file://{path}"),
    }
    fetching::reach(open, images, &mut part, decisions);
    part
}

struct HardwarePart {
    resources: ResourceRequirements,
    node_selector: Option<BTreeMap<String, String>>,
    tolerations: Option<Vec<Toleration>>,
    claim: Option<PodResourceClaim>,
}

fn hardware(owner: &Owner, hardware: &Hardware, decisions: &mut Vec<Decision>) -> HardwarePart {
    let quantity = |text: &str| Quantity(text.to_owned());
    match hardware {
        Hardware::Unnamed => {
            decisions.push(Decision::new(
                "500m CPU and 1Gi memory requested, 4Gi memory at most",
                "no profile is named; this fits a small model on any node: name a ResourceProfile for more",
            ));
            let requests = [("cpu", quantity("500m")), ("memory", quantity("1Gi"))];
            HardwarePart {
                resources: requirements(requests, [("memory", quantity("4Gi"))]),
                node_selector: None,
                tolerations: None,
                claim: None,
            }
        }
        Hardware::Profile { name, cpu, memory, gpu, counted_by, node_selector, tolerations } => {
            decisions.push(Decision::new(
                format!("{} CPU requested, {} memory requested and at most", cpu.0, memory.0),
                format!("ResourceProfile {name} says so; CPU has no limit, so that idle cores are used"),
            ));
            // More threads than cores asked for would only wait for each other on a full node.
            if let Some(threads) = hardware.threads() {
                decisions.push(Decision::new(format!("{threads} threads"), "the profile's CPU is whole"));
            }
            let mut requests = vec![("cpu", cpu.clone()), ("memory", memory.clone())];
            let mut limits = vec![("memory", memory.clone())];
            let mut node_selector = node_selector.clone();
            let mut tolerations = tolerations.clone();
            let template = gpu.as_ref().and_then(|gpu| claims::asked(owner, gpu)).map(|(name, _)| name);
            if let Some(gpu) = gpu {
                if let Device::Resource(resource) = gpu.device() {
                    requests.push((resource, quantity(&gpu.count.to_string())));
                    limits.push((resource, quantity(&gpu.count.to_string())));
                }
                place_on_gpu(gpu, (name, *counted_by), &mut node_selector, &mut tolerations, decisions);
            }
            if let Some(template) = &template {
                decisions.push(Decision::new(
                    format!("ResourceClaimTemplate {template}"),
                    "each pod gets a claim of its own by it, and a node where the scheduler finds the devices",
                ));
            }
            HardwarePart {
                resources: ResourceRequirements {
                    claims: template.as_ref().map(|_| vec![claims::of_container()]),
                    ..requirements(requests, limits)
                },
                claim: template.map(claims::of_pod),
                node_selector: Some(node_selector).filter(|labels| !labels.is_empty()),
                tolerations: Some(tolerations).filter(|taints| !taints.is_empty()),
            }
        }
    }
}

pub(super) fn requirements<'a>(
    requests: impl IntoIterator<Item = (&'a str, Quantity)>,
    limits: impl IntoIterator<Item = (&'a str, Quantity)>,
) -> ResourceRequirements {
    let map = |pairs: &mut dyn Iterator<Item = (&'a str, Quantity)>| {
        Some(pairs.map(|(name, amount)| (name.to_owned(), amount)).collect())
    };
    ResourceRequirements {
        requests: map(&mut requests.into_iter()),
        limits: map(&mut limits.into_iter()),
        claims: None,
    }
}

/// GPU nodes carry a taint to keep other pods away.
pub(super) fn gpu_toleration() -> Toleration {
    Toleration {
        key: Some(GPU_TAINT.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    }
}

fn place_on_gpu(
    gpu: &Gpu,
    (profile, counted_by): (&str, CountedBy),
    node_selector: &mut BTreeMap<String, String>,
    tolerations: &mut Vec<Toleration>,
    decisions: &mut Vec<Decision>,
) {
    let Gpu { resource: _, device_class: _, selectors: _, count, product, memory: _ } = gpu;
    let from = match counted_by {
        CountedBy::Spec => "resources.gpus sets the count".to_owned(),
        CountedBy::Weights => "resources.gpus is auto, and as many hold the model".to_owned(),
        CountedBy::Profile => format!("ResourceProfile {profile} says so"),
    };
    decisions.push(Decision::new(format!("{count} of {}", gpu.device()), from));
    let flags = if *count > 1 {
        format!("--device=cuda and --tensor-parallel={count}")
    } else {
        "--device=cuda".to_owned()
    };
    decisions.push(Decision::new(flags, of_gpus(*count)));
    if let Some(product) = product {
        node_selector.insert(GPU_PRODUCT_LABEL.to_owned(), product.clone());
        decisions.push(Decision::new(
            format!("only nodes with {GPU_PRODUCT_LABEL}={product}"),
            format!("ResourceProfile {profile} names the product"),
        ));
    }
    let standard = gpu_toleration();
    if !tolerations.contains(&standard) {
        decisions.push(Decision::new(
            format!("tolerates the taint {GPU_TAINT}:NoSchedule"),
            "GPU nodes carry it to keep other pods away",
        ));
        tolerations.push(standard);
    }
}
