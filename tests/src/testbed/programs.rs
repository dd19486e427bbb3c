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
    kube: PathBuf,
    node: Option<NodePrograms>,
}

/// What only the node level needs.
#[derive(Debug, Clone)]
struct NodePrograms {
    helm: PathBuf,
    coredns: PathBuf,
    kube_router: PathBuf,
    images: PathBuf,
}

impl Programs {
    /// Installs and builds what `level` needs and is not there yet: minutes the first time.
    pub fn prepare(level: Level) -> Result<Self> {
        let packages = match level {
            Level::ControlPlane => "control-plane",
            Level::Node => "node",
        };
        script("install-packages.sh", &[packages])?;
        let build = |what: &str| script("control-plane/build.sh", &[what]).map(PathBuf::from);
        let kube = build("kube")?;
        let node = match level {
            Level::ControlPlane => None,
            Level::Node => Some(NodePrograms {
                helm: build("helm")?,
                coredns: build("coredns")?,
                kube_router: build("kube-router")?,
                images: script("control-plane/images.sh", &[])?.into(),
            }),
        };
        Ok(Self { kube, node })
    }

    /// The multi-call binary with every Kubernetes program.
    pub fn kube(&self) -> PathBuf {
        self.kube.join("kube")
    }

    /// The folders that hold `kubectl` and, at the node level, `helm`: for a PATH.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        let helm = self.node.as_ref().map(|node| node.helm.as_path());
        [self.kube.as_path()].into_iter().chain(helm)
    }

    /// The cluster's name server.
    pub fn coredns(&self) -> Result<PathBuf> {
        Ok(self.of_node()?.coredns.join("coredns"))
    }

    /// What enforces NetworkPolicies.
    pub fn kube_router(&self) -> Result<PathBuf> {
        Ok(self.of_node()?.kube_router.join("kube-router"))
    }

    /// Helm.
    pub fn helm(&self) -> Result<PathBuf> {
        Ok(self.of_node()?.helm.join("helm"))
    }

    /// The folder with the archives of the images that a node itself needs.
    pub fn images(&self) -> Result<&Path> {
        Ok(&self.of_node()?.images)
    }

    fn of_node(&self) -> Result<&NodePrograms> {
        self.node.as_ref().context("these programs were prepared for a control plane only")
    }
}

/// The `tests` folder of this checkout.
pub fn tests_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of the testbed's scripts; what it prints is its result, what it says goes to the person.
fn script(name: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(tests_folder().join(name))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run tests/{name}"))?;
    ensure!(output.status.success(), "tests/{name} failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
