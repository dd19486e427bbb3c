//! The node's network: one bridge that holds pods, and routes that let nothing out.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tracing::warn;

use crate::testbed::flags::{POD_RANGE, SERVICE_RANGE};

/// The bridge's name.
pub const BRIDGE: &str = "wb-testbed0";
/// Its address: the pods' gateway, the node's own address, and where the apiserver listens.
pub const GATEWAY: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 244, 0, 1);
/// The part of the pod range that this only node hands out.
pub const POD_SUBNET: &str = "10.244.0.0/24";

/// Makes the bridge and its routes.
pub fn create() -> Result<()> {
    for range in [POD_RANGE, SERVICE_RANGE] {
        let routes = output("ip", &["-4", "route", "show", "root", range])?;
        ensure!(
            routes.trim().is_empty(),
            "this machine already has a route into {range}, which the testbed would take over: {routes}"
        );
    }
    output("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
    output("ip", &["address", "add", &format!("{GATEWAY}/24"), "dev", BRIDGE])?;
    output("ip", &["link", "set", BRIDGE, "up"])?;
    // The kernel looks for a route before kube-proxy's rules rewrite a service address. This one also
    // sees to it that a call to a service that is not there never leaves by the machine's own interface.
    output("ip", &["route", "add", SERVICE_RANGE, "dev", BRIDGE])?;
    Ok(())
}

/// Whether the bridge is there.
pub fn exists() -> bool {
    // Not /sys, which shows the network of whoever mounted it.
    let links = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    links.lines().any(|line| line.trim_start().starts_with(&format!("{BRIDGE}:")))
}

/// Removes the bridge, with its routes, and kube-proxy's tables, as far as they are there.
pub fn remove() {
    let tables = ["ip", "ip6"].map(|family| output("nft", &["delete", "table", family, "kube-proxy"]));
    let bridge = exists().then(|| output("ip", &["link", "delete", BRIDGE]));
    // A table is missing where kube-proxy did not come to start; a bridge that is there must go.
    drop(tables);
    if let Some(Err(error)) = bridge {
        warn!(%error, "the bridge was left behind");
    }
}

/// Runs a tool to its end and returns what it printed.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {} {}", arguments.join(" "), output.status, words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
