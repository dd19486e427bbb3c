use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weighbridge_crds::labels;

use super::super::engine_pod::{
    CACHE_FOLDER, CACHE_VOLUME, gpu_toleration, located_flags, requirements, weights,
};
use super::super::inspection::LAST_WORDS;
use super::super::{Decision, Images, Revision, names, pod};
use crate::owner::Owner;
use crate::validate::Located;

/// Pods of one Job after the first that failed: what is wrong with a line or a hub for a moment passes meanwhile.
const MORE_TRIES: i32 = 2;

/// Where a cache keeps what it has.
#[derive(Clone, Copy)]
pub(super) struct Store<'a> {
    pub owner: &'a Owner,
    pub claim: &'a str,
}

/// Folder of a cache on its claim: a claim may hold other things, and other caches.
pub(in super::super) fn store_folder(mounted_at: &str, cache: &str) -> String {
    format!("{mounted_at}/weighbridge/{cache}")
}

/// A Job that fetches, and what stands for its pod template.
pub(super) struct FetchJob {
    pub job: Job,
    pub made_from: String,
}

/// The Job that fetches `located` as the entry called `name`.
pub(super) fn fetch(
    store: &Store<'_>,
    name: &str,
    located: &Located,
    failures: i32,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> FetchJob {
    let mut ignored = Vec::new();
    let open = located.open();
    let mut part = weights(open, images, &mut ignored);
    // In place of a folder of the pod's own.
    for volume in part.volumes.iter_mut().filter(|volume| volume.name == CACHE_VOLUME) {
        *volume = claim_volume(store.claim);
    }
    let arguments = [
        vec!["fetch".to_owned()],
        located_flags(open, &part),
        vec![
            format!("--cache-folder={}", store_folder(CACHE_FOLDER, store.owner.name())),
            format!("--entry={name}"),
            format!("--admin-listen=0.0.0.0:{}", labels::ADMIN_PORT),
            format!("--output={LAST_WORDS}"),
        ],
    ]
    .concat();
    let part = PodPart { arguments, env: part.env, volumes: part.volumes, mounts: part.mounts };
    let mut template = template(store, "fetch", part, images, decisions);
    let made_from = Revision::of(&template).to_string();
    let mut own = names::cache_labels(store.owner, "fetch");
    own.insert(labels::CACHE_ENTRY.to_owned(), name.to_owned());
    template.metadata.get_or_insert_default().labels.get_or_insert_default().extend(own.clone());
    own.insert(labels::FAILURES.to_owned(), failures.to_string());
    own.insert(labels::REVISION.to_owned(), made_from.clone());
    let metadata = names::child(store.owner, labels::fetch_job(store.owner.name(), name), own);
    FetchJob { job: job(metadata, template), made_from }
}

/// The Job that takes `entries` out, and with them what is on the claim and none of `known`.
pub(super) fn evict(
    store: &Store<'_>,
    entries: &[String],
    known: &[&str],
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> Job {
    let mut arguments = vec![
        "evict".to_owned(),
        format!("--cache-folder={}", store_folder(CACHE_FOLDER, store.owner.name())),
        format!("--output={LAST_WORDS}"),
    ];
    arguments.extend(entries.iter().map(|entry| format!("--entry={entry}")));
    arguments.extend(known.iter().map(|entry| format!("--known={entry}")));
    let mount = VolumeMount {
        name: CACHE_VOLUME.to_owned(),
        mount_path: CACHE_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    let part =
        PodPart { arguments, env: None, volumes: vec![claim_volume(store.claim)], mounts: vec![mount] };
    let template = template(store, "evict", part, images, decisions);
    let own = names::cache_labels(store.owner, "evict");
    job(names::child(store.owner, labels::evict_job(store.owner.name()), own), template)
}

fn claim_volume(claim: &str) -> Volume {
    Volume {
        name: CACHE_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

struct PodPart {
    arguments: Vec<String>,
    env: Option<Vec<EnvVar>>,
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
}

fn template(
    store: &Store<'_>,
    component: &str,
    part: PodPart,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> PodTemplateSpec {
    let quantity = |text: &str| Quantity(text.to_owned());
    let PodPart { arguments, env, volumes, mounts } = part;
    let container = Container {
        name: component.to_owned(),
        image: Some(images.inference_server.clone()),
        image_pull_policy: Some(images.pull_policy.as_str().to_owned()),
        args: Some(arguments),
        env,
        ports: Some(vec![pod::admin_port()]),
        // A few ranges of some MiB, and what the kernel keeps of the file and gives back.
        resources: Some(requirements(
            [("cpu", quantity("100m")), ("memory", quantity("256Mi"))],
            [("memory", quantity("1Gi"))],
        )),
        volume_mounts: Some(mounts),
        security_context: Some(pod::container_security()),
        termination_message_path: Some(LAST_WORDS.to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::cache_labels(store.owner, component)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod::pod_security()),
            // A pod that failed stays as it is, with its last words, until its Job goes.
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(10),
            image_pull_secrets: images.references(decisions),
            containers: vec![container],
            volumes: Some(volumes),
            // A claim may be of a GPU node's own disk.
            tolerations: Some(vec![gpu_toleration()]),
            ..PodSpec::default()
        }),
    }
}

fn job(metadata: ObjectMeta, template: PodTemplateSpec) -> Job {
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(MORE_TRIES),
            completions: Some(1),
            parallelism: Some(1),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}
