//! `testbed up`, `down`, `load`, `env` and `apiserver`: a cluster that stays until it is told to go.

use std::env;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::owner::Owner;
use super::{NodeCluster, archives, built, containerd, folder, owner, sweep};
use crate::testbed::interruptions::Interruptions;
use crate::testbed::programs::{Level, Programs};
use crate::testbed::{audit, flags};

/// The sign in the folder that the cluster is ready.
const READY: &str = "ready";
/// What the keeper is told by, besides its end.
const STOP_APISERVER: Signal = Signal::USR1;
const START_APISERVER: Signal = Signal::USR2;

/// Starts a cluster that outlives this program; one that is up already gets this checkout's images.
pub async fn up(gpus: u32) -> Result<()> {
    let folder = folder();
    let begun = Instant::now();
    let mut out = stdout().lock();
    if is_up(&folder) {
        load().await?;
        writeln!(out, "the cluster was up already; its images are this checkout's now")?;
    } else {
        // Here as well as in the keeper, so that a long build is seen.
        Programs::prepare(Level::Node)?;
        if owner::find(&folder).is_none() {
            sweep::sweep(&folder);
        }
        let log = env::temp_dir().join("weighbridge-node.log");
        let mut keeper = start_keeper(gpus, &log)?;
        while !folder.join(READY).exists() {
            if let Some(status) = keeper.try_wait()? {
                let words = fs::read_to_string(&log).unwrap_or_default();
                let _ = fs::remove_file(&log);
                bail!("the cluster did not start ({status}):\n{words}");
            }
            sleep(Duration::from_millis(50));
        }
        let _ = fs::remove_file(&log);
        writeln!(out, "the cluster is up after {:.1} s", begun.elapsed().as_secs_f32())?;
    }
    writeln!(out, "kubeconfig: {}", flags::kubeconfig(&folder).display())?;
    writeln!(
        out,
        "for a shell with kubectl and helm: eval \"$(cargo run -qp weighbridge-tests --bin testbed env)\""
    )?;
    Ok(())
}

/// Makes this checkout's images, built anew since, known to the cluster that is up.
pub async fn load() -> Result<()> {
    let folder = folder();
    ensure!(is_up(&folder), "no cluster is up: start one with `make cluster-up`");
    containerd::import(&folder, &archives(&built())?).await
}

/// The program that keeps the cluster: this one, started anew and on its own.
fn start_keeper(gpus: u32, log: &Path) -> Result<Child> {
    let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
    Command::new(env::current_exe()?)
        .args(["serve", "--gpus", &gpus.to_string()])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // Not this terminal's: Ctrl-C after `up` must not take the cluster along.
        .process_group(0)
        .spawn()
        .context("start the cluster's keeper")
}

/// Keeps a cluster until a signal comes.
pub async fn serve(gpus: u32) -> Result<()> {
    let mut interruptions = Interruptions::new()?;
    let order = |order: Signal| signal(SignalKind::from_raw(order.as_raw()));
    let (mut stop, mut start) = (order(STOP_APISERVER)?, order(START_APISERVER)?);
    let programs = Programs::prepare(Level::Node)?;
    let mut cluster = tokio::select! {
        cluster = Box::pin(NodeCluster::start(&programs, gpus)) => cluster?,
        _ = interruptions.next() => return Ok(()),
    };
    fs::write(folder().join(READY), "")?;
    loop {
        tokio::select! {
            _ = interruptions.next() => return Ok(()),
            _ = stop.recv() => cluster.control_plane.stop_apiserver(),
            _ = start.recv() => cluster.control_plane.start_apiserver().await?,
        }
    }
}

/// Has the keeper end the apiserver outright.
pub fn stop_apiserver() -> Result<()> {
    tell_keeper(STOP_APISERVER)
}

/// Has the keeper start the apiserver again, where it does not run.
pub fn start_apiserver() -> Result<()> {
    tell_keeper(START_APISERVER)
}

fn tell_keeper(order: Signal) -> Result<()> {
    let keeper = owner::find(&folder()).filter(is_keeper).context("no cluster is up")?;
    Ok(kill_process(keeper.process, order)?)
}

/// Stops the cluster and removes what it left, also when its keeper died.
pub fn down() -> Result<()> {
    let folder = folder();
    if let Some(owner) = owner::find(&folder) {
        // A test that has the node removes it itself, and must not lose it in the middle.
        ensure!(is_keeper(&owner), "the node is in use by `{}`", owner.command);
        kill_process(owner.process, Signal::TERM).context("tell the cluster's keeper to stop")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while owner::find(&folder).is_some() {
            ensure!(Instant::now() < deadline, "the cluster's keeper does not stop");
            sleep(Duration::from_millis(50));
        }
    }
    sweep::sweep(&folder);
    Ok(())
}

/// What a shell evaluates to talk to the cluster.
pub fn print_environment() -> Result<()> {
    let folder = folder();
    ensure!(is_up(&folder), "no cluster is up: start one with `make cluster-up`");
    let programs = Programs::prepare(Level::Node)?;
    let kubeconfig = flags::kubeconfig(&folder);
    let mut out = stdout().lock();
    writeln!(out, "export KUBECONFIG='{}'", kubeconfig.display())?;
    writeln!(out, "export {}='{}'", crate::testbed::KUBECONFIG, kubeconfig.display())?;
    writeln!(out, "export {}='{}'", audit::FILE, flags::audit_log(&folder).display())?;
    let folders: Vec<String> = programs.folders().map(|folder| folder.display().to_string()).collect();
    writeln!(out, "export PATH='{}':\"$PATH\"", folders.join(":"))?;
    Ok(())
}

fn is_up(folder: &Path) -> bool {
    owner::find(folder).is_some_and(|owner| is_keeper(&owner)) && folder.join(READY).exists()
}

fn is_keeper(owner: &Owner) -> bool {
    owner.command.contains("testbed serve ")
}
