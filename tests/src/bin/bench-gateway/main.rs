//! `make bench B=gateway`: what the gateway adds to a request, beside the same request sent directly.
//!
//! The gateway is the release build of `weighbridge-gateway` beside this program, started as a pod starts it; the
//! cluster that it follows is an apiserver of five fixed lists, in here. Upstream, gateway and load generator are
//! three processes, so that the gateway's memory and CPU time are its own. Rounds are interleaved and medians
//! reported. Metrics and the access log are on.

mod apiserver;
mod load;
mod process;
mod upstream;

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use weighbridge_tests::figures::{Figures, median};

use self::load::{Load, burst, closed_loop, sequential};
use self::process::Child;

const ROUNDS: usize = 7;
/// Requests of one round at one client.
const SEQUENTIAL: usize = 1000;
const BURSTS: usize = 100;
const CLIENTS: usize = 16;
const CLOSED_LOOP: Duration = Duration::from_secs(2);
/// Bytes of a large prompt: a megabyte.
const LARGE_PROMPT: usize = 1_000_000;
/// Requests of one round with it.
const LARGE: usize = 30;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

/// What else this program is.
#[derive(Subcommand)]
enum Role {
    /// Answers every request with the same bytes.
    Upstream,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().role {
        Some(Role::Upstream) => upstream::run().await,
        None => bench().await,
    }
}

async fn bench() -> anyhow::Result<()> {
    let upstream = Child::upstream().await.context("no upstream")?;
    let apiserver = apiserver::start(upstream.address).await?;
    let gateway = Child::gateway(apiserver).await.context("no gateway")?;
    let mut figures = Figures::new("gateway");
    let (direct, through) = (upstream.address, gateway.address);

    let small = Load::chat(0, false)?;
    let (mut added, mut added_p99, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let base = sequential(direct, &small, SEQUENTIAL).await?;
        let before = gateway.cpu()?;
        let ours = sequential(through, &small, SEQUENTIAL).await?;
        cpu.push((gateway.cpu()? - before).as_secs_f64() * 1e6 / SEQUENTIAL as f64);
        added.push(ours.p50_ms - base.p50_ms);
        added_p99.push(ours.p99_ms - base.p99_ms);
    }
    figures.add("gateway_added_p50_ms", median(&mut added), "ms")?;
    figures.add("gateway_added_p99_ms", median(&mut added_p99), "ms")?;
    figures.add("gateway_cpu_us", median(&mut cpu), "us")?;

    let (mut rate, mut busy_cpu) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let before = gateway.cpu()?;
        let done = closed_loop(through, &small, CLIENTS, CLOSED_LOOP).await?;
        busy_cpu.push((gateway.cpu()? - before).as_secs_f64() * 1e6 / done.max(1) as f64);
        rate.push(done as f64 / CLOSED_LOOP.as_secs_f64());
    }
    figures.add("gateway_rps", median(&mut rate), "1/s")?;
    figures.add("gateway_busy_cpu_us", median(&mut busy_cpu), "us")?;

    let stream = Load::chat(0, true)?;
    let (mut added, mut chunk_cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let base = burst(direct, &stream, BURSTS).await?;
        let before = gateway.cpu()?;
        let ours = burst(through, &stream, BURSTS).await?;
        let chunks = (BURSTS * upstream::CHUNKS) as f64;
        chunk_cpu.push((gateway.cpu()? - before).as_secs_f64() * 1e6 / chunks);
        added.push(ours - base);
    }
    figures.add("burst_added_ms", median(&mut added), "ms")?;
    figures.add("chunk_cpu_us", median(&mut chunk_cpu), "us")?;

    let large = Load::chat(LARGE_PROMPT, false)?;
    let mut added = Vec::new();
    for _ in 0..ROUNDS {
        let base = sequential(direct, &large, LARGE).await?;
        let ours = sequential(through, &large, LARGE).await?;
        added.push(ours.p50_ms - base.p50_ms);
    }
    figures.add("megabyte_added_ms", median(&mut added), "ms")?;
    figures.add("gateway_rss_mb", gateway.rss_mb()?, "MB")?;
    figures.write()?;
    Ok(())
}
