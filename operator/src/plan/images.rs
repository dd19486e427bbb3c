use k8s_openapi::api::core::v1::LocalObjectReference;

use super::{Bounds, Decision, Proxies};

/// What the operator was started with and every plan leans on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Image of the open-weights server.
    pub inference_server: String,
    /// Image of the gateway, which is also the provider proxy.
    pub gateway: String,
    /// When a node pulls them.
    pub pull_policy: PullPolicy,
    /// Secrets for pulling them, by name, in the namespace of each pod.
    pub pull_secrets: Vec<String>,
    /// Namespace of the gateway's pods: only they may call a provider through its proxy.
    pub gateway_namespace: String,
    /// Namespace of the operator's pods, which ask a proxy how things stand.
    pub operator_namespace: String,
    /// What engines and proxies share with the gateways in front of them.
    pub bounds: Bounds,
    /// Proxies between engines and what they fetch.
    pub proxies: Proxies,
}

/// When a node pulls an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PullPolicy {
    /// Whenever a container starts.
    #[value(name = "Always")]
    Always,
    /// When the node does not have it.
    #[default]
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    /// Not at all: the node must have it.
    #[value(name = "Never")]
    Never,
}

impl PullPolicy {
    /// The policy as a pod has it.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

impl Images {
    /// `imagePullSecrets` of a pod. Absent where there are none, so that templates stay as they were without them.
    pub(super) fn references(&self, decisions: &mut Vec<Decision>) -> Option<Vec<LocalObjectReference>> {
        if self.pull_secrets.is_empty() {
            return None;
        }
        decisions.push(Decision::new(
            format!("images are pulled with Secret {}", self.pull_secrets.join(", ")),
            "the operator was told so; the kubelet looks for it in the pod's own namespace, so it must be there too",
        ));
        Some(self.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect())
    }
}
