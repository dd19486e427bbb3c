//! What the benchmarks have in common: their flags, the machine that they name, and whose turn it is.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tempfile::TempDir;

use super::ours::Ours;
use super::peers::{Peer, RunningPeer};
use super::program::Program;
use super::target::Target;

/// Flags that all of them have.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Rounds; each measures every gateway once, one after the other.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Gateways of others to measure beside ours; they are installed if need be [possible: tensorzero, litellm-rs, portkey,
    /// litellm, nginx, none].
    #[arg(long, value_delimiter = ',', default_value = "tensorzero,litellm-rs,portkey,litellm,nginx")]
    pub peers: Vec<String>,
}

impl Common {
    /// Those that are asked for and can do what `wanted` says, each with where it is installed; of the others it is printed
    /// why they do not run.
    ///
    /// # Errors
    /// Where one is not known, or standard output is closed.
    pub fn installed(&self, wanted: impl Fn(Peer) -> Result<(), &'static str>) -> Result<Vec<Installed>> {
        let mut installed = Vec::new();
        for name in self.peers.iter().filter(|name| *name != "none") {
            let peer = <Peer as clap::ValueEnum>::from_str(name, false).map_err(anyhow::Error::msg)?;
            match wanted(peer).map_err(anyhow::Error::msg).and_then(|()| peer.install()) {
                Ok(program) => installed.push(Installed { peer, program }),
                Err(why) => not_run(peer, &why)?,
            }
        }
        Ok(installed)
    }
}

/// A peer that can be started.
pub struct Installed {
    peer: Peer,
    program: std::path::PathBuf,
}

fn not_run(peer: Peer, why: &anyhow::Error) -> Result<()> {
    writeln!(std::io::stdout(), "NOT RUN {}: {why:#}", peer.name())?;
    Ok(())
}

/// Says what is measured, and where.
///
/// # Errors
/// Where standard output is closed.
pub fn header() -> Result<()> {
    let mut out = std::io::stdout();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(out, "cores: {cores}, none pinned; load before the run: {}", load.trim())?;
    Ok(())
}

/// Every gateway, each paused but in its turn.
pub struct Bench {
    /// Ours.
    pub ours: Ours,
    /// Those of others.
    pub peers: Vec<RunningPeer>,
    /// Their configurations and logs.
    _folder: TempDir,
}

impl Bench {
    /// Starts the peers in front of `upstream`, beside `ours`, with their files in `folder`.
    ///
    /// # Errors
    /// Where one can't be paused, or standard output is closed.
    pub async fn start(
        installed: Vec<Installed>,
        upstream: SocketAddr,
        ours: Ours,
        folder: TempDir,
    ) -> Result<Self> {
        let mut peers = Vec::new();
        for Installed { peer, program } in installed {
            match start(peer, &program, upstream, folder.path()).await {
                Ok(running) => peers.push(running),
                Err(why) => not_run(peer, &why)?,
            }
        }
        ours.pause()?;
        Ok(Self { ours, peers, _folder: folder })
    }

    /// Lets each gateway run for its turn, ours first; `turn` gets its share of a round.
    ///
    /// # Errors
    /// What `turn` says.
    pub async fn each(
        &self,
        mut turn: impl AsyncFnMut(&Target, &Program, Share) -> Result<()>,
    ) -> Result<()> {
        self.ours.turn(async |ours| turn(&ours.target, &ours.gateway, Share(None)).await).await?;
        for RunningPeer { peer, target, program } in &self.peers {
            program.resume()?;
            let done = turn(target, program, Share(Some(*peer))).await;
            program.pause()?;
            done?;
        }
        Ok(())
    }
}

async fn start(peer: Peer, program: &Path, upstream: SocketAddr, folder: &Path) -> Result<RunningPeer> {
    let running = peer.start(program, upstream, folder).await?;
    running.program.pause()?;
    Ok(running)
}

/// How much of a round a gateway gets.
#[derive(Clone, Copy)]
pub struct Share(Option<Peer>);

impl Share {
    /// Whether it is our turn.
    pub fn is_ours(self) -> bool {
        self.0.is_none()
    }

    /// As many of `most` requests as take a time like the others'.
    pub fn of(self, most: usize) -> usize {
        self.0.map_or(most, |peer| peer.share(most)).max(1)
    }
}

/// CPU time of one of so many.
pub fn microseconds(cpu: Duration, of: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / of.max(1) as f64
}
