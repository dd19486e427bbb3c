use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use tokio::process::{Child, Command};

use super::kubeai;
use super::model::Which;
use crate::measured::{cpu_time, rss_mb};
use crate::operator::{admin_address, metrics_at};
use crate::testbed::{self, TestNamespace, audit, wait};

/// How the chart has malloc give back what it does not need.
const AS_IN_THE_CHART: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];
/// Lines of its log that an error quotes.
const LAST_LINES: usize = 10;

/// A controller as a process of its own, with a namespace of its own.
pub struct Subject {
    /// Which one.
    pub which: Which,
    /// Where its models are.
    pub namespace: TestNamespace,
    program: PathBuf,
    state: tempfile::TempDir,
    kubeai_config: Option<PathBuf>,
    process: Option<Child>,
    begun: Instant,
    controller_manager: u32,
}

/// What was spent so far.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// CPU of the controller.
    pub own: Duration,
    /// CPU of Kubernetes' own controllers.
    pub controller_manager: Duration,
    /// Writes, but for those of Leases.
    pub writes: usize,
    /// When.
    pub at: Instant,
}

impl Subject {
    /// Furnishes a namespace and starts the program.
    ///
    /// # Errors
    /// Where the control plane refuses something, or the program does not start.
    pub async fn start(client: &Client, which: Which, program: &Path) -> Result<Self> {
        let namespace = TestNamespace::create(client, "bench").await?;
        let state = tempfile::tempdir()?;
        let kubeai_config = match which {
            Which::Weighbridge => None,
            Which::KubeAi => Some(kubeai::furnish(client, &namespace, program, state.path()).await?),
        };
        let controller_manager = std::env::var(testbed::CONTROLLER_MANAGER)
            .with_context(|| format!("{} is not set: run under `testbed run`", testbed::CONTROLLER_MANAGER))?
            .parse()?;
        let program = program.to_owned();
        let begun = Instant::now();
        let mut subject = Subject {
            which,
            namespace,
            program,
            state,
            kubeai_config,
            process: None,
            begun,
            controller_manager,
        };
        subject.begin()?;
        Ok(subject)
    }

    /// Starts the program again.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn begin(&mut self) -> Result<()> {
        let kubeconfig = std::env::var_os(testbed::KUBECONFIG).context("no control plane")?;
        let mut command = Command::new(&self.program);
        match self.which {
            Which::Weighbridge => {
                command
                    .args(["--inference-server-image=images.weighbridge.local/inference-server:test"])
                    .args(["--gateway-image=images.weighbridge.local/gateway:test"])
                    .args(["--metrics-listen=127.0.0.1:0", "--identity=bench"])
                    .envs(AS_IN_THE_CHART)
                    .arg(format!("--namespace={}", self.namespace.name()));
            }
            Which::KubeAi => {
                command
                    .env("POD_NAMESPACE", self.namespace.name())
                    .env("CONFIG_PATH", self.kubeai_config.as_deref().context("its configuration")?);
            }
        }
        let log = File::create(self.log())?;
        self.begun = Instant::now();
        let process = command
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it as a kubelet would; returns how long that took.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn end(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let id = self.id()?;
        let sent = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        ensure!(sent.success(), "kill -TERM {id}");
        let mut process = self.process.take().context("it runs")?;
        tokio::time::timeout(wait::DEADLINE, process.wait()).await.context("it does not end")??;
        Ok(began.elapsed())
    }

    /// What was spent so far.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn spent(&mut self) -> Result<Spent> {
        Ok(Spent {
            own: cpu_time(self.id()?)?,
            controller_manager: cpu_time(self.controller_manager)?,
            writes: self.writes()?,
            at: Instant::now(),
        })
    }

    /// Resident memory, in MB.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn rss_mb(&mut self) -> Result<f64> {
        rss_mb(self.id()?)
    }

    /// Writes so far, but for those of Leases, by the apiserver's audit log.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub fn writes(&self) -> Result<usize> {
        Ok(self.writes_by_kind()?.values().sum())
    }

    /// The same, by verb and resource.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub fn writes_by_kind(&self) -> Result<BTreeMap<String, usize>> {
        // A program's user agent begins with its file's name.
        let agent = format!("{}/", self.which.name());
        let all = audit::writes(self.namespace.name())?;
        let is_own = |write: &&audit::Write| {
            write.user_agent.starts_with(&agent) && write.object_ref.resource != "leases"
        };
        let mut counts = BTreeMap::new();
        for write in all.iter().filter(is_own) {
            let audit::Object { resource, subresource, .. } = &write.object_ref;
            let slash = if subresource.is_empty() { "" } else { "/" };
            *counts.entry(format!("{} {resource}{slash}{subresource}", write.verb)).or_default() += 1;
        }
        Ok(counts)
    }

    /// Waits until ours has looked at `models` models since it was started, and returns how long that took.
    ///
    /// # Errors
    /// Where it ends, or takes longer than `limit`.
    pub async fn looked_at(&mut self, models: usize, limit: Duration) -> Result<Duration> {
        loop {
            self.id()?;
            let log = std::fs::read_to_string(self.log())?;
            if let Some(address) = log.lines().find_map(admin_address) {
                let series = metrics_at(&address).await?;
                let fits = |name: &str| {
                    name.starts_with("weighbridge_reconcile_total")
                        && name.contains("kind=\"ModelDeployment\"")
                };
                let looked: f64 = series.iter().filter(|(name, _)| fits(name)).map(|(_, count)| count).sum();
                if looked as usize >= models {
                    return Ok(self.begun.elapsed());
                }
            }
            ensure!(
                self.begun.elapsed() < limit,
                "not every model was looked at within {} s",
                limit.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn id(&mut self) -> Result<u32> {
        let process = self.process.as_mut().context("it does not run")?;
        if let Some(status) = process.try_wait()? {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(LAST_LINES).collect();
            let last = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            anyhow::bail!("{} ended with {status}; its last words:\n{last}", self.program.display());
        }
        process.id().context("it has ended")
    }

    fn log(&self) -> PathBuf {
        self.state.path().join("log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malloc_is_told_what_the_chart_tells_it() {
        let chart = include_str!("../../../charts/weighbridge/golden/default.yaml");
        let told: Vec<_> =
            chart.lines().filter(|line| line.contains("name: MALLOC_")).map(str::trim).collect();
        let here = AS_IN_THE_CHART.map(|(name, value)| format!("- {{ name: {name}, value: \"{value}\" }}"));
        assert_eq!(told, here);
    }
}
