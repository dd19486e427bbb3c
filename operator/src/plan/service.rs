use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weighbridge_crds::labels;

use super::names::{self, Labels};
use crate::owner::Owner;

/// The Service in front of `selector`'s pods. Its labels are mirrored to its EndpointSlices, where gateways read them.
pub fn service(owner: &Owner, name: String, labels: Labels, selector: Labels) -> Service {
    let port = |name: &str, port: u16| ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: names::child(owner, name, labels),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(vec![
                port(labels::SERVING_PORT_NAME, labels::SERVING_PORT),
                port(labels::ADMIN_PORT_NAME, labels::ADMIN_PORT),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
