//! `testbed run`: a cluster for the length of one command.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control_plane::{ControlPlane, Options, client_for};
use super::interruptions::Interruptions;
use super::nodes::{H100, SimulatedNode};
use super::programs::{Level, Programs, tests_folder};
use super::{KUBECONFIG, crds, kubelet, record};

/// How long a command that was told to stop may take over it.
const COMMAND_GRACE: Duration = Duration::from_secs(10);

/// Runs `command` against a cluster and returns its status; fails when `must_count` and no test used
/// the cluster.
pub async fn run(command: &[OsString], must_count: bool) -> Result<ExitCode> {
    // Asked for before anything starts, so that no signal ends this process and leaves the rest.
    let mut interruptions = Interruptions::new()?;
    // A cluster that is dropped half-started or at the end of this function is killed.
    let mut cluster = tokio::select! {
        cluster = Cluster::start() => cluster?,
        signal = interruptions.next() => return Ok(code_of_signal(signal)),
    };
    let record = cluster.folder.path().join("tests");
    let mut child = cluster.command(command, &record)?.spawn().context("start the command")?;
    let status = tokio::select! {
        status = child.wait() => status?,
        signal = interruptions.next() => {
            stop(&mut child).await;
            return Ok(code_of_signal(signal));
        }
    };
    let tests = record::count(&record)?;
    if must_count {
        writeln!(std::io::stdout(), "{tests} tests ran against the real control plane")?;
    }
    let health = cluster.check();
    if !status.success() || health.is_err() {
        cluster.keep_logs();
        health?;
        return Ok(code_of_status(status));
    }
    Ok(if must_count && tests == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the command runs against: a control plane of ours, or somebody's own cluster.
struct Cluster {
    simulated_kubelet: JoinHandle<()>,
    ours: Option<(ControlPlane, Programs)>,
    kubeconfig: PathBuf,
    folder: TempDir,
}

impl Cluster {
    async fn start() -> Result<Self> {
        let folder = temporary_folder()?;
        let (ours, kubeconfig) = match env::var_os(KUBECONFIG) {
            Some(own) => (None, PathBuf::from(own)),
            None => {
                let programs = Programs::prepare(Level::ControlPlane)?;
                let control_plane =
                    ControlPlane::start(&programs, folder.path(), &Options::default()).await?;
                let kubeconfig = control_plane.kubeconfig();
                (Some((control_plane, programs)), kubeconfig)
            }
        };
        let client = client_for(&kubeconfig, None).await?;
        furnish(&client).await?;
        let simulated_kubelet = tokio::spawn(kubelet::run(client));
        Ok(Self { simulated_kubelet, ours, kubeconfig, folder })
    }

    fn command(&self, words: &[OsString], record: &Path) -> Result<Command> {
        let (program, arguments) = words.split_first().context("no command to run")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env(KUBECONFIG, &self.kubeconfig)
            .env(record::FILE, record)
            .kill_on_drop(true);
        if let Some((control_plane, programs)) = &self.ours {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = programs.folders().map(Path::to_owned).chain(env::split_paths(&path));
            command.env("PATH", env::join_paths(folders)?);
            command.env(super::audit::FILE, control_plane.audit_log());
            let [_, controller_manager, _, _] = control_plane.process_ids();
            command.env(super::CONTROLLER_MANAGER, controller_manager.to_string());
        }
        Ok(command)
    }

    fn check(&mut self) -> Result<()> {
        self.ours.as_mut().map_or(Ok(()), |(control_plane, _)| control_plane.check())
    }

    /// A failure is understood from the logs, which would go with the folder.
    fn keep_logs(&self) {
        let Some((control_plane, _)) = &self.ours else { return };
        let kept = tests_folder().join("../target/testbed-logs");
        let copied = fs::create_dir_all(&kept).and_then(|()| copy_files(&control_plane.logs(), &kept));
        if let Err(error) = copied {
            tracing::warn!(%error, "the control plane's logs were not kept");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.simulated_kubelet.abort();
    }
}

/// A folder named after this process. Those of processes that were killed outright, and so could not
/// remove theirs, go first.
fn temporary_folder() -> Result<TempDir> {
    const PREFIX: &str = "weighbridge-testbed-";
    for entry in fs::read_dir(env::temp_dir())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// Our resource types, and nodes that every test shares.
async fn furnish(client: &Client) -> Result<()> {
    let manifests = tests_folder().join("../crds/manifests");
    if manifests.is_dir() {
        crds::apply(client, &manifests).await?;
    }
    SimulatedNode::new("cpu").create(client).await?;
    SimulatedNode::new("gpu").with_gpus(H100, 8).create(client).await
}

async fn stop(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It fails only when the command has just ended by itself.
        let _ = kill_process(id, Signal::TERM);
    }
    if timeout(COMMAND_GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn code_of_status(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => code_of_signal(status.signal().unwrap_or_default()),
    }
}

/// What a shell reports for a program that a signal ended.
fn code_of_signal(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}
