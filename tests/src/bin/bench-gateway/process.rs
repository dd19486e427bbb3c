//! The other processes, and what Linux says of them.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A process of this program in another role; it is killed when dropped.
pub struct Child {
    pub address: SocketAddr,
    pid: u32,
    _process: tokio::process::Child,
}

impl Child {
    /// Starts this program with `arguments`, and reads the address that it prints.
    pub async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("it ended at once")?;
        let pid = process.id().context("it ended at once")?;
        Ok(Self { address: line.parse()?, pid, _process: process })
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let spent: u64 = text.split_whitespace().next().context("an empty schedstat")?.parse()?;
            nanoseconds += spent;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory in MB.
    pub fn rss_mb(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kilobytes / 1024.0)
    }
}
