//! Simulated nodes: Node objects as a kubelet and GPU feature discovery would have written them.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// Every simulated node's name begins with this: the simulated kubelet knows its own by it.
pub const NAME_PREFIX: &str = "simulated-";
/// Label and taint of nodes that only one namespace may use.
pub const POOL: &str = "testbed.weighbridge.dev/pool";
/// The taint that clouds put on GPU nodes, so that only pods which tolerate it come there.
pub const GPU_TAINT: &str = "nvidia.com/gpu";

/// A card, with the figures that GPU feature discovery reports for it.
#[derive(Debug, Clone, Copy)]
pub struct Gpu {
    /// `nvidia.com/gpu.product`
    pub product: &'static str,
    /// `nvidia.com/gpu.memory`, MiB
    pub memory_mib: u32,
    /// `nvidia.com/gpu.family`
    pub family: &'static str,
    /// `nvidia.com/gpu.compute.major` and `.minor`
    pub compute: (u8, u8),
}

/// A small card.
pub const L4: Gpu = Gpu { product: "NVIDIA-L4", memory_mib: 23034, family: "ada-lovelace", compute: (8, 9) };
/// A large card.
pub const H100: Gpu =
    Gpu { product: "NVIDIA-H100-80GB-HBM3", memory_mib: 81559, family: "hopper", compute: (9, 0) };

/// The labels that GPU feature discovery writes on a node with `count` cards.
pub(super) fn gpu_labels(gpu: Gpu, count: u32) -> [(String, String); 8] {
    [
        ("present", "true".to_owned()),
        ("product", gpu.product.to_owned()),
        ("memory", gpu.memory_mib.to_string()),
        ("count", count.to_string()),
        ("replicas", "1".to_owned()),
        ("family", gpu.family.to_owned()),
        ("compute.major", gpu.compute.0.to_string()),
        ("compute.minor", gpu.compute.1.to_string()),
    ]
    .map(|(key, value)| (format!("nvidia.com/gpu.{key}"), value))
}

/// What a simulated node is to look like.
#[derive(Debug, Clone)]
pub struct SimulatedNode {
    name: String,
    cpu: u32,
    memory_gib: u32,
    gpu: Option<(Gpu, u32)>,
    pool: Option<String>,
}

impl SimulatedNode {
    /// A node without a GPU: 64 CPUs, 256 GiB, 500 pods.
    pub fn new(name: &str) -> Self {
        Self { name: format!("{NAME_PREFIX}{name}"), cpu: 64, memory_gib: 256, gpu: None, pool: None }
    }

    /// Another size.
    pub fn sized(mut self, cpu: u32, memory_gib: u32) -> Self {
        (self.cpu, self.memory_gib) = (cpu, memory_gib);
        self
    }

    /// With `count` cards, and the taint that keeps other pods away.
    pub fn with_gpus(mut self, gpu: Gpu, count: u32) -> Self {
        self.gpu = Some((gpu, count));
        self
    }

    /// For one namespace only.
    pub(super) fn in_pool(mut self, namespace: &str) -> Self {
        self.name = format!("{NAME_PREFIX}{namespace}-{}", self.name.trim_start_matches(NAME_PREFIX));
        self.pool = Some(namespace.to_owned());
        self
    }

    /// The Node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), self.name.clone()),
            ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ]);
        if let Some((gpu, count)) = self.gpu {
            labels.extend(gpu_labels(gpu, count));
        }
        if let Some(pool) = &self.pool {
            labels.insert(POOL.to_owned(), pool.clone());
        }
        labels
    }

    /// Creates the node, or brings an existing one of that name back to this shape.
    pub async fn create(&self, client: &Client) -> Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": self.name, "labels": self.labels()},
        }))?;
        match nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            other => drop(other?),
        }
        let mut size = BTreeMap::from([
            ("cpu", self.cpu.to_string()),
            ("memory", format!("{}Gi", self.memory_gib)),
            ("ephemeral-storage", "1Ti".to_owned()),
            ("pods", "500".to_owned()),
        ]);
        if let Some((_, count)) = self.gpu {
            size.insert("nvidia.com/gpu", count.to_string());
        }
        let now = k8s_openapi::jiff::Timestamp::now();
        let status = json!({"status": {
            "capacity": size, "allocatable": size,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "simulated kubelet is posting ready status",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.34.4",
                "containerRuntimeVersion": "simulated://1", "kernelVersion": "", "osImage": "simulated",
                "bootID": "", "machineID": "", "systemUUID": "", "kubeProxyVersion": "",
            },
        }});
        let params = PatchParams::default();
        nodes.patch_status(&self.name, &params, &Patch::Merge(&status)).await?;
        // Admission taints every new node "not ready"; the controller that lifts it is not running.
        let mut taints = Vec::new();
        if self.gpu.is_some() {
            taints.push(json!({"key": GPU_TAINT, "value": "present", "effect": "NoSchedule"}));
        }
        if let Some(pool) = &self.pool {
            taints.push(json!({"key": POOL, "value": pool, "effect": "NoSchedule"}));
        }
        let spec = json!({"metadata": {"labels": self.labels()}, "spec": {"taints": taints}});
        nodes.patch(&self.name, &params, &Patch::Merge(&spec)).await?;
        Ok(())
    }

    /// Deletes the node; the pods on it go by the controller-manager's garbage collection.
    pub async fn delete(client: &Client, name: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        match nodes.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop).map_err(Into::into),
        }
    }
}
