//! `make bench B=gateway`: what a gateway adds to a request, ours beside others' in front of one nginx.
//!
//! Ours is the release build beside this program, started as a pod starts it, with auth, limits, metrics and access log on;
//! the cluster that it follows is an apiserver of five fixed lists, in here. Upstream, gateways and load generator are
//! processes of their own, so that memory and CPU time are the gateway's. Rounds are interleaved, and whoever has no turn
//! is paused. Added time is that of a request less that of one sent to nginx straight, in the same round.
//!
//! Beside others' it calls its upstream as they do, by plain HTTP. As the operator sets it up there is mutual TLS between
//! gateway, engine and proxy, which is measured apart (mTLS); two hops are the gateway and a provider's proxy, which calls
//! nginx by TLS.

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weighbridge_tests::certificates::Installation;
use weighbridge_tests::figures::Figures;
use weighbridge_tests::gateways::{
    Bench, Common, Latency, Load, NAME_MUTUAL, Nginx, Ours, Peer, Program, Share, TWO_HOPS, TWO_HOPS_MUTUAL,
    Table, Target, header, microseconds,
};

/// Requests of one round at one client.
const SEQUENTIAL: usize = 1000;
const CLIENTS: usize = 16;
const CLOSED_LOOP: Duration = Duration::from_secs(2);
/// Of the most that was answered.
const OPEN_LOOP_SHARE: f64 = 0.7;
const OPEN_LOOP: Duration = Duration::from_secs(4);
/// Connections of an open loop: more than are ever in use, so that none is waited for.
const OPEN_LOOP_CLIENTS: usize = 128;
/// Bytes of a large prompt: a megabyte, and not one more, for litellm-rs takes a million characters.
const LARGE_PROMPT: usize = 999_900;
/// Requests of one round with it.
const LARGE: usize = 30;
/// Requests after which memory is looked at.
const MANY: usize = 100_000;
const WARM: usize = 500;

const ADDED_P50: &str = "added p50 ms";
const ADDED_P99: &str = "added p99 ms";
const CPU: &str = "CPU us/request";
const RATE: &str = "requests/s of 16";
const BUSY_CPU: &str = "CPU us of 16";
const RSS: &str = "RSS MB";
const DIRECT: &str = "nginx, no gateway";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { common } = Arguments::parse();
    let gateways = |peer: Peer| if peer == Peer::Nginx { Err("it is the upstream here") } else { Ok(()) };
    let installed = common.installed(gateways)?;
    let folder = tempfile::tempdir()?;
    let installation = Installation::new()?;
    let nginx = Nginx::start(folder.path(), &installation).await?;
    let ours = Ours::with_proxy(&nginx, folder.path()).await?;
    let in_cluster = Ours::in_cluster(&nginx, &installation, folder.path()).await?;
    in_cluster.pause()?;
    let bench = Bench::start(installed, nginx.plain, ours, folder).await?;
    header()?;
    let mut measured = Measured {
        direct: Load::chat(&Target::openai(DIRECT, nginx.plain), 0, false)?,
        table: Table::new(&[ADDED_P50, ADDED_P99, CPU, RATE, BUSY_CPU, RSS]),
        figures: Figures::new("gateway"),
        sent: 0,
    };
    bench
        .each(async |target, _, share| {
            Load::chat(target, 0, false)?.warm(share.of(WARM), "How can I assist").await
        })
        .await?;
    for _ in 0..common.rounds {
        measured.round(&bench, &in_cluster).await?;
    }
    drop(in_cluster);
    measured.rates(&bench)?;
    measured.open_loop(&bench, common.rounds).await?;
    measured.megabyte(&bench, common.rounds).await?;
    measured.translation(&bench, common.rounds).await?;
    measured.memory(&bench).await?;
    measured.figures.write()
}

struct Measured {
    direct: Load,
    table: Table,
    figures: Figures,
    /// Requests that ours answered.
    sent: usize,
}

impl Measured {
    async fn round(&mut self, bench: &Bench, in_cluster: &Ours) -> Result<()> {
        let base = self.direct.sequential(SEQUENTIAL).await?;
        self.table.add(DIRECT, ADDED_P50, base.p50_ms);
        self.table.add(DIRECT, ADDED_P99, base.p99_ms);
        let done = self.direct.closed_loop(CLIENTS, CLOSED_LOOP / 4).await?;
        self.table.add(DIRECT, RATE, done as f64 / (CLOSED_LOOP / 4).as_secs_f64());
        bench
            .each(async |target, program, share| {
                let done = self.one(target, program, &base, share.of(SEQUENTIAL)).await?;
                if share.is_ours() {
                    self.sent += done;
                }
                Ok(())
            })
            .await?;
        for (ours, target) in [
            (&bench.ours, bench.ours.two_hops()),
            (in_cluster, in_cluster.target.clone()),
            (in_cluster, in_cluster.two_hops()),
        ] {
            let turn = async |ours: &Ours| {
                Load::chat(&target, 0, false)?.warm(CLIENTS, "How can I assist").await?;
                self.one(&target, &ours.gateway, &base, SEQUENTIAL).await
            };
            ours.turn(turn).await?;
        }
        Ok(())
    }

    /// Measures one gateway; how many requests it answered.
    async fn one(
        &mut self,
        target: &Target,
        program: &Program,
        base: &Latency,
        requests: usize,
    ) -> Result<usize> {
        let load = Load::chat(target, 0, false)?;
        let before = program.cpu()?;
        let latency = load.sequential(requests).await?;
        let between = program.cpu()?;
        let done = load.closed_loop(CLIENTS, CLOSED_LOOP).await?;
        let after = program.cpu()?;
        let values = [
            (ADDED_P50, latency.p50_ms - base.p50_ms),
            (ADDED_P99, latency.p99_ms - base.p99_ms),
            (CPU, microseconds(between.saturating_sub(before), requests)),
            (RATE, done as f64 / CLOSED_LOOP.as_secs_f64()),
            (BUSY_CPU, microseconds(after.saturating_sub(between), done)),
            (RSS, program.rss_mb()?),
        ];
        for (column, value) in values {
            self.table.add(target.name, column, value);
        }
        Ok(requests + done)
    }

    fn rates(&mut self, bench: &Bench) -> Result<()> {
        self.table.print()?;
        let ours = bench.ours.target.name;
        let of = |row, column| self.table.median(row, column);
        let rate = of(ours, RATE);
        let fastest = bench.peers.iter().map(|peer| of(peer.target.name, RATE)).fold(0.0, f64::max);
        let figures = [
            ("gateway_added_p50_ms", of(ours, ADDED_P50), "ms"),
            ("gateway_added_p99_ms", of(ours, ADDED_P99), "ms"),
            ("mutual_added_p50_ms", of(NAME_MUTUAL, ADDED_P50), "ms"),
            ("mutual_cpu_us", of(NAME_MUTUAL, CPU), "us"),
            ("two_hop_added_p50_ms", of(TWO_HOPS_MUTUAL, ADDED_P50), "ms"),
            ("two_hop_plain_added_p50_ms", of(TWO_HOPS, ADDED_P50), "ms"),
            ("gateway_cpu_us", of(ours, CPU), "us"),
            ("gateway_busy_cpu_us", of(ours, BUSY_CPU), "us"),
            ("gateway_rps", rate, "1/s"),
        ];
        for (name, value, unit) in figures {
            self.figures.add(name, value, unit)?;
        }
        if fastest > 0.0 {
            self.figures.add("gateway_rps_ratio", rate / fastest, "ratio")?;
        }
        Ok(())
    }

    async fn open_loop(&mut self, bench: &Bench, rounds: usize) -> Result<()> {
        let rate = OPEN_LOOP_SHARE * self.table.median(bench.ours.target.name, RATE);
        let load = Load::chat(&bench.ours.target, 0, false)?;
        let mut open = Table::new(&["p50 ms", "p99 ms"]);
        for _ in 0..rounds {
            let latency =
                bench.ours.turn(async |_| load.open_loop(rate, OPEN_LOOP_CLIENTS, OPEN_LOOP).await).await?;
            open.add("open loop", "p50 ms", latency.p50_ms);
            open.add("open loop", "p99 ms", latency.p99_ms);
            self.sent += (rate * OPEN_LOOP.as_secs_f64()) as usize;
        }
        open.print()?;
        self.figures.add("open_loop_rate", rate, "1/s")?;
        self.figures.add("open_loop_p99_ms", open.median("open loop", "p99 ms"), "ms")
    }

    async fn megabyte(&mut self, bench: &Bench, rounds: usize) -> Result<()> {
        const ADDED: &str = "1 MB added p50 ms";
        let mut table = Table::new(&[ADDED]);
        let direct = Load::chat(self.direct.target(), LARGE_PROMPT, false)?;
        for _ in 0..rounds {
            let base = direct.sequential(LARGE).await?.p50_ms;
            let each = async |target: &Target, _: &Program, share: Share| {
                let latency = Load::chat(target, LARGE_PROMPT, false)?.sequential(share.of(LARGE)).await?;
                table.add(target.name, ADDED, latency.p50_ms - base);
                Ok(())
            };
            bench.each(each).await?;
            self.sent += LARGE;
        }
        table.print()?;
        self.figures.add("megabyte_added_ms", table.median(bench.ours.target.name, ADDED), "ms")
    }

    /// Anthropic's words at the door and OpenAI's at the upstream, beside OpenAI's at both.
    async fn translation(&mut self, bench: &Bench, rounds: usize) -> Result<()> {
        let mut table = Table::new(&[BUSY_CPU]);
        let targets = [bench.ours.target.clone(), bench.ours.target.as_anthropic("weighbridge, translated")];
        for _ in 0..rounds {
            for target in &targets {
                let load = Load::chat(target, 0, false)?;
                let turn = async |ours: &Ours| {
                    load.warm(1, "How can I assist").await?;
                    let before = ours.gateway.cpu()?;
                    let done = load.closed_loop(CLIENTS, CLOSED_LOOP / 2).await?;
                    table.add(
                        target.name,
                        BUSY_CPU,
                        microseconds(ours.gateway.cpu()?.saturating_sub(before), done),
                    );
                    self.sent += done;
                    Ok(())
                };
                bench.ours.turn(turn).await?;
            }
        }
        table.print()?;
        let [raw, translated] = targets.map(|target| table.median(target.name, BUSY_CPU));
        self.figures.add("translate_cpu_ratio", translated / raw, "ratio")
    }

    async fn memory(&mut self, bench: &Bench) -> Result<()> {
        let load = Load::chat(&bench.ours.target, 0, false)?;
        let turn = async |ours: &Ours| {
            load.sequential(MANY.saturating_sub(self.sent)).await?;
            ours.gateway.rss_mb()
        };
        let rss = bench.ours.turn(turn).await?;
        self.figures.add("gateway_rss_mb", rss, "MB")
    }
}
