//! The operator's program, built together with the tests that run it.

use clap::Parser;
use weighbridge_operator::{Settings, run};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    Ok(run(Settings::parse()).await?)
}
