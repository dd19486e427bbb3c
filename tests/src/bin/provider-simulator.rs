//! The provider simulator as a program: an upstream of any dialect that misbehaves on request.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use weighbridge_tests::simulator::Simulator;

/// A provider of OpenAI's, Anthropic's and Gemini's paths; the `model` of a request names what it does.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let Arguments { listen } = Arguments::parse();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))?;
    let simulator = Simulator::on(listener, None)?;
    tracing::info!(address = %simulator.address(), "the simulator listens");
    tokio::signal::ctrl_c().await?;
    tracing::info!(counts = ?simulator.counts(), "done");
    Ok(())
}
