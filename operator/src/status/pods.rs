use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::labels;

use crate::proxies::Heard;

/// Longest piece of a container's last words that a condition quotes.
const LAST_WORDS: usize = 512;

/// What the engine's image, or the system, says of a volume that is full.
const NO_SPACE: [&str; 2] = ["bytes free and the download needs", "No space left on device"];

/// Why the scheduler does not look at a pod: whoever set a gate, such as a queue, has not taken it away yet.
const GATED: &str = "SchedulingGated";

/// Something that stands in the way of a pod, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The condition's reason.
    pub reason: Reason,
    /// The scheduler's, kubelet's or container's own words.
    pub message: String,
}

/// Pods of one parent, as conditions see them.
#[derive(Clone, Debug)]
pub struct PodsView<'a> {
    /// Pods of every revision that are not on their way out.
    pub all: usize,
    revision: Option<&'a str>,
    current: Vec<&'a Pod>,
}

impl<'a> PodsView<'a> {
    /// Looks at `pods`, with `revision` as the current one.
    pub fn new(pods: &'a [Arc<Pod>], revision: Option<&'a str>) -> Self {
        let living: Vec<&Pod> = pods.iter().map(AsRef::as_ref).filter(|pod| is_living(pod)).collect();
        let is_current = |pod: &&Pod| {
            revision.is_some() && pod.labels().get(labels::REVISION).map(String::as_str) == revision
        };
        let mut current: Vec<&Pod> = living.iter().copied().filter(is_current).collect();
        // The same words for the same state, whatever order pods come in.
        current.sort_by_key(|pod| pod.name_any());
        PodsView { all: living.len(), revision, current }
    }

    /// Looks at `pod` alone.
    pub fn of(pod: &'a Pod) -> Self {
        PodsView { all: 1, revision: None, current: vec![pod] }
    }

    /// The current revision.
    pub fn revision(&self) -> Option<&'a str> {
        self.revision
    }

    /// Pods of the current revision, in the order of their names.
    pub fn current(&self) -> &[&'a Pod] {
        &self.current
    }

    /// Ready pods of the current revision.
    pub fn ready(&self) -> usize {
        self.answering().count()
    }

    /// The same pods.
    pub fn answering(&self) -> impl Iterator<Item = &'a Pod> {
        self.current.iter().copied().filter(|pod| is_ready(pod))
    }

    /// What the pods of the current revision were heard to say: a ready one's word before another's, and any word before
    /// none.
    pub fn heard(&self, heard: &HashMap<String, Heard>) -> Heard {
        let rank = |pod: &&&Pod, heard: &Heard| {
            (matches!(heard, Heard::Said(_)), matches!(heard, Heard::NotYet), is_ready(pod))
        };
        let words = self.current.iter().filter_map(|pod| Some((pod, heard.get(&pod.uid()?)?)));
        words.max_by_key(|(pod, heard)| rank(pod, heard)).map(|(_, heard)| heard.clone()).unwrap_or_default()
    }

    /// Pods of the current revision that have a node.
    pub fn placed(&self) -> usize {
        self.current
            .iter()
            .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
            .count()
    }

    /// Why a pod of the current revision has no node. What somebody holds back is told last: it waits for its turn.
    pub fn unplaced(&self) -> Option<Trouble> {
        let troubles = self.current.iter().filter_map(|pod| {
            let scheduled = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False")?;
            let message = scheduled.message.clone().unwrap_or_default();
            let reason = if scheduled.reason.as_deref() == Some(GATED) {
                Reason::Progressing
            } else if message.to_lowercase().contains("persistentvolumeclaim") {
                Reason::ClaimNotReady
            } else {
                Reason::InsufficientCapacity
            };
            Some(Trouble { reason, message })
        });
        troubles.min_by_key(|trouble| trouble.reason == Reason::Progressing)
    }

    /// Why a container of the current revision does not run. The gravest trouble is told.
    pub fn not_running(&self) -> Option<Trouble> {
        let troubles = self.current.iter().filter(|pod| !is_ready(pod));
        troubles
            .flat_map(|pod| containers(pod).filter_map(trouble).chain(silent(pod)))
            .min_by_key(|trouble| rank(trouble.reason))
    }
}

/// A failed pod, such as an evicted one, stays as a record; its Deployment has made another.
fn is_living(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether the kubelet says that it answers.
fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Names of those of `pods` that answer, whatever their revision.
pub fn answering(pods: &[Arc<Pod>]) -> impl Iterator<Item = &str> {
    let answering = pods.iter().filter(|pod| is_living(pod) && is_ready(pod));
    answering.filter_map(|pod| pod.metadata.name.as_deref())
}

pub(super) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    init.iter().chain(main)
}

/// Lower is told first: what people must mend before what may mend itself.
fn rank(reason: Reason) -> u8 {
    match reason {
        Reason::OutOfMemory => 0,
        Reason::DigestMismatch | Reason::SignatureInvalid => 1,
        Reason::DownloadFailed => 2,
        Reason::NoSpace => 3,
        Reason::CrashLoop => 4,
        Reason::ContainerRefused => 5,
        Reason::ImagePull => 6,
        Reason::NodeSilent => 7,
        // Nothing that a container says.
        Reason::Valid
        | Reason::InvalidSpec
        | Reason::ResourceProfileNotFound
        | Reason::ProviderNotFound
        | Reason::ModelCacheNotFound
        | Reason::SecretNotFound
        | Reason::SecretsForbidden
        | Reason::ArtifactHeld
        | Reason::ChildNotOwned
        | Reason::ChildRefused
        | Reason::PodsRefused
        | Reason::ClaimNotReady
        | Reason::PodsScheduled
        | Reason::InsufficientCapacity
        | Reason::Progressing
        | Reason::WaitingForOldPods
        | Reason::RolloutComplete
        | Reason::CanaryProgressing
        | Reason::CanaryPaused
        | Reason::RolloutAborted
        | Reason::ScaledToZero
        | Reason::Suspended
        | Reason::NotSuspended
        | Reason::EngineAnswering
        | Reason::Routed
        | Reason::AwaitingGateways
        | Reason::GatewaysUnheard
        | Reason::NoGateway
        | Reason::ProxyAnswering
        | Reason::ProxyNotReady
        | Reason::StateUnknown
        | Reason::NotProven
        | Reason::CredentialsAccepted
        | Reason::CredentialsInvalid
        | Reason::QuotaLeft
        | Reason::RateLimited
        | Reason::QuotaExhausted
        | Reason::ModelsListed
        | Reason::ModelsNotListed
        | Reason::ModelNotFound
        | Reason::ModelRetiring
        | Reason::ModelsFound
        | Reason::KeysCurrent
        | Reason::KeyEnded
        | Reason::RegionKept
        | Reason::RegionMismatch
        | Reason::ProviderAnswering
        | Reason::ProviderUnreachable
        | Reason::Serving => 8,
    }
}

/// Whether the pod's node has stopped reporting. Kubernetes then takes the pod's readiness, while the containers stay as the
/// kubelet saw them last.
fn silent(pod: &Pod) -> Option<Trouble> {
    let unready = condition(pod, "Ready").is_some_and(|ready| ready.status != "True");
    let status = pod.status.as_ref()?.container_statuses.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let all_ready = !status.is_empty() && status.iter().all(|container| container.ready);
    (unready && all_ready).then(|| Trouble {
        reason: Reason::NodeSilent,
        message: format!("node {node} of pod {} has stopped reporting", pod.name_any()),
    })
}

fn trouble(container: &ContainerStatus) -> Option<Trouble> {
    let state = container.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let before = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = waiting {
        let message = waiting.message.clone().unwrap_or_default();
        return match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some(Trouble {
                reason: Reason::ImagePull,
                message: format!("image {} could not be pulled: {message}", container.image),
            }),
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PostStartHookError" => Some(Trouble {
                reason: Reason::ContainerRefused,
                message: format!("the kubelet could not make the container: {message}"),
            }),
            _ => before.map(ended),
        };
    }
    let now = state.and_then(|state| state.terminated.as_ref());
    now.or(before.filter(|_| !container.ready)).map(ended)
}

fn ended(terminated: &ContainerStateTerminated) -> Trouble {
    let words = last_words(terminated.message.as_deref().unwrap_or_default());
    if terminated.reason.as_deref() == Some("OOMKilled") {
        return Trouble {
            reason: Reason::OutOfMemory,
            message: "the kernel ended the container because it used more memory than its limit: \
                      name a ResourceProfile with more memory, or lower contextLength or maxSequences"
                .to_owned(),
        };
    }
    // The engine's own words, as `weighbridge-inference-server` ends with them.
    let reason = if words.contains("signature: ") {
        Reason::SignatureInvalid
    } else if words.contains("digest: ") {
        Reason::DigestMismatch
    } else if NO_SPACE.iter().any(|said| words.contains(said)) {
        Reason::NoSpace
    } else if words.contains("can't fetch ") {
        Reason::DownloadFailed
    } else {
        Reason::CrashLoop
    };
    let said = if words.is_empty() { "without a word".to_owned() } else { format!("and said: {words}") };
    Trouble { reason, message: format!("the container ended with code {} {said}", terminated.exit_code) }
}

/// What was said last, on a line: the program's own error where it named one, else the end.
fn last_words(message: &str) -> String {
    let error = message.rmatch_indices("Error: ").find(|(at, _)| *at == 0 || message[..*at].ends_with('\n'));
    let text = error.map_or(message, |(at, _)| &message[at..]);
    let text = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ");
    if error.is_some() {
        return text.chars().take(LAST_WORDS).collect();
    }
    let start = text.len().saturating_sub(LAST_WORDS);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[start..].to_owned()
}
