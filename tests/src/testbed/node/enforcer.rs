//! What enforces NetworkPolicies: kube-router, as a firewall and nothing else.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tracing::warn;

use super::kubelet::NODE;
use super::network::output;
use crate::testbed::flags::{self, SERVICE_RANGE};
use crate::testbed::process::Process;
use crate::testbed::programs::Programs;

/// What its chains are called: of the whole machine, of a pod, of a policy.
const CHAINS: [&str; 3] = ["KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-"];
/// What its sets of addresses are called.
const SETS: [&str; 3] = ["KUBE-SRC-", "KUBE-DST-", "TMP-"];

/// Starts it. The node has to be there.
pub fn start(programs: &Programs, folder: &Path) -> Result<Process> {
    let arguments = [
        "--run-firewall=true".to_owned(),
        "--run-router=false".to_owned(),
        "--run-service-proxy=false".to_owned(),
        "--enable-cni=false".to_owned(),
        format!("--kubeconfig={}", flags::kubeconfig(folder).display()),
        format!("--hostname-override={NODE}"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        // Nobody asks it, and a port is one more thing to collide on.
        "--health-port=0".to_owned(),
    ];
    Process::start("kube-router", &programs.kube_router()?, &arguments, &folder.join("logs"))
}

/// Whether what passes between pods passes its rules.
pub fn stands() -> bool {
    output("iptables", &["--list-rules", "FORWARD"]).is_ok_and(|rules| rules.contains(CHAINS[0]))
}

/// Removes its chains and sets, as far as they are there, and nobody else's.
pub fn remove() {
    for step in [remove_chains, remove_table, remove_sets] {
        if let Err(error) = step() {
            warn!(%error, "something of the enforcer was left behind");
        }
    }
}

fn remove_chains() -> Result<()> {
    let saved = output("iptables-save", &["--table", "filter"])?;
    let script = undoing(&saved);
    if script.is_empty() {
        return Ok(());
    }
    let mut restore = Command::new("iptables-restore")
        .args(["--wait", "--noflush"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run iptables-restore")?;
    restore.stdin.take().context("its input")?.write_all(script.as_bytes())?;
    let output = restore.wait_with_output()?;
    if !output.status.success() {
        bail!("iptables-restore: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// What takes its own rules out of a saved table, for `iptables-restore`; nothing where it has none. Pure.
fn undoing(saved: &str) -> String {
    let ours = |chain: &str| CHAINS.iter().any(|prefix| chain.starts_with(prefix));
    let jumps = saved.lines().filter_map(|line| {
        let rule = line.strip_prefix("-A ")?;
        let (chain, target) = (rule.split(' ').next()?, rule.split(" -j ").nth(1)?);
        (!ours(chain) && ours(target)).then(|| format!("-D {rule}\n"))
    });
    let chains = saved.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    let chains: Vec<&str> = chains.filter(|chain| ours(chain)).collect();
    // All are emptied before one goes, for they name one another.
    let emptied = chains.iter().map(|chain| format!("-F {chain}\n"));
    let removed = chains.iter().map(|chain| format!("-X {chain}\n"));
    let lines: String = jumps.chain(emptied).chain(removed).collect();
    if lines.is_empty() { lines } else { format!("*filter\n{lines}COMMIT\n") }
}

/// The table itself, which was made for it, where nothing is left in it that does anything.
fn remove_table() -> Result<()> {
    let saved = output("iptables-save", &["--table", "filter"])?;
    let idle = |line: &str| line.starts_with(['#', '*']) || line == "COMMIT" || line.contains(" ACCEPT [");
    let version = output("iptables", &["--version"])?;
    let idles = !saved.is_empty() && saved.lines().all(idle) && version.contains("nf_tables");
    // Of a table that is not there `iptables-save` says what it would be.
    if idles && output("nft", &["list", "tables"])?.lines().any(|line| line == "table ip filter") {
        output("nft", &["delete", "table", "ip", "filter"])?;
    }
    Ok(())
}

fn remove_sets() -> Result<()> {
    let names = output("ipset", &["list", "-name"])?;
    for name in names.lines().filter(|name| SETS.iter().any(|prefix| name.starts_with(prefix))) {
        output("ipset", &["destroy", name])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_rules_go_and_nobody_elses() {
        let saved = r#"# Generated
*filter
:INPUT ACCEPT [12:3456]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-POD-FW-ABC - [0:0]
-A FORWARD -m comment --comment "kube-router netpol - X" -j KUBE-ROUTER-FORWARD
-A FORWARD -j DOCKER
-A KUBE-ROUTER-FORWARD -d 10.244.0.2/32 -j KUBE-POD-FW-ABC
COMMIT
"#;
        let expected = "*filter\n\
            -D FORWARD -m comment --comment \"kube-router netpol - X\" -j KUBE-ROUTER-FORWARD\n\
            -F KUBE-ROUTER-FORWARD\n-F KUBE-POD-FW-ABC\n-X KUBE-ROUTER-FORWARD\n-X KUBE-POD-FW-ABC\nCOMMIT\n";
        assert_eq!(undoing(saved), expected);
        assert_eq!(undoing("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DOCKER\nCOMMIT\n"), "");
    }
}
