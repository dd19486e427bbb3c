//! The container runtime, with everything it keeps in the testbed's folder.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::network::{BRIDGE, POD_SUBNET};
use crate::testbed::process::Process;

/// The image that holds each pod's namespaces.
const PAUSE: &str = "images.weighbridge.local/testbed/pause:1";
/// The network's name, by which its leftovers are known.
pub const NETWORK: &str = "weighbridge-testbed";

/// Where containerd listens.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

/// Starts containerd and waits until it answers.
pub async fn start(folder: &Path, logs: &Path) -> Result<Process> {
    let network = folder.join("cni");
    fs::create_dir_all(&network)?;
    fs::write(network.join("10-bridge.conflist"), serde_json::to_vec_pretty(&network_config(folder))?)?;
    let config = folder.join("containerd.toml");
    fs::write(&config, containerd_config(folder))?;
    let arguments = ["--config".to_owned(), config.display().to_string()];
    let mut process = Process::start("containerd", Path::new("containerd"), &arguments, logs)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(socket(folder)).is_err() {
        process.check()?;
        ensure!(Instant::now() < deadline, "containerd does not listen:\n{}", process.last_words());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(process)
}

/// Makes the images of OCI archives known to the node.
pub async fn import(folder: &Path, archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(socket(folder))
            .args(["--namespace", "k8s.io", "images", "import", "--no-unpack=false"])
            .arg(archive)
            .output()
            .await
            .context("run ctr")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "import {}: {}", archive.display(), words.trim());
    }
    Ok(())
}

fn network_config(folder: &Path) -> serde_json::Value {
    json!({
        // The newest that Debian's plugins speak.
        "cniVersion": "0.4.0", "name": NETWORK,
        "plugins": [
            {
                "type": "bridge", "bridge": BRIDGE, "isGateway": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "ranges": [[{"subnet": POD_SUBNET}]],
                    "routes": [{"dst": "0.0.0.0/0"}], "dataDir": folder.join("addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn containerd_config(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# A process here may not be given a negative score, and each sandbox asks for one.
restrict_oom_score_adj = true
# So that what is left of a pod can be found by the folder's name.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{runc}"
"#,
        root = at("containerd"),
        state = at("run"),
        socket = socket(folder).display(),
        opt = at("opt"),
        cni = at("cni"),
        runc = at("runc"),
    )
}
