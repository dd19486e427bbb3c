use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use url::Url;
use weighbridge_crds::labels;

use super::super::network_policy::{dns, port};
use super::super::{Decision, Images, names};
use crate::validate::{Open, ValidatedCache};

/// Where clouds answer for the credentials of a node, IPv4 and IPv6.
const METADATA: [(&str, &str); 2] = [("0.0.0.0/0", "169.254.0.0/16"), ("::/0", "fe80::/10")];
/// Where hubs and the storage that they point at answer.
const HTTPS: u16 = 443;

/// Whom the Jobs of a cache may call, and who may ask them how far they are. A hub may be anywhere: on the internet, or inside.
pub(super) fn policy(
    valid: &ValidatedCache,
    images: &Images,
    decisions: &mut Vec<Decision>,
) -> NetworkPolicy {
    let owner = &valid.owner;
    let mut ports = BTreeSet::from([HTTPS]);
    let located = valid.wanted.iter().filter_map(|wanted| wanted.located.as_ref().ok());
    let servers = located.map(|located| server(located.open()));
    let proxies = [&images.proxies.https_proxy, &images.proxies.http_proxy];
    let addresses = servers.chain(proxies.into_iter().flatten().map(String::as_str));
    ports.extend(addresses.filter_map(|address| Url::parse(address).ok()?.port_or_known_default()));
    let said: Vec<String> = ports.iter().map(ToString::to_string).collect();
    decisions.push(Decision::new(
        format!("its Jobs may reach any address but link-local ones on {}, and DNS", said.join(" and ")),
        "what is fetched may be on the internet or inside; link-local is where a cloud gives its nodes' credentials away",
    ));
    let block = |(cidr, except): (&str, &str)| NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.to_owned(), except: Some(vec![except.to_owned()]) }),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicy {
        metadata: names::child(
            owner,
            labels::cache_policy(owner.name()),
            names::cache_labels(owner, "cache"),
        ),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::cache_selector(owner)),
                match_expressions: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: None,
                ports: Some(vec![port(labels::ADMIN_PORT, "TCP")]),
            }]),
            egress: Some(vec![
                dns(),
                NetworkPolicyEgressRule {
                    to: Some(METADATA.map(block).into()),
                    ports: Some(ports.into_iter().map(|number| port(number, "TCP")).collect()),
                },
            ]),
        }),
    }
}

/// Where it is fetched from, as an address: that of a source names a port where it is another than usual.
fn server(open: &Open) -> &str {
    open.weights.revision_and_endpoint().1.unwrap_or(&open.source)
}
