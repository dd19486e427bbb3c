//! The upstream of the benchmarks of streams, a process of its own.

use clap::Parser;
use weighbridge_tests::gateways::{Pacing, run_upstream};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    pacing: Pacing,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    run_upstream(Arguments::parse().pacing).await
}
