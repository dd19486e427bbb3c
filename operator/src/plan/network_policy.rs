use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weighbridge_crds::{ProviderKind, labels};

use super::names::{self, COMPONENT_KEY, Labels};
use super::{Decision, Images};
use crate::validate::{BaseUrl, ValidatedProvider};

/// IPv4 ranges that are not public: this-network, private, carrier NAT, loopback, link-local with cloud metadata,
/// protocol assignments, benchmarking, multicast, reserved.
const NOT_PUBLIC_V4: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// IPv6 ranges that are not public, or that embed an IPv4 address: unspecified and loopback, translated (NAT64,
/// 6to4), unique local, link-local, multicast. Mapped addresses (`::ffff:0:0/96`) leave a host as IPv4, and the
/// apiserver does not take them for IPv6.
const NOT_PUBLIC_V6: [&str; 7] =
    ["::/127", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"];

/// Who may call the proxy, and whom it may call.
pub fn network_policy(
    provider: &ValidatedProvider,
    name: String,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> NetworkPolicy {
    let owner = &provider.owner;
    decisions.push(Decision::new(
        format!(
            "only gateway pods of namespace {} and operator pods of namespace {} may call the proxy",
            images.gateway_namespace, images.operator_namespace
        ),
        "whoever else reached it would use the key round policy and metering; the operator asks how things stand; the admin \
         port stays open to scrapers",
    ));
    let selector = |labels: Labels| LabelSelector { match_labels: Some(labels), match_expressions: None };
    let pods = |namespace: &String, component: &str| NetworkPolicyPeer {
        namespace_selector: Some(selector(Labels::from([(
            "kubernetes.io/metadata.name".to_owned(),
            namespace.clone(),
        )]))),
        pod_selector: Some(selector(Labels::from([(COMPONENT_KEY.to_owned(), component.to_owned())]))),
        ip_block: None,
    };
    let callers =
        vec![pods(&images.gateway_namespace, "gateway"), pods(&images.operator_namespace, "operator")];
    NetworkPolicy {
        metadata: names::child(owner, name, names::provider_labels(owner)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(names::provider_selector(owner))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    from: Some(callers),
                    ports: Some(vec![port(labels::SERVING_PORT, "TCP")]),
                },
                NetworkPolicyIngressRule { from: None, ports: Some(vec![port(labels::ADMIN_PORT, "TCP")]) },
            ]),
            egress: Some(vec![dns(), api(provider, decisions)]),
        }),
    }
}

/// Cluster DNS sits at other addresses everywhere, node-local ones among them, so any address may be asked.
pub(super) fn dns() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: None, ports: Some(vec![port(53, "UDP"), port(53, "TCP")]) }
}

fn api(provider: &ValidatedProvider, decisions: &mut Vec<Decision>) -> NetworkPolicyEgressRule {
    if provider.allow_private {
        let mut numbers = vec![provider.base_url.as_ref().map_or(443, BaseUrl::port)];
        // A service account's token comes from a host of its own.
        if provider.kind == ProviderKind::Vertex && !numbers.contains(&443) {
            numbers.push(443);
        }
        let said: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        decisions.push(Decision::new(
            format!("the proxy may reach any address on {}", said.join(" and ")),
            "allowPrivate is true, so the server may have a private address; the proxy itself pins the host",
        ));
        let ports = numbers.into_iter().map(|number| port(number, "TCP")).collect();
        return NetworkPolicyEgressRule { to: None, ports: Some(ports) };
    }
    decisions.push(Decision::new(
        "the proxy may reach public addresses on 443, and DNS",
        "the provider is public; private, link-local and metadata ranges are where a stolen name would lead",
    ));
    let block = |cidr: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except.iter().map(|range| (*range).to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", &NOT_PUBLIC_V4), block("::/0", &NOT_PUBLIC_V6)]),
        ports: Some(vec![port(443, "TCP")]),
    }
}

pub(super) fn port(number: u16, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
