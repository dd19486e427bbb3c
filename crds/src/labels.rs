//! Labels, annotations and names that the operator writes and the gateway reads.

/// Value of `app.kubernetes.io/managed-by` on every child, and the field manager of every write.
pub const MANAGED_BY: &str = "weighbridge";
/// On an engine's Service, its EndpointSlices and its pods: the ModelDeployment's name.
pub const MODEL: &str = "serving.weighbridge.dev/model";
/// On pods and their Deployments: the ModelDeployment's UID. Children are selected by it, never by name.
pub const MODEL_UID: &str = "serving.weighbridge.dev/model-uid";
/// On a proxy's Service, its EndpointSlices and its pods: the ExternalProvider's name.
pub const PROVIDER: &str = "serving.weighbridge.dev/provider";
/// On a proxy's children: the ExternalProvider's UID.
pub const PROVIDER_UID: &str = "serving.weighbridge.dev/provider-uid";
/// On a pod that reads the header of a model's weights: the ModelDeployment's name. It is none of the model's pods.
pub const INSPECTED: &str = "serving.weighbridge.dev/inspected-model";
/// On such a pod: the ModelDeployment's UID.
pub const INSPECTED_UID: &str = "serving.weighbridge.dev/inspected-model-uid";
/// On everything made for a ModelCache: its name.
pub const CACHE: &str = "serving.weighbridge.dev/cache";
/// On everything made for a ModelCache: its UID.
pub const CACHE_UID: &str = "serving.weighbridge.dev/cache-uid";
/// On a Job that fetches into a ModelCache, and on its pods: the entry's name.
pub const CACHE_ENTRY: &str = "serving.weighbridge.dev/cache-entry";
/// On such a Job: how many before it failed in a row.
pub const FAILURES: &str = "serving.weighbridge.dev/failures";
/// Before the name of an entry, on engine pods that read it from a ModelCache. The value is the cache's name.
pub const HELD_PREFIX: &str = "held.serving.weighbridge.dev/";
/// Hash of the pod template that a Deployment, or the record of a past one, was made from.
pub const REVISION: &str = "serving.weighbridge.dev/revision";

/// Annotation on the Deployment of a revision: the part of the spec that makes it, as JSON.
pub const MADE_FROM: &str = "serving.weighbridge.dev/made-from";
/// Annotation on the Deployment of a revision on trial: the revision beside which it is tried. Promoted, it has none.
pub const CANARY_OF: &str = "serving.weighbridge.dev/canary-of";
/// Annotation that people put on a ModelDeployment, by `weighbridge promote`: what of its trial is passed ([`crate::Promotion`]).
pub const PROMOTE: &str = "serving.weighbridge.dev/promote";

/// Port, and its name, on which engines and proxies answer.
pub const SERVING_PORT: u16 = 8000;
/// Name of [`SERVING_PORT`].
pub const SERVING_PORT_NAME: &str = "http";
/// Port, and its name, for probes and metrics.
pub const ADMIN_PORT: u16 = 9090;
/// Name of [`ADMIN_PORT`].
pub const ADMIN_PORT_NAME: &str = "metrics";
/// Port on which gateways tell the operator what they route.
pub const GATEWAY_STATE_PORT: u16 = 8443;

/// Name of the Deployment of a revision of a ModelDeployment.
pub fn revision_deployment(model_deployment: &str, revision: &str) -> String {
    format!("{model_deployment}-{revision}")
}

/// Whether `pod` is of this revision of a ModelDeployment, by its name, which its Deployment's begins: no other label of a pod
/// comes to its EndpointSlices.
pub fn is_pod_of(pod: &str, model_deployment: &str, revision: &str) -> bool {
    let rest = pod.strip_prefix(model_deployment).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.strip_prefix(revision)).is_some_and(|rest| rest.starts_with('-'))
}

/// Name of the Service in front of a ModelDeployment's engine pods.
pub fn engine_service(model_deployment: &str) -> String {
    format!("{model_deployment}-engine")
}

/// Name of an ExternalProvider's proxy: its Deployment, Service and NetworkPolicy.
pub fn proxy(external_provider: &str) -> String {
    format!("{external_provider}-proxy")
}

/// Name of the pod that reads the header of a ModelDeployment's weights, for the settings that `inspection` stands for.
pub fn inspection_pod(model_deployment: &str, inspection: &str) -> String {
    format!("{model_deployment}-inspect-{inspection}")
}

/// Name of the claim that is made for a ModelCache.
pub fn cache_claim(model_cache: &str) -> String {
    format!("{model_cache}-cache")
}

/// Name of the policy around the Jobs of a ModelCache.
pub fn cache_policy(model_cache: &str) -> String {
    format!("{model_cache}-cache")
}

/// Name of the Job that fetches an entry of a ModelCache.
pub fn fetch_job(model_cache: &str, entry: &str) -> String {
    format!("{model_cache}-fetch-{entry}")
}

/// Name of the Job that takes entries out of a ModelCache.
pub fn evict_job(model_cache: &str) -> String {
    format!("{model_cache}-evict")
}

/// Name of the Secret with the certificate of a ModelDeployment's engines.
pub fn engine_certificate(model_deployment: &str) -> String {
    format!("{model_deployment}-engine-certificate")
}

/// Name of the Secret with the certificate of an ExternalProvider's proxy.
pub fn proxy_certificate(external_provider: &str) -> String {
    format!("{external_provider}-proxy-certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_of_the_revision_whose_deployment_made_it() {
        let pod = "m-0123456789-7d9f8b6c5-x2x4z";
        assert!(is_pod_of(pod, "m", "0123456789"));
        assert!(pod.starts_with(&revision_deployment("m", "0123456789")));
        for (model, revision) in
            [("m", "01234567"), ("m", "abcdef0123"), ("n", "0123456789"), ("m-0", "123456789")]
        {
            assert!(!is_pod_of(pod, model, revision), "{model} {revision}");
        }
        // Of a model whose name goes on where the other's ends.
        assert!(!is_pod_of("m-x-0123456789-7d9f8b6c5-x2x4z", "m", "0123456789"));
    }
}
