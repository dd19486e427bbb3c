//! `weighbridge-inference-server`: one model, one process.

use clap::Parser as _;
use weighbridge_inference_server::cli::Cli;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(cli.run());
    // Threads that still load a model, or compute, are not waited for.
    runtime.shutdown_background();
    Ok(served?)
}
