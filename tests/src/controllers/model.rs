use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::labels;

/// A controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Ours.
    Weighbridge,
    /// KubeAI's.
    KubeAi,
}

impl Which {
    /// Its name, as its program and its figures have it.
    pub fn name(self) -> &'static str {
        match self {
            Which::Weighbridge => "weighbridge-operator",
            Which::KubeAi => "kubeai",
        }
    }

    /// Its kind of model.
    pub fn kind(self) -> ApiResource {
        let kind = match self {
            Which::Weighbridge => {
                GroupVersionKind::gvk("serving.weighbridge.dev", "v1alpha1", "ModelDeployment")
            }
            Which::KubeAi => GroupVersionKind::gvk("kubeai.org", "v1", "Model"),
        };
        ApiResource::from_gvk(&kind)
    }

    /// Its models in `namespace`.
    pub fn models(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.kind())
    }

    /// A model with one replica on CPUs, of weights in a hub, which nothing fetches here. Neither scales it by itself.
    pub fn model(self, number: usize) -> (String, Value) {
        let kind = self.kind();
        let spec = match self {
            Which::Weighbridge => {
                json!({"openWeights": {"source": "hf://org/repo/file.gguf"}, "replicas": 1})
            }
            Which::KubeAi => json!({"url": "hf://org/repo", "engine": "VLLM", "features": ["TextGeneration"],
                "resourceProfile": "cpu:1", "replicas": 1, "autoscalingDisabled": true}),
        };
        let name = format!("m{number}");
        let object = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec});
        (name, object)
    }

    /// Whether a model says that its replica is ready.
    pub fn is_ready(self, model: &DynamicObject) -> bool {
        let status = &model.data["status"];
        match self {
            Which::Weighbridge => status["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|at| at["type"] == "Ready" && at["status"] == "True")),
            Which::KubeAi => status["replicas"]["ready"] == 1,
        }
    }

    /// The name of the model that a pod is of.
    pub fn of_pod(self, pod: &Pod) -> Option<String> {
        let label = match self {
            Which::Weighbridge => labels::MODEL,
            Which::KubeAi => "model",
        };
        pod.labels().get(label).cloned()
    }
}

/// The name of the model that a child of ours is of.
pub fn of_child<K: ResourceExt>(child: &K) -> Option<String> {
    child.labels().get(labels::MODEL).cloned()
}
