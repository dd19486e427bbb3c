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
/// Hash of the pod template that a Deployment, or the record of a past one, was made from.
pub const REVISION: &str = "serving.weighbridge.dev/revision";

/// Annotation on the Deployment of a revision: the part of the spec that makes it, as JSON.
pub const MADE_FROM: &str = "serving.weighbridge.dev/made-from";

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

/// Name of the Secret with the certificate of a ModelDeployment's engines.
pub fn engine_certificate(model_deployment: &str) -> String {
    format!("{model_deployment}-engine-certificate")
}

/// Name of the Secret with the certificate of an ExternalProvider's proxy.
pub fn proxy_certificate(external_provider: &str) -> String {
    format!("{external_provider}-proxy-certificate")
}
