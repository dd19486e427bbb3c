//! The operator over 1,000 ModelDeployments on a real control plane, beside KubeAI's controller over as many Models of its.
//!
//! Runs under `testbed run`; the operator is the release build beside this program. `KUBEAI` names the folder of KubeAI's
//! program, without which it is NOT RUN.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weighbridge_tests::controllers::{KUBEAI, Outcome, Plan, Which, measure};
use weighbridge_tests::figures::Figures;
use weighbridge_tests::testbed::{self, SimulatedNode};

/// Measures controllers on the control plane of `testbed run`.
#[derive(Parser)]
struct Args {
    /// Models that each is given.
    #[arg(long, default_value_t = 1000)]
    models: usize,
    /// Models applied each second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Seconds in which nothing is done.
    #[arg(long, default_value_t = 600)]
    idle: u64,
    /// The operator's program. Default: `weighbridge-operator` beside this one.
    #[arg(long)]
    operator: Option<PathBuf>,
}

/// Nodes for every model's pod, and for as many more while one is replaced.
const PODS_A_NODE: usize = 500;

#[tokio::main]
async fn main() -> Result<()> {
    let Args { models, rate, idle, operator } = Args::parse();
    let plan = Plan { models, rate, idle: Duration::from_secs(idle) };
    let client = testbed::client().await?;
    for number in 0..=(2 * models / PODS_A_NODE) {
        SimulatedNode::new(&format!("bench-{number}")).sized(1024, 8192).create(&client).await?;
    }
    let mut figures = Figures::new("operator-1000");
    figures.add("models", models as f64, "count")?;
    let program = match operator {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name(Which::Weighbridge.name()),
    };
    let ours = measure(&client, Which::Weighbridge, &program, plan, &mut figures).await?;
    match std::env::var_os(KUBEAI).map(PathBuf::from) {
        Some(folder) => {
            let program = folder.join(Which::KubeAi.name());
            let theirs = measure(&client, Which::KubeAi, &program, plan, &mut figures).await?;
            compare(ours, theirs, &mut figures)?;
        }
        None => writeln!(
            std::io::stdout(),
            "KubeAI's controller: NOT RUN (KUBEAI_SRC names no checkout of its source)"
        )?,
    }
    figures.write()
}

fn compare(ours: Outcome, theirs: Outcome, figures: &mut Figures) -> Result<()> {
    let Outcome { own, controller_manager, rss_mb, writes } = ours;
    figures.add("cpu_ratio_kubeai_own", theirs.own / own, "times")?;
    let all = (theirs.own + theirs.controller_manager) / (own + controller_manager);
    figures.add("cpu_ratio_kubeai", all, "times")?;
    figures.add("rss_ratio_kubeai", theirs.rss_mb / rss_mb, "times")?;
    figures.add("writes_ratio_kubeai", theirs.writes / writes, "times")
}
