use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{Gpu, ResourceProfile, Resources};

use super::{ModelReferences, Named, Place, Refusal};
use crate::quantity;

/// What GPU feature discovery calls the product of a node's cards by.
pub const GPU_PRODUCT_LABEL: &str = "nvidia.com/gpu.product";

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
        gpu: Option<Gpu>,
        /// Whether `resources.gpus` set the count.
        gpus_overridden: bool,
        /// Labels that a node must have.
        node_selector: BTreeMap<String, String>,
        /// Taints that a node may have.
        tolerations: Vec<Toleration>,
    },
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
            Hardware::Profile { gpu, .. } => gpu.as_ref(),
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
        (Some(gpu), count) => Some(Gpu { count: count.unwrap_or(gpu.count), ..gpu.clone() }),
    };
    if let (Some(gpu), Place::Machine) = (&gpu, place) {
        return Err(Refusal::invalid(format!(
            "openWeights.resources.profile {name:?} asks for {}, and `weighbridge up` places nothing: \
             it takes the GPU that this machine has, if any; name a profile without gpu",
            gpu.resource
        )));
    }
    if let Some(gpu) = gpu.as_ref().filter(|gpu| !gpu.is_nvidia()) {
        return Err(Refusal::invalid(format!(
            "ResourceProfile {name:?}: gpu.resource {:?} is no NVIDIA card, and the engine computes on no other: its \
             pods would hold the card and compute on the CPU; write nvidia.com/gpu or a slice such as \
             nvidia.com/mig-1g.10gb, or remove gpu",
            gpu.resource
        )));
    }
    if let Some(gpu) = &gpu {
        countable(gpu, name, gpus.is_some())?;
    }
    Ok(Hardware::Profile {
        name: name.clone(),
        cpu: spec.cpu.clone(),
        memory: spec.memory.clone(),
        gpu,
        gpus_overridden: gpus.is_some(),
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
    })
}

/// A count that makes sense: GPUs of one model add up through NCCL, which does not reach from slice to slice of a card, and
/// shares of a card are that card to the driver, which shows it once.
fn countable(gpu: &Gpu, profile: &str, overridden: bool) -> Result<(), Refusal> {
    let Gpu { resource, count, product: _ } = gpu;
    if *count < 1 {
        return Err(Refusal::invalid(format!("openWeights.resources.gpus is {count}: set 1 or more")));
    }
    let problem = if *count == 1 {
        return Ok(());
    } else if resource.ends_with(".shared") {
        format!(
            "several shares of a card ({resource}) give a model no more of it than one: set it to 1, or name a profile of \
             whole cards"
        )
    } else if resource.starts_with("nvidia.com/mig-") {
        format!(
            "slices of cards ({resource}) can't share a model: set it to 1, or name a profile of whole cards or of a \
             larger slice"
        )
    } else {
        return Ok(());
    };
    let field = if overridden {
        "openWeights.resources.gpus".to_owned()
    } else {
        format!("ResourceProfile {profile:?}: gpu.count")
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
            let (name, gpu, gpus_overridden) = ("p".to_owned(), None, false);
            Hardware::Profile { name, cpu, memory, gpu, gpus_overridden, node_selector, tolerations }
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
