//! The operator as a process of its own, with what it says on `/metrics` and in its log.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::testbed::{self, wait};

const IMAGE: &str = "images.weighbridge.local/inference-server:test";

/// A running operator; killed when dropped.
pub struct Operator {
    child: Child,
    admin: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Operator {
    /// Starts `program` with its Lease in `namespace`, and waits until its admin port is open.
    pub async fn start<A: AsRef<OsStr>>(
        program: &Path,
        namespace: &str,
        identity: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let kubeconfig = env::var_os(testbed::KUBECONFIG).context("no control plane")?;
        Self::start_at(program, (&kubeconfig, namespace), identity, IMAGE, arguments).await
    }

    /// The same as the ServiceAccount `account` of `namespace`, with that one's rights and by that one's name.
    pub async fn start_as<A: AsRef<OsStr>>(
        program: &Path,
        client: &Client,
        (namespace, account): (&str, &str),
        identity: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        // It is read by the time that the admin port is open.
        let kubeconfig = testbed::kubeconfig_of(client, namespace, account).await?;
        Self::start_at(program, (kubeconfig.path().as_os_str(), namespace), identity, IMAGE, arguments).await
    }

    /// The same at a cluster of one's own, with its kubeconfig, whose nodes run `image` as the engine.
    pub async fn start_at<A: AsRef<OsStr>>(
        program: &Path,
        (kubeconfig, namespace): (&OsStr, &str),
        identity: &str,
        image: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(format!("--inference-server-image={image}"))
            .args(["--gateway-image=images.weighbridge.local/gateway:test"])
            .arg("--metrics-listen=127.0.0.1:0")
            .args([format!("--namespace={namespace}"), format!("--identity={identity}")])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (opened, mut open) = watch::channel(None);
        let mut output = BufReader::new(child.stderr.take().context("its stderr")?).lines();
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                if let Some(address) = admin_address(&line) {
                    opened.send_replace(Some(address));
                }
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let admin = open.wait_for(Option::is_some).await.map(|address| address.clone().unwrap_or_default());
        let operator = Operator { child, admin: admin.unwrap_or_default(), lines };
        if operator.admin.is_empty() {
            bail!("the operator ended: {}", operator.said());
        }
        Ok(operator)
    }

    /// Its own `/metrics`, by the name of a series with its labels.
    pub async fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        metrics_at(&self.admin).await
    }

    /// Sum of the series that begin with `name` and hold every one of `labels`.
    pub async fn count(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let fits =
            |series: &str| series.starts_with(name) && labels.iter().all(|label| series.contains(label));
        Ok(self.metrics().await?.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum())
    }

    /// Reconciles so far of one kind.
    pub async fn reconciles(&self, kind: &str) -> Result<f64> {
        self.count("weighbridge_reconcile_total", &[&format!("kind=\"{kind}")]).await
    }

    /// Writes so far, but for those of the Lease.
    pub async fn writes(&self) -> Result<f64> {
        let all = self.count("weighbridge_reconcile_api_writes_total", &[]).await?;
        Ok(all - self.count("weighbridge_reconcile_api_writes_total", &["kind=\"Lease\""]).await?)
    }

    /// Everything it logged.
    pub fn said(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Its process id.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the operator has ended")
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.id()?;
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().await?;
        ensure!(sent.success(), "kill -{name} {id}");
        Ok(())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let end = tokio::time::timeout(wait::DEADLINE, self.child.wait()).await;
        Ok(end.context("the operator does not end")??)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nothing more can be done about a stderr that is closed.
            let _ = writeln!(std::io::stderr(), "the operator said:\n{}", self.said());
        }
    }
}

/// The `/metrics` at an admin port, by the name of a series with its labels.
pub async fn metrics_at(address: &str) -> Result<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let series =
        text.lines().filter(|line| line.starts_with("weighbridge_")).filter_map(|line| line.rsplit_once(' '));
    Ok(series.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

/// The admin port's address, where a line of the log says it.
pub fn admin_address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").filter(|fields| fields["message"] == "admin port open")?;
    fields["address"].as_str().map(str::to_owned)
}
