//! `make bench B=gateway-stream`: what a gateway takes for the chunks of a stream, ours beside others'.
//!
//! The upstream writes a hundred chunks at once, or one every 20 ms; each is a chunk of HTTP's too. Of a burst it counts when
//! the last byte is there, of paced streams how long each chunk was on its way, and that none waited for the next.

use anyhow::Result;
use clap::Parser;
use weighbridge_tests::figures::{Figures, quantile};
use weighbridge_tests::gateways::{
    Bench, CHUNKS, Common, Load, Ours, PACE, Pacing, Peer, Program, Share, Table, Target, Upstream, header,
    microseconds, paced,
};

/// Bursts of one round, one after the other.
const BURSTS: usize = 100;
const WARM: usize = 20;

const ADDED: &str = "added ms";
const CHUNK_CPU: &str = "CPU us/chunk";
const DELAY: &str = "chunk added p50 ms";
const DELAY_P99: &str = "chunk added p99 ms";
const TOGETHER: &str = "chunks held back";
const DIRECT: &str = "no gateway";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Paced streams at once.
    #[arg(long, default_value_t = 32)]
    streams: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { common, streams } = Arguments::parse();
    let mut figures = Figures::new("gateway-stream");
    header()?;
    bursts(&common, &mut figures).await?;
    paces(&common, streams, &mut figures).await?;
    figures.write()
}

/// Every gateway that streams, in front of an upstream of this kind; and the way without any.
async fn started(common: &Common, pacing: Pacing) -> Result<(Upstream, Bench, Load)> {
    let streams = |peer: Peer| {
        if peer.streams() {
            Ok(())
        } else {
            Err("no stream passes it on Node 20 (HTTP 500, TypeError: immutable)")
        }
    };
    let installed = common.installed(streams)?;
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start(pacing, folder.path()).await?;
    let ours = Ours::before(upstream.address, folder.path()).await?;
    let bench = Bench::start(installed, upstream.address, ours, folder).await?;
    let direct = Load::chat(&Target::openai(DIRECT, upstream.address), 0, true)?;
    Ok((upstream, bench, direct))
}

async fn bursts(common: &Common, figures: &mut Figures) -> Result<()> {
    let (_upstream, bench, direct) = started(common, Pacing::Burst).await?;
    let mut table = Table::new(&[ADDED, CHUNK_CPU]);
    bench.each(async |target, _, _| Load::chat(target, 0, true)?.warm(WARM, "token").await).await?;
    for _ in 0..common.rounds {
        let base = direct.sequential(BURSTS).await?.p50_ms;
        table.add(DIRECT, ADDED, base);
        let each = async |target: &Target, program: &Program, share: Share| {
            let (load, bursts) = (Load::chat(target, 0, true)?, share.of(BURSTS));
            let before = program.cpu()?;
            let latency = load.sequential(bursts).await?;
            let cpu = program.cpu()?.saturating_sub(before);
            table.add(target.name, ADDED, latency.p50_ms - base);
            table.add(target.name, CHUNK_CPU, microseconds(cpu, bursts * CHUNKS));
            Ok(())
        };
        bench.each(each).await?;
    }
    table.print()?;
    let ours = bench.ours.target.name;
    figures.add("burst_added_ms", table.median(ours, ADDED), "ms")?;
    figures.add("chunk_cpu_us", table.median(ours, CHUNK_CPU), "us")
}

async fn paces(common: &Common, streams: usize, figures: &mut Figures) -> Result<()> {
    let (_upstream, bench, direct) = started(common, Pacing::Paced).await?;
    let mut table = Table::new(&[DELAY, DELAY_P99, CHUNK_CPU, TOGETHER]);
    for _ in 0..common.rounds {
        let mut base = paced(&direct, streams).await?;
        let (base_p50, base_p99) = (quantile(&mut base.delays_ms, 0.5), quantile(&mut base.delays_ms, 0.99));
        table.add(DIRECT, DELAY, base_p50);
        table.add(DIRECT, DELAY_P99, base_p99);
        table.add(DIRECT, TOGETHER, base.together as f64);
        let each = async |target: &Target, program: &Program, _: Share| {
            let load = Load::chat(target, 0, true)?;
            let before = program.cpu()?;
            let mut came = paced(&load, streams).await?;
            let cpu = program.cpu()?.saturating_sub(before);
            table.add(target.name, DELAY, quantile(&mut came.delays_ms, 0.5) - base_p50);
            table.add(target.name, DELAY_P99, quantile(&mut came.delays_ms, 0.99) - base_p99);
            table.add(target.name, CHUNK_CPU, microseconds(cpu, streams * CHUNKS));
            table.add(target.name, TOGETHER, came.together as f64);
            Ok(())
        };
        bench.each(each).await?;
    }
    writeln_paced(streams)?;
    table.print()?;
    let ours = bench.ours.target.name;
    figures.add("paced_chunk_cpu_us", table.median(ours, CHUNK_CPU), "us")?;
    figures.add("paced_chunk_added_ms", table.median(ours, DELAY), "ms")?;
    figures.add("paced_chunks_held_back", table.median(ours, TOGETHER), "chunks")
}

fn writeln_paced(streams: usize) -> Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{streams} streams of {CHUNKS} chunks, one every {PACE:?}")?;
    Ok(())
}
