//! `testbed up`, `down`, `load` and `env`: a cluster that stays until it is told to go.

use std::env;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{NodeCluster, built_images, containerd, folder, sweep};
use crate::testbed::flags;
use crate::testbed::interruptions::Interruptions;
use crate::testbed::programs::{Level, Programs};

/// Files of the folder: who keeps the cluster, and the sign that it is ready.
const KEEPER: &str = "keeper.pid";
const READY: &str = "ready";

/// Starts a cluster that outlives this program; one that is up already gets this checkout's images.
pub async fn up(gpus: u32) -> Result<()> {
    let folder = folder();
    let begun = Instant::now();
    let mut out = stdout().lock();
    if is_up(&folder) {
        load().await?;
        writeln!(out, "the cluster was up already; its images are this checkout's now")?;
    } else {
        let programs = Programs::prepare(Level::Node)?;
        sweep::sweep(&folder);
        let log = env::temp_dir().join("weighbridge-node.log");
        let mut keeper = start_keeper(gpus, &log)?;
        while !folder.join(READY).exists() {
            if let Some(status) = keeper.try_wait()? {
                let words = fs::read_to_string(&log).unwrap_or_default();
                bail!("the cluster did not start ({status}):\n{words}");
            }
            sleep(Duration::from_millis(50));
        }
        let _ = fs::remove_file(&log);
        writeln!(out, "the cluster is up after {:.1} s", begun.elapsed().as_secs_f32())?;
        drop(programs);
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
    containerd::import(&folder, &built_images()?).await
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
    let programs = Programs::prepare(Level::Node)?;
    let folder = folder();
    let cluster = tokio::select! {
        cluster = Box::pin(NodeCluster::start(&programs, &folder, gpus)) => cluster?,
        _ = interruptions.next() => return Ok(()),
    };
    fs::write(folder.join(KEEPER), std::process::id().to_string())?;
    fs::write(folder.join(READY), "")?;
    interruptions.next().await;
    drop(cluster);
    Ok(())
}

/// Stops the cluster and removes what it left, also when its keeper died.
pub fn down() -> Result<()> {
    let folder = folder();
    if let Some(keeper) = keeper(&folder) {
        kill_process(keeper, Signal::TERM).context("tell the cluster's keeper to stop")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while test_kill_process(keeper).is_ok() {
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
    let folders: Vec<String> = programs.folders().map(|folder| folder.display().to_string()).collect();
    writeln!(out, "export PATH='{}':\"$PATH\"", folders.join(":"))?;
    Ok(())
}

fn is_up(folder: &Path) -> bool {
    keeper(folder).is_some() && folder.join(READY).exists()
}

/// The living keeper of the cluster in `folder`.
fn keeper(folder: &Path) -> Option<Pid> {
    let id: i32 = fs::read_to_string(folder.join(KEEPER)).ok()?.trim().parse().ok()?;
    // The number may be another program's by now.
    let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
    let words: Vec<&str> = line.split('\0').collect();
    let ours = words.first().is_some_and(|program| program.ends_with("testbed")) && words.contains(&"serve");
    Pid::from_raw(id).filter(|_| ours)
}
