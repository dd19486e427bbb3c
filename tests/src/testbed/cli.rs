//! The `testbed` program.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use super::{node, run};

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
    /// Start a whole cluster on this machine: control plane, kubelet, containerd. Needs root.
    Up(Node),
    /// Stop it and leave nothing behind.
    Down,
    /// Give it the images that were built since.
    Load,
    /// Print what a shell evaluates to use it.
    Env,
    /// End its apiserver outright, or start it again.
    Apiserver {
        /// Which of the two.
        order: Order,
    },
    /// What `up` starts: keep the cluster until a signal comes.
    #[command(hide = true)]
    Serve(Node),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Order {
    Stop,
    Start,
}

#[derive(Debug, clap::Args)]
struct Node {
    /// How many stand-in GPUs the node offers.
    #[arg(long, default_value_t = 1)]
    gpus: u32,
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
        Command::Run { no_count, command } => return run::run(&command, !no_count).await,
        Command::Up(Node { gpus }) => node::up(gpus).await?,
        Command::Down => node::down()?,
        Command::Load => node::load().await?,
        Command::Env => node::print_environment()?,
        Command::Apiserver { order: Order::Stop } => node::stop_apiserver()?,
        Command::Apiserver { order: Order::Start } => node::start_apiserver()?,
        Command::Serve(Node { gpus }) => node::serve(gpus).await?,
    }
    Ok(ExitCode::SUCCESS)
}
