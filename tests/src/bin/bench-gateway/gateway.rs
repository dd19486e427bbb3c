//! The gateway as its own process, with metrics and the access log on.

use std::io::Write;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_gateway::{GatewayConfig, Listeners, Shutdown, serve};
use weighbridge_tests::door::entry;

pub async fn run(upstream: SocketAddr) -> anyhow::Result<()> {
    // The log costs what it costs in a pod, but must not mix with what the parent reads.
    let sink = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    tracing_subscriber::fmt().json().with_writer(sink).init();
    let public = TcpListener::bind("127.0.0.1:0").await?;
    let admin = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", public.local_addr()?)?;
    let directory = Directory::from_entries(vec![entry("mock", World::Open, &[upstream])]);
    let listeners = Listeners { public, admin: Some(admin) };
    Ok(serve(GatewayConfig::new("team"), listeners, directory, Shutdown::on_signals()?).await?)
}
