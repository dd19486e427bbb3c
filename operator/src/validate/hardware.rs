use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{Device, Gpu, GpuCount, ResourceProfile, Resources};

use super::{ModelReferences, Named, Place, Refusal};
use crate::quantity;

/// What GPU feature discovery calls the product of a node's cards by.
pub const GPU_PRODUCT_LABEL: &str = "nvidia.com/gpu.product";
/// What resources that are slices of a card begin with.
const SLICE: &str = "nvidia.com/mig-";
/// What NVIDIA's driver of dynamic resource allocation calls the class of slices.
const SLICE_CLASS: &str = "mig.nvidia.com";
/// The most devices of one claim, by Kubernetes' own API.
const MOST_CLAIMED: i32 = 32;

/// What each replica runs on.
#[derive(Clone, Debug, PartialEq)]
pub enum Hardware {
    /// No profile is named.
    Unnamed,
    /// A ResourceProfile, with `resources.gpus` put in.
    Profile {
        /// Name of the ResourceProfile.
        name: String,
        /// CPU requested.
        cpu: Quantity,
        /// Memory requested and at most used.
        memory: Quantity,
        /// GPUs, with the count that holds.
        gpu: Option<Box<Gpu>>,
        /// What says how many GPUs there are.
        counted_by: CountedBy,
        /// Labels that a node must have.
        node_selector: BTreeMap<String, String>,
        /// Taints that a node may have.
        tolerations: Vec<Toleration>,
    },
}

/// What says how many GPUs a replica gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBy {
    /// The ResourceProfile.
    Profile,
    /// `resources.gpus`.
    Spec,
    /// The weights, as `resources.gpus: auto` asks for. Until their header is read the count is 1.
    Weights,
}

/// What people set for a card's memory, or a slice's name says. In bytes.
pub(super) fn memory_of(gpu: &Gpu) -> Option<u64> {
    match (&gpu.memory, gpu.device()) {
        (Some(memory), _) => quantity::bytes(memory),
        (None, Device::Resource(name)) => weighbridge_fit::memory_of_slice(name),
        (None, Device::Class(_)) => None,
    }
}

/// Whether several of it can't share a model: GPUs of one model add up through NCCL, which does not reach from slice to slice of
/// a card, and shares of a card are that card to the driver, which shows it once.
pub(super) fn is_part_of_a_card(gpu: &Gpu) -> bool {
    match gpu.device() {
        Device::Resource(name) => name.ends_with(".shared") || name.starts_with(SLICE),
        Device::Class(name) => name == SLICE_CLASS,
    }
}

impl Hardware {
    /// The profile's CPU as threads, where it is whole.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Hardware::Unnamed => None,
            Hardware::Profile { cpu, .. } => NonZeroUsize::new(usize::try_from(quantity::whole(cpu)?).ok()?),
        }
    }

    /// Labels that nodes are selected by.
    pub fn selected(&self) -> BTreeMap<String, String> {
        match self {
            Hardware::Unnamed => BTreeMap::new(),
            Hardware::Profile { node_selector, gpu, .. } => {
                let product = gpu.as_ref().and_then(|gpu| gpu.product.clone());
                let product = product.map(|product| (GPU_PRODUCT_LABEL.to_owned(), product));
                node_selector.clone().into_iter().chain(product).collect()
            }
        }
    }

    /// The GPUs of each replica.
    pub fn gpu(&self) -> Option<&Gpu> {
        match self {
            Hardware::Unnamed => None,
            Hardware::Profile { gpu, .. } => gpu.as_deref(),
        }
    }
}

/// What `resources` asks for, as far as `place` can give it.
pub(super) fn hardware(
    asked: &Resources,
    found: &ModelReferences,
    place: Place,
) -> Result<Hardware, Refusal> {
    let Resources { profile, gpus } = asked;
    let missing = |name: &str, words: &str| {
        let message = format!("openWeights.resources.profile names ResourceProfile {name:?}, which {words}");
        Err(Refusal::new(Reason::ResourceProfileNotFound, message))
    };
    let (name, profile) = match (profile, &found.profile) {
        (None, _) if gpus.is_none() => return Ok(Hardware::Unnamed),
        (None, _) => {
            return Err(Refusal::invalid(
                "openWeights.resources.gpus needs a profile that says which GPU: set openWeights.resources.profile",
            ));
        }
        (Some(name), Named::Found(profile)) => (name, profile),
        (Some(name), Named::Missing | Named::Unnamed) => {
            return missing(name, "does not exist: create it, or name one that `kubectl get rprof` lists");
        }
        (Some(name), Named::NotInFile) => return missing(name, "is not in the file: add it to the file"),
    };
    usable(profile)?;
    let spec = &profile.spec;
    let gpu = match (&spec.gpu, gpus) {
        (None, Some(_)) => {
            return Err(Refusal::invalid(format!(
                "openWeights.resources.gpus is set, but ResourceProfile {name:?} has no gpu: \
                 remove gpus, or name a profile with one"
            )));
        }
        (None, None) => None,
        (Some(gpu), None) => Some(gpu.clone()),
        (Some(gpu), Some(GpuCount::Count(count))) => Some(Gpu { count: *count, ..gpu.clone() }),
        (Some(gpu), Some(GpuCount::Auto)) if memory_of(gpu).is_none() && gpu.is_nvidia() => {
            return Err(Refusal::invalid(format!(
                "openWeights.resources.gpus is auto, and ResourceProfile {name:?} does not say how much memory a GPU has: set \
                 its gpu.memory, such as 80Gi, or set gpus to a number"
            )));
        }
        (Some(gpu), Some(GpuCount::Auto)) => Some(Gpu { count: 1, ..gpu.clone() }),
    };
    let counted_by = match gpus {
        None => CountedBy::Profile,
        Some(GpuCount::Count(_)) => CountedBy::Spec,
        Some(GpuCount::Auto) => CountedBy::Weights,
    };
    if let (Some(gpu), Place::Machine) = (&gpu, place) {
        return Err(Refusal::invalid(format!(
            "openWeights.resources.profile {name:?} asks for {}, and `weighbridge up` places nothing: \
             it takes the GPU that this machine has, if any; name a profile without gpu",
            gpu.device()
        )));
    }
    if let Some(gpu) = gpu.as_ref().filter(|gpu| !gpu.is_nvidia()) {
        return Err(Refusal::invalid(format!(
            "ResourceProfile {name:?}: gpu.resource \"{}\" is no NVIDIA card, and the engine computes on no other: its \
             pods would hold the card and compute on the CPU; write nvidia.com/gpu or a slice such as \
             nvidia.com/mig-1g.10gb, or remove gpu",
            gpu.device()
        )));
    }
    if let Some(gpu) = &gpu {
        countable(gpu, name, counted_by)?;
    }
    Ok(Hardware::Profile {
        name: name.clone(),
        cpu: spec.cpu.clone(),
        memory: spec.memory.clone(),
        gpu: gpu.map(Box::new),
        counted_by,
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
    })
}

/// A count that makes sense.
fn countable(gpu: &Gpu, profile: &str, counted_by: CountedBy) -> Result<(), Refusal> {
    let Gpu { resource: _, device_class: _, selectors: _, count, product: _, memory: _ } = gpu;
    if *count < 1 {
        return Err(Refusal::invalid(format!("openWeights.resources.gpus is {count}: set 1 or more")));
    }
    let device = gpu.device();
    let problem = match device {
        Device::Class(_) if *count > MOST_CLAIMED => {
            format!("a claim ({device}) has at most {MOST_CLAIMED} devices: set it to {MOST_CLAIMED} or less")
        }
        Device::Resource(_) | Device::Class(_) if *count == 1 || !is_part_of_a_card(gpu) => return Ok(()),
        Device::Resource(name) if name.ends_with(".shared") => format!(
            "several shares of a card ({device}) give a model no more of it than one: set it to 1, or name a profile of \
             whole cards"
        ),
        Device::Resource(_) | Device::Class(_) => format!(
            "slices of cards ({device}) can't share a model: set it to 1, or name a profile of whole cards or of a \
             larger slice"
        ),
    };
    let field = match counted_by {
        CountedBy::Spec | CountedBy::Weights => "openWeights.resources.gpus".to_owned(),
        CountedBy::Profile => format!("ResourceProfile {profile:?}: gpu.count"),
    };
    Err(Refusal::invalid(format!("{field} is {count}, and {problem}")))
}

/// The CRD says the same; with an older one the apiserver would refuse the pod later.
fn usable(profile: &ResourceProfile) -> Result<(), Refusal> {
    for (field, amount) in [("cpu", &profile.spec.cpu), ("memory", &profile.spec.memory)] {
        if quantity::nanos(amount).is_none_or(|size| size <= 0) {
            return Err(Refusal::invalid(format!(
                "ResourceProfile {:?}: {field} {:?} is not a quantity above zero: write 4, 500m or 16Gi",
                profile.name_any(),
                amount.0
            )));
        }
    }
    let memory = profile.spec.gpu.as_ref().and_then(|gpu| gpu.memory.as_ref());
    if let Some(memory) = memory.filter(|memory| quantity::bytes(memory).is_none_or(|bytes| bytes == 0)) {
        return Err(Refusal::invalid(format!(
            "ResourceProfile {:?}: gpu.memory {:?} is not a quantity above zero: write 80Gi",
            profile.name_any(),
            memory.0
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_cpus_are_threads_however_they_are_written() {
        let threads = |cpu: &str| {
            let (cpu, memory) = (Quantity(cpu.to_owned()), Quantity("1Gi".to_owned()));
            let (node_selector, tolerations) = (BTreeMap::new(), Vec::new());
            let (name, gpu, counted_by) = ("p".to_owned(), None, CountedBy::Profile);
            Hardware::Profile { name, cpu, memory, gpu, counted_by, node_selector, tolerations }
                .threads()
                .map(NonZeroUsize::get)
        };
        for (cpu, count) in [("4", 4), ("2000m", 2), ("2.0", 2), ("1k", 1000), ("2e0", 2), ("+3", 3)] {
            assert_eq!(threads(cpu), Some(count), "{cpu}");
        }
        for cpu in ["0", "500m", "1500m", "0.5", "-1", "many", ""] {
            assert_eq!(threads(cpu), None, "{cpu}");
        }
        assert_eq!(Hardware::Unnamed.threads(), None);
    }
}
