//! The other processes: the upstream, and the gateway's own program.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use weighbridge_tests::door::Client;
use weighbridge_tests::measured::{cpu_time, rss_mb};

/// A gateway that is not ready by then never will be.
const START: Duration = Duration::from_secs(30);

/// A process; it is killed when dropped.
pub struct Child {
    pub address: SocketAddr,
    pid: u32,
    _process: tokio::process::Child,
    /// Where the gateway finds the apiserver, and its log.
    _folder: Option<TempDir>,
}

impl Child {
    /// This program as the upstream, at the address that it prints.
    pub async fn upstream() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("upstream")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("it ended at once")?;
        let pid = process.id().context("it ended at once")?;
        Ok(Self { address: line.parse()?, pid, _process: process, _folder: None })
    }

    /// `weighbridge-gateway serve`, as a pod runs it, over the cluster that `apiserver` describes.
    pub async fn gateway(apiserver: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (kubeconfig, log) = (folder.path().join("kubeconfig"), folder.path().join("log"));
        std::fs::write(&kubeconfig, config(apiserver))?;
        let program = std::env::current_exe()?.with_file_name("weighbridge-gateway");
        let mut process = Command::new(&program)
            .args(["serve", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            .env("KUBECONFIG", &kubeconfig)
            // The access log is on. A file costs the gateway what a pipe would, and wakes no reader of it.
            .stdout(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let pid = process.id().context("it ended at once")?;
        let began = Instant::now();
        let address = loop {
            if let Some(address) = ready(&log).await {
                break address;
            }
            ensure!(
                process.try_wait()?.is_none() && began.elapsed() < START,
                "{}",
                std::fs::read_to_string(&log)?
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Ok(Self { address, pid, _process: process, _folder: Some(folder) })
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_time(self.pid)
    }

    /// Resident memory in MB.
    pub fn rss_mb(&self) -> Result<f64> {
        rss_mb(self.pid)
    }
}

/// Where the gateway answers, once its log says it and its probe is content.
async fn ready(log: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains("\"listening\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |field: &str| line["fields"][field].as_str()?.parse::<SocketAddr>().ok();
    let mut probe = Client::connect(address("admin")?).await.ok()?;
    let answer = probe.get("/readyz").await.ok()?;
    if answer.status.is_success() { address("public") } else { None }
}

fn config(apiserver: SocketAddr) -> String {
    let cluster = format!("{{name: bench, cluster: {{server: \"http://{apiserver}\"}}}}");
    format!(
        "{{apiVersion: v1, kind: Config, current-context: bench, clusters: [{cluster}], users: [{{name: bench, user: {{}}}}], \
         contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]}}"
    )
}
