//! `make bench B=gateway-idle`: what a stream costs in which nothing happens.
//!
//! Ten thousand streams are begun through our gateway and held for two keep-alives and more; its memory is looked at before
//! and after. Then the upstream ends them, and each must end as it should. Clients, gateway and upstream are three processes,
//! so that the memory is the gateway's.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use weighbridge_tests::figures::Figures;
use weighbridge_tests::gateways::{Held, Load, Ours, Pacing, Upstream, raise_open_files};

#[derive(Parser)]
struct Arguments {
    /// Streams to hold; fewer where the machine lets no process open two files for each.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// Seconds to hold them: longer than two keep-alives.
    #[arg(long, default_value_t = 35)]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { streams: wanted, seconds } = Arguments::parse();
    let streams = raise_open_files(wanted)?;
    if streams < wanted {
        writeln!(
            std::io::stdout(),
            "{streams} streams, for a process may open no more than twice as many files here"
        )?;
    }
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start(Pacing::Held, folder.path()).await?;
    let ours = Ours::before(upstream.address, folder.path()).await?;
    let load = Load::chat(&ours.target, 0, true)?;
    let before = ours.gateway.rss_mb()?;

    let held = Held::open(&load, streams).await?;
    let (opened, cpu) = (ours.gateway.rss_mb()?, ours.gateway.cpu()?);
    let time = Duration::from_secs(seconds);
    tokio::time::sleep(time).await;
    let (after, cpu) = (ours.gateway.rss_mb()?, ours.gateway.cpu()?.saturating_sub(cpu));
    let signs = held.signs_of_life();
    upstream.finish().await?;
    let whole = held.finished().await?;

    let mut figures = Figures::new("gateway-idle");
    let kb = |rss: f64| (rss - before) * 1e3 / streams as f64;
    figures.add("idle_streams", streams as f64, "streams")?;
    figures.add("idle_stream_opened_kb", kb(opened), "kB")?;
    figures.add("idle_stream_kb", kb(after).max(kb(opened)), "kB")?;
    figures.add("idle_signs_of_life", signs as f64 / streams as f64, "a stream")?;
    figures.add("idle_cpu_share", cpu.as_secs_f64() / time.as_secs_f64(), "of a core")?;
    figures.add("idle_streams_ended_whole", whole as f64, "streams")?;
    figures.write()?;
    ensure!(whole == streams, "{whole} of {streams} streams ended as they should");
    Ok(())
}
