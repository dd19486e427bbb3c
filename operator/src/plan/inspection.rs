//! A pod that reads the header of a model's weights and ends: what hardware must hold is known before an engine has any.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::labels;
use weighbridge_fit::ModelFacts;

use super::engine_pod::{CACHE_FOLDER, described, gpu_toleration, requirements, weights};
use super::{ChildKind, Decision, Guard, Images, ObservedModel, Removal, fetching, names, pod};
use crate::owner::Owner;
use crate::validate::{Hardware, Open, Refusal};

/// Where the kubelet takes a container's last words from.
pub(super) const LAST_WORDS: &str = "/dev/termination-log";

/// A pod of ours that reads, or has read, a header.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// How far it is.
    pub state: InspectionState,
}

/// How far an inspection is.
#[derive(Clone, Debug, PartialEq)]
pub enum InspectionState {
    /// Its pod is made, or runs.
    Running,
    /// What the header says.
    Read(Box<ModelFacts>),
    /// What stands in its way, for now: the kubelet tries again.
    Troubled(Refusal),
    /// It has ended without a word, such as by eviction, and nobody tries again.
    Ended,
}

/// The pod that reads the header of `open` for what `inspection` stands for: restricted as an engine's, with the engine's image,
/// weights and token, and without a GPU.
pub(super) fn inspection_pod(
    owner: &Owner,
    open: &Open,
    inspection: &str,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> Pod {
    let name = labels::inspection_pod(owner.name(), inspection);
    // It is read from where the weights come from, also where a cache will hold them.
    let open = &Open { held: None, ..open.clone() };
    let part = weights(open, images, decisions);
    let told = [format!("--cache-folder={CACHE_FOLDER}"), format!("--output={LAST_WORDS}")];
    let arguments = [vec!["inspect".to_owned()], described(open, &part), told.into()].concat();
    let quantity = |text: &str| Quantity(text.to_owned());
    let container = Container {
        name: "inspect".to_owned(),
        image: Some(images.inference_server.clone()),
        image_pull_policy: Some(images.pull_policy.as_str().to_owned()),
        args: Some(arguments),
        env: part.env,
        // A header, its vocabulary and norms, which are bounded, and twice as much while they are read.
        resources: Some(requirements(
            [("cpu", quantity("100m")), ("memory", quantity("256Mi"))],
            [("memory", quantity("2Gi"))],
        )),
        volume_mounts: Some(part.mounts),
        security_context: Some(pod::container_security()),
        termination_message_path: Some(LAST_WORDS.to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    decisions.push(Decision::new(
        format!("Pod {name}, which reads the header of the weights and ends"),
        "the profile says how much memory a GPU has, and whether the model fits is known before an engine has one",
    ));
    Pod {
        metadata: names::child(owner, name, names::inspection_labels(owner)),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod::pod_security()),
            restart_policy: Some("OnFailure".to_owned()),
            termination_grace_period_seconds: Some(0),
            image_pull_secrets: fetching::pull_secrets(open, images, decisions),
            containers: vec![container],
            volumes: Some(part.volumes),
            tolerations: Some(tolerations(&open.hardware)),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Those of the engine: a claim may be of a GPU node's own disk.
fn tolerations(hardware: &Hardware) -> Vec<Toleration> {
    let mut all = match hardware {
        Hardware::Unnamed => Vec::new(),
        Hardware::Profile { tolerations, .. } => tolerations.clone(),
    };
    let standard = gpu_toleration();
    if !all.contains(&standard) {
        all.push(standard);
    }
    all
}

/// Why no engine pod is made yet, where the header is still to be read by the pod called `name`.
pub(super) fn waits(name: &str, inspections: &[Inspection]) -> Refusal {
    let found = inspections.iter().find(|inspection| inspection.name == name);
    match found.map(|found| &found.state) {
        Some(InspectionState::Troubled(trouble)) => Refusal::new(
            trouble.reason,
            format!(
                "the header of the weights can't be read, by which hardware is chosen: pod {name}: {}",
                trouble.message
            ),
        ),
        Some(InspectionState::Running | InspectionState::Read(_) | InspectionState::Ended) | None => {
            Refusal::new(
                Reason::Progressing,
                format!(
                    "pod {name} reads the header of the weights, by which hardware is chosen; engine pods come then"
                ),
            )
        }
    }
}

/// Pods that go: those whose word is in the status, those that ended without one, and those that nothing `waits` for.
pub(super) fn done(observed: &ObservedModel, waits: impl Fn(&Inspection) -> bool) -> Vec<Removal> {
    let why = |inspection: &Inspection| match &inspection.state {
        InspectionState::Ended => Some("it ended without a word"),
        InspectionState::Read(_) if observed.recorded.as_ref() == Some(&inspection.name) => {
            Some("the status has what it read")
        }
        InspectionState::Running | InspectionState::Read(_) | InspectionState::Troubled(_) => {
            (!waits(inspection)).then_some("nothing waits for what it reads")
        }
    };
    let removal = |inspection: &Inspection| {
        Some(Removal {
            kind: ChildKind::Pod,
            name: inspection.name.clone(),
            uid: inspection.uid.clone(),
            guard: Guard::SpecOnly,
            why: why(inspection)?.to_owned(),
        })
    };
    observed.inspections.iter().filter_map(removal).collect()
}
