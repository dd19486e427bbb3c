//! The signs of life of simulated nodes, for a cluster that watches for them.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::testbed::nodes::NAME_PREFIX;

/// As a kubelet does it: a lease of 40 s, renewed every 10 s.
const PERIOD: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;

/// Renews the lease of every simulated node until its future is dropped.
pub async fn run(client: Client) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = renew(&client).await {
            warn!(%error, "simulated nodes gave no sign of life");
        }
    }
}

async fn renew(client: &Client) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.name_any();
        if !name.starts_with(NAME_PREFIX) {
            continue;
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            // It goes with its node.
            "metadata": {"name": name, "ownerReferences": [node.owner_ref(&())]},
            "spec": {
                "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(Timestamp::now()),
            },
        });
        leases.patch(&name, &PatchParams::apply("testbed").force(), &Patch::Apply(&lease)).await?;
    }
    Ok(())
}
