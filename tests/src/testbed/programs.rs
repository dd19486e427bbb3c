//! The programs that the testbed runs: installed and built on first use, cached outside the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// How much of a cluster is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// etcd, apiserver, controller-manager and scheduler, with simulated nodes.
    ControlPlane,
    /// Also a container runtime, a kubelet and kube-proxy on this machine.
    Node,
}

/// Where the built programs lie.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Installs and builds what `level` needs and is not there yet: minutes the first time.
    pub fn prepare(level: Level) -> Result<Self> {
        let packages = match level {
            Level::ControlPlane => "control-plane",
            Level::Node => "node",
        };
        script("install-packages.sh", packages)?;
        let folder = script("control-plane/build.sh", "kube")?;
        Ok(Self { folder: PathBuf::from(folder) })
    }

    /// The multi-call binary with every Kubernetes program.
    pub fn kube(&self) -> PathBuf {
        self.folder.join("kube")
    }

    /// The folder that holds `kubectl`, for a PATH.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The `tests` folder of this checkout.
pub fn tests_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of the testbed's scripts; what it prints is its result, what it says goes to the person.
pub(super) fn script(name: &str, argument: &str) -> Result<String> {
    let output = Command::new(tests_folder().join(name))
        .arg(argument)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run tests/{name}"))?;
    ensure!(output.status.success(), "tests/{name} {argument} failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
