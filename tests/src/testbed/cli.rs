//! The `testbed` program.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use super::run;

#[derive(Debug, Parser)]
#[command(about = "Real Kubernetes clusters for Weighbridge's tests")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a control plane, run a command against it, take everything down again.
    ///
    /// The command finds the cluster in KUBECONFIG and WEIGHBRIDGE_TEST_KUBECONFIG. Where the latter
    /// is set already, that cluster is used and none is started.
    Run {
        /// Succeed even if no test used the control plane: for a command that is not a test run.
        #[arg(long)]
        no_count: bool,
        /// The command and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

/// Reads the command line and obeys it.
pub async fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "warn,kube_client::client::builder=off".into()),
        )
        .init();
    match Arguments::parse().command {
        Command::Run { no_count, command } => run::run(&command, !no_count).await,
    }
}
