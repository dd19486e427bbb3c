//! `weighbridge-gateway`: the roles `serve` and `proxy`.

use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    weighbridge_gateway::runtime::run(weighbridge_gateway::cli::Cli::parse()).await
}
