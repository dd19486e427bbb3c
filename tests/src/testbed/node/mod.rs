//! The node level: a real kubelet, containerd, kube-proxy and enforcer of NetworkPolicies on this machine.
//!
//! Everything lies in one folder and on one bridge, and goes with them. It needs root, and there can
//! be one on a machine at a time: the bridge's addresses and the pods' control groups are its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::time::{Instant, sleep, timeout};

use super::control_plane::{ControlPlane, Options};
use super::process::Process;
use super::programs::{Programs, tests_folder};
use super::wait;

mod containerd;
mod enforcer;
mod kubelet;
mod network;
mod owner;
mod service;
mod sweep;
mod sysctls;

pub use kubelet::NODE;
pub use network::{BRIDGE, GATEWAY};
pub use service::{down, load, print_environment, serve, start_apiserver, stop_apiserver, up};

/// The apiserver's port, the usual one: NetworkPolicies see it in place of its Service's.
const API_PORT: u16 = 6443;

/// Where a node keeps everything: one fixed place, so that `down` finds what `up` started.
pub fn folder() -> PathBuf {
    env::temp_dir().join("weighbridge-node")
}

/// A control plane with one real node. Dropping it stops everything and leaves nothing.
pub struct NodeCluster {
    // In the order in which they stop: the kubelet first, or it would start again what is killed.
    kubelet: Option<Process>,
    device_plugin: Option<Process>,
    workers: Vec<Process>,
    programs: Programs,
    gpus: u32,
    control_plane: ControlPlane,
    _runtime: Process,
    _sweep: Sweep,
}

/// Removes what the programs made, after they are gone.
struct Sweep(PathBuf);

impl Drop for Sweep {
    fn drop(&mut self) {
        sweep::sweep(&self.0);
    }
}

impl NodeCluster {
    /// Starts everything, and waits until the node is ready and offers `gpus` stand-in GPUs.
    pub async fn start(programs: &Programs, gpus: u32) -> Result<Self> {
        Self::start_with(programs, gpus, &built()).await
    }

    /// The same with the images of this checkout that `images/build.sh` left in `built`, if it did.
    pub async fn start_with(programs: &Programs, gpus: u32, built: &Path) -> Result<Self> {
        ensure!(geteuid().is_root(), "a node needs root: it starts containers");
        let folder = &folder();
        if let Some(owner) = owner::find(folder) {
            bail!("a node is up already, kept by `{}`; `make cluster-down` stops it", owner.command);
        }
        sweep::sweep(folder);
        ensure!(
            !Path::new("/sys/fs/cgroup/kubepods").exists()
                && !Path::new("/sys/fs/cgroup/memory/kubepods").exists(),
            "this machine is a Kubernetes node already; the testbed would mix its pods with those"
        );
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        owner::claim(folder)?;
        let sweep = Sweep(folder.to_owned());
        sysctls::remember(&folder.join("sysctls.json"))?;
        network::create()?;
        sysctls::filter_bridged();

        let options = Options { address: network::GATEWAY, port: API_PORT, real_nodes: true };
        let runtime = async {
            let runtime = containerd::start(folder, &logs).await?;
            containerd::import(folder, &[archives(programs.images()?)?, archives(built)?].concat()).await?;
            Ok(runtime)
        };
        // Boxed: two state machines with everything that starts a cluster in them are large.
        let (control_plane, runtime) =
            tokio::try_join!(Box::pin(ControlPlane::start(programs, folder, &options)), Box::pin(runtime))?;
        let authority = control_plane.authority();
        let kubelet = kubelet::start(programs, folder, authority, gpus)?;
        let workers = vec![
            kubelet::start_proxy(programs, folder, authority)?,
            kubelet::start_name_server(programs, folder)?,
        ];
        let device_plugin = device_plugin(programs, gpus)?;
        let (kubelet, programs) = (Some(kubelet), programs.clone());
        let mut this = Self {
            kubelet,
            device_plugin,
            workers,
            programs,
            gpus,
            control_plane,
            _runtime: runtime,
            _sweep: sweep,
        };
        this.await_node().await?;
        // Only now: it ends where its node is not there yet.
        let enforcer = enforcer::start(&this.programs, folder)?;
        this.workers.push(enforcer);
        this.await_enforcer().await?;
        Ok(this)
    }

    /// Stops the kubelet as a machine that hangs does: it is there, and reports nothing.
    pub fn pause_kubelet(&self) -> Result<()> {
        self.signal_kubelet(Signal::STOP)
    }

    /// Lets a kubelet go on that was paused.
    pub fn resume_kubelet(&self) -> Result<()> {
        self.signal_kubelet(Signal::CONT)
    }

    /// Ends the kubelet outright. Containers run on, as after a kubelet's own crash.
    pub fn kill_kubelet(&mut self) {
        self.kubelet = None;
    }

    /// Starts a kubelet where there is none, and waits until the node is ready.
    pub async fn start_kubelet(&mut self) -> Result<()> {
        let authority = self.control_plane.authority();
        // The new one knows of no device until a plugin comes to it, and a plugin of it by its socket: the old ones go first.
        self.device_plugin = None;
        sweep::device_sockets();
        self.kubelet = Some(kubelet::start(&self.programs, &folder(), authority, self.gpus)?);
        self.device_plugin = device_plugin(&self.programs, self.gpus)?;
        self.await_node().await
    }

    fn signal_kubelet(&self, signal: Signal) -> Result<()> {
        let id = self.kubelet.as_ref().context("the kubelet was killed")?.id();
        let process = i32::try_from(id).ok().and_then(Pid::from_raw).context("the kubelet's process id")?;
        Ok(kill_process(process, signal)?)
    }

    /// The control plane.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Fails when one of the programs ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.control_plane.check()?;
        self._runtime.check()?;
        self.kubelet
            .iter_mut()
            .chain(&mut self.device_plugin)
            .chain(&mut self.workers)
            .try_for_each(Process::check)
    }

    async fn await_enforcer(&mut self) -> Result<()> {
        let deadline = Instant::now() + wait::DEADLINE;
        while !enforcer::stands() {
            self.check()?;
            ensure!(Instant::now() < deadline, "NetworkPolicies are not enforced");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn await_node(&mut self) -> Result<()> {
        let gpus = self.gpus;
        let client = self.control_plane.client().await?;
        let nodes: Api<Node> = Api::all(client);
        let ready = wait::until(&nodes, NODE, "the node to be ready", |node| offers(node, gpus));
        let mut ready = pin!(ready);
        loop {
            // A program that died explains more, and sooner, than the node's silence does.
            self.check()?;
            if let Ok(outcome) = timeout(Duration::from_millis(200), &mut ready).await {
                return outcome.map(drop);
            }
        }
    }
}

fn device_plugin(programs: &Programs, gpus: u32) -> Result<Option<Process>> {
    if gpus == 0 {
        return Ok(None);
    }
    kubelet::start_device_plugin(programs, &folder(), gpus).map(Some)
}

fn offers(node: &Node, gpus: u32) -> bool {
    let Some(status) = &node.status else { return false };
    let ready = status.conditions.iter().flatten();
    let ready = ready.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let offered = status.allocatable.iter().flatten().find(|(name, _)| *name == "nvidia.com/gpu");
    ready && (gpus == 0 || offered.is_some_and(|(_, quantity)| quantity.0 == gpus.to_string()))
}

/// Where `images/build.sh` leaves this checkout's own images.
fn built() -> PathBuf {
    tests_folder().join("../target/images")
}

/// The OCI archives in `folder`; none where there is no such folder.
fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "tar") {
            found.push(path);
        }
    }
    Ok(found)
}
