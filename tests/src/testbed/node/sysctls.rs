//! Kernel settings that a kubelet changes for the whole machine: remembered, and put back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// What kubelet, kube-proxy and the bridge plugin write, as paths below /proc/sys.
const CHANGED: &[&str] = &[
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "net/ipv4/vs/conntrack",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Writes the present values to `file`.
pub fn remember(file: &Path) -> Result<()> {
    let values: BTreeMap<&str, String> = CHANGED
        .iter()
        .filter_map(|name| Some((*name, fs::read_to_string(path(name)).ok()?.trim().to_owned())))
        .collect();
    fs::write(file, serde_json::to_vec(&values)?)?;
    Ok(())
}

/// Puts back what `file` says; without the file there is nothing to put back.
pub fn restore(file: &Path) -> Result<()> {
    let Ok(text) = fs::read(file) else { return Ok(()) };
    let values: BTreeMap<String, String> = serde_json::from_slice(&text)?;
    for (name, value) in values {
        let path = path(&name);
        if fs::read_to_string(&path).is_ok_and(|present| present.trim() != value) {
            fs::write(&path, value)?;
        }
    }
    Ok(())
}

/// Lets netfilter see what passes between two pods on the bridge: the answer of a service that is a
/// pod beside the caller must come back by the rules that rewrote the call.
pub fn filter_bridged() {
    // Kernels that always filter there, or never, have no such setting.
    let _ = fs::write(path("net/bridge/bridge-nf-call-iptables"), "1");
}
