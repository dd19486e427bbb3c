//! The node's network: one bridge that holds pods, and routes that let nothing out.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

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

/// Removes the bridge, with its routes, and kube-proxy's tables. True if there was something.
pub fn remove() -> bool {
    let mut found = output("ip", &["link", "delete", BRIDGE]).is_ok();
    for family in ["ip", "ip6"] {
        found |= output("nft", &["delete", "table", family, "kube-proxy"]).is_ok();
    }
    found
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
