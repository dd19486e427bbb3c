//! The load of `make cluster-demo S=…`: runs until it is told to end, then prints what failed and what was cut.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use weighbridge_tests::demo::{Outcome, Steady};
use weighbridge_tests::engine::random_model;

#[derive(Parser)]
enum Command {
    /// Makes a model of random weights that answers at once, and prints where it is.
    Model {
        /// The folder.
        folder: PathBuf,
    },
    /// Sends streams and requests to a model through a gateway.
    Run(Args),
}

#[derive(clap::Args)]
struct Args {
    /// The gateway.
    #[arg(long)]
    address: SocketAddr,
    /// The model's public name.
    #[arg(long)]
    model: String,
    /// A file with the caller's key.
    #[arg(long)]
    key_file: PathBuf,
    /// Streams at once.
    #[arg(long, default_value_t = 32)]
    streams: usize,
    /// Tokens of each of them.
    #[arg(long, default_value_t = 64)]
    stream_tokens: usize,
    /// Requests a second beside them.
    #[arg(long, default_value_t = 50)]
    rate: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = match Command::parse() {
        Command::Model { folder } => {
            writeln!(std::io::stdout(), "{}", random_model(&folder)?.display())?;
            return Ok(());
        }
        Command::Run(args) => args,
    };
    let Args { address, model, key_file, streams, stream_tokens, rate } = args;
    let key = std::fs::read_to_string(&key_file).with_context(|| format!("read {}", key_file.display()))?;
    let key = key.trim().to_owned();
    let (stop, stopped) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    let steady = Steady { address, model, key, streams, stream_tokens, rate };
    let Outcome { requests, failed, streams, cut, words } = steady.run(stopped).await;
    let mut out = std::io::stdout();
    for words in &words {
        writeln!(out, "failed: {words}")?;
    }
    writeln!(out, "figure requests_answered {requests}\nfigure streams_whole {streams}")?;
    writeln!(out, "figure requests_failed {failed}\nfigure streams_cut {cut}")?;
    Ok(())
}
