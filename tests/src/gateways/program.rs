//! The programs under measure, each a process group of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::door::Client;
use crate::measured::{cpu_time, rss_mb};

/// How often a program that starts is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A program with all that it starts; it and they are killed when it is dropped.
pub struct Program {
    name: &'static str,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, with what it says in `folder/name.log`.
    ///
    /// # Errors
    /// Where there is no such program.
    pub fn start(name: &'static str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {name} ({})", command.get_program().display()))?;
        let group = Pid::from_child(&child);
        Ok(Self { name, child, group, log })
    }

    /// Waits until `look` finds in its log what it was to be ready with.
    ///
    /// # Errors
    /// Where it ends before, or takes longer than `time`.
    pub async fn until<T>(&mut self, time: Duration, look: impl AsyncFn(&str) -> Option<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(&self.log)?;
            if let Some(found) = look(&log).await {
                return Ok(found);
            }
            let last = log.lines().rev().take(5).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {last}", self.name);
            }
            if began.elapsed() > time {
                bail!("{} was not ready after {} s: {last}", self.name, time.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// CPU time so far, of all its processes.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        self.members()?.into_iter().map(cpu_time).sum()
    }

    /// Resident memory in MB, of all its processes; what two share counts twice.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn rss_mb(&self) -> Result<f64> {
        self.members()?.into_iter().map(rss_mb).sum()
    }

    /// Stops it from running until [`Self::resume`], so that it can't disturb what is measured meanwhile.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        Ok(kill_process_group(self.group, Signal::STOP)?)
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resume(&self) -> Result<()> {
        Ok(kill_process_group(self.group, Signal::CONT)?)
    }

    /// The processes of its group.
    fn members(&self) -> Result<Vec<u32>> {
        let mut members = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Ok(process) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
            // One that ended meanwhile is no member.
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
            // The name, in parentheses, may hold spaces: state, parent and group follow it.
            let group = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(2));
            if group.and_then(|group| group.parse().ok()) == Some(self.group.as_raw_pid()) {
                members.push(process);
            }
        }
        Ok(members)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It holds no state worth an orderly end. Both fail only where it is gone.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A port that is free now, for programs that can't choose one themselves.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether `path` at `address` is answered with success.
pub async fn answers(address: SocketAddr, path: &str) -> bool {
    let Ok(mut client) = Client::connect(address).await else { return false };
    client.get(path).await.is_ok_and(|answer| answer.status.is_success())
}
