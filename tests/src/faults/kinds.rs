/// One kind that the apiserver serves.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// As objects name it.
    pub kind: &'static str,
    /// Group and version, as objects name them.
    pub api_version: &'static str,
    /// As paths name it.
    pub plural: &'static str,
    /// Whether it is in namespaces.
    pub namespaced: bool,
    /// Whether its status is a subresource.
    pub status: bool,
}

const OURS: &str = "serving.weighbridge.dev/v1alpha1";

const fn kind(
    kind: &'static str,
    api_version: &'static str,
    plural: &'static str,
    namespaced: bool,
    status: bool,
) -> Kind {
    Kind { kind, api_version, plural, namespaced, status }
}

/// Every kind that the operator reads or writes.
pub const KINDS: [Kind; 17] = [
    kind("ModelDeployment", OURS, "modeldeployments", true, true),
    kind("ExternalProvider", OURS, "externalproviders", true, true),
    kind("ModelAccess", OURS, "modelaccesses", true, true),
    kind("ModelCache", OURS, "modelcaches", true, true),
    kind("ResourceProfile", OURS, "resourceprofiles", false, false),
    kind("Deployment", "apps/v1", "deployments", true, true),
    kind("ControllerRevision", "apps/v1", "controllerrevisions", true, false),
    kind("Service", "v1", "services", true, true),
    kind("Secret", "v1", "secrets", true, false),
    kind("Pod", "v1", "pods", true, true),
    kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", true, true),
    kind("Job", "batch/v1", "jobs", true, true),
    kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", true, false),
    kind("ResourceClaimTemplate", "resource.k8s.io/v1", "resourceclaimtemplates", true, false),
    kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", true, false),
    kind("Lease", "coordination.k8s.io/v1", "leases", true, false),
    kind("Event", "events.k8s.io/v1", "events", true, false),
];

impl Kind {
    /// By the word in objects.
    pub fn named(kind: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|known| known.kind == kind)
    }

    /// By its place in paths.
    pub fn at(api_version: &str, plural: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|known| known.api_version == api_version && known.plural == plural)
    }

    /// Whether a PUT makes it where nothing is.
    pub fn is_made_by_update(&self) -> bool {
        matches!(self.kind, "Service" | "Lease" | "Event")
    }

    /// Whether a PUT must say over which version.
    pub fn updates_name_versions(&self) -> bool {
        self.is_ours() || self.kind == "Lease"
    }

    /// Whether people write it and the operator its status alone.
    pub fn is_ours(&self) -> bool {
        self.api_version == OURS
    }
}
