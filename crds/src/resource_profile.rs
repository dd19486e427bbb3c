use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What NVIDIA's device plugin calls a whole card.
const NVIDIA_GPU: &str = "nvidia.com/gpu";

/// A named slice of hardware that one replica gets.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "serving.weighbridge.dev",
    version = "v1alpha1",
    kind = "ResourceProfile",
    shortname = "rprof",
    category = "weighbridge",
    derive = "PartialEq",
    doc = "A named slice of hardware that one replica gets.",
    printcolumn(name = "CPU", type_ = "string", json_path = ".spec.cpu"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.memory"),
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".spec.gpu.count"),
    printcolumn(name = "Product", type_ = "string", json_path = ".spec.gpu.product"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("isQuantity(string(self.cpu)) && quantity(string(self.cpu)).isGreaterThan(quantity('0'))")
        .message("cpu is not a quantity above zero: write 4 or 500m")
        .field_path(".cpu"),
    validation = Rule::new("isQuantity(string(self.memory)) && quantity(string(self.memory)).isGreaterThan(quantity('0'))")
        .message("memory is not a quantity above zero: write 16Gi or 512Mi")
        .field_path(".memory")
)]
pub struct ResourceProfileSpec {
    /// CPU requested, and the engine's thread count when whole.
    pub cpu: Quantity,
    /// Memory requested and at most used.
    pub memory: Quantity,
    /// GPUs of one replica; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that a node may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

/// GPUs of one replica.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.resource) || self.resource.startsWith('nvidia.com/')")
        .message("gpu.resource is no NVIDIA card, and the engine computes on no other: write nvidia.com/gpu or a slice such as nvidia.com/mig-1g.10gb, or remove gpu")
        .field_path(".resource"),
    validation = Rule::new("!has(self.resource) || !has(self.deviceClass)")
        .message("gpu.resource is what a device plugin offers, and gpu.deviceClass what a DRA driver does: keep deviceClass where the cluster has such a driver, resource where it has not, and remove the other")
        .field_path(".deviceClass"),
    validation = Rule::new("!has(self.selectors) || has(self.deviceClass)")
        .message("gpu.selectors choose among the devices of a class: name that in gpu.deviceClass, or remove selectors")
        .field_path(".selectors"),
    validation = Rule::new("!has(self.memory) || (isQuantity(string(self.memory)) && quantity(string(self.memory)).isGreaterThan(quantity('0')))")
        .message("gpu.memory is not a quantity above zero: write 80Gi, or 81559Mi as the node label nvidia.com/gpu.memory has it in MiB")
        .field_path(".memory")
)]
pub struct Gpu {
    /// Extended resource that the device plugin offers: NVIDIA's cards, or slices of them (`nvidia.com/mig-1g.10gb`).
    /// Without it and `deviceClass`: `nvidia.com/gpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 253), regex(pattern = r"^[-._a-z0-9]+/[-._A-Za-z0-9]+$"))]
    pub resource: Option<String>,
    /// In place of `resource`: the DeviceClass of a driver of dynamic resource allocation, such as NVIDIA's `gpu.nvidia.com`.
    /// Each pod claims its GPUs of it. Needs `resource.k8s.io/v1`: Kubernetes 1.34 or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub device_class: Option<String>,
    /// CEL expressions over a device of the class, of which every one must hold, such as
    /// `device.attributes['gpu.nvidia.com'].architecture == 'Hopper'`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 10240)))]
    pub selectors: Vec<String>,
    /// Number of GPUs.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,
    /// Value of the node label `nvidia.com/gpu.product`, as GPU feature discovery writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub product: Option<String>,
    /// Memory of one GPU, such as `80Gi`; the node label `nvidia.com/gpu.memory` has it in MiB (`81559Mi`). With it a model
    /// that does not fit is refused before it has a pod, and `resources.gpus` may be `auto`. A slice's name says it
    /// (`nvidia.com/mig-3g.40gb`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// What a GPU is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device<'a> {
    /// An extended resource, of a device plugin.
    Resource(&'a str),
    /// A DeviceClass, of a driver of dynamic resource allocation.
    Class(&'a str),
}

impl fmt::Display for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Resource(name) => f.write_str(name),
            Device::Class(name) => write!(f, "device class {name}"),
        }
    }
}

impl Gpu {
    /// What it is asked for by. A rule lets one of the two through.
    pub fn device(&self) -> Device<'_> {
        match (&self.device_class, &self.resource) {
            (Some(class), _) => Device::Class(class),
            (None, Some(resource)) => Device::Resource(resource),
            (None, None) => Device::Resource(NVIDIA_GPU),
        }
    }

    /// Whether the engine can compute on it: the CEL rule, for profiles that an older CRD let through. Whose devices are in a
    /// class, its name does not say.
    pub fn is_nvidia(&self) -> bool {
        match self.device() {
            Device::Resource(name) => name.starts_with("nvidia.com/"),
            Device::Class(_) => true,
        }
    }
}

fn one() -> i32 {
    1
}
