//! `weighbridge-gateway` as a pod runs it: auth, limits, metrics and access log on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::apiserver::{self, CLOSED, Endpoints, NAMESPACE, PROVIDER};
use super::nginx::Nginx;
use super::program::{Program, answers};
use super::target::Target;

/// One that is not ready by then never will be.
const START: Duration = Duration::from_secs(30);

/// A running gateway, and the proxy that a second model of its is behind.
pub struct Ours {
    /// The gateway with an open model, whose engine is the upstream.
    pub target: Target,
    /// The gateway.
    pub gateway: Program,
    proxy: Option<Program>,
}

impl Ours {
    /// A gateway whose open model answers at `engine`.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn before(engine: SocketAddr, folder: &Path) -> Result<Self> {
        Self::start(Endpoints { engine, proxy: None }, None, folder).await
    }

    /// The same, with a model of a provider too: its proxy calls nginx by TLS.
    ///
    /// # Errors
    /// Where one of the two does not start.
    pub async fn with_proxy(nginx: &Nginx, folder: &Path) -> Result<Self> {
        let key = folder.join("key");
        std::fs::write(&key, "sk-upstream")?;
        let mut command = program()?;
        command
            .args(["proxy", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--kind=OpenAI"])
            .args(["--allow-private", "--namespace", NAMESPACE, "--provider", PROVIDER])
            .arg(format!("--base-url=https://{}/v1", nginx.tls))
            .arg(format!("--key-file={}", key.display()))
            .arg(format!("--ca-file={}", nginx.authority.display()));
        let mut proxy = Program::start("proxy", &mut command, folder)?;
        let address = proxy.until(START, ready).await?;
        Self::start(Endpoints { engine: nginx.plain, proxy: Some(address) }, Some(proxy), folder).await
    }

    async fn start(endpoints: Endpoints, proxy: Option<Program>, folder: &Path) -> Result<Self> {
        let apiserver = apiserver::start(endpoints).await?;
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, config(apiserver).to_string())?;
        let mut command = program()?;
        command
            .args(["serve", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            .env("KUBECONFIG", &kubeconfig);
        let mut gateway = Program::start("weighbridge", &mut command, folder)?;
        let address = gateway.until(START, ready).await?;
        Ok(Self { target: Target::openai("weighbridge", address), gateway, proxy })
    }

    /// The model that is two hops away: gateway, proxy, TLS.
    pub fn two_hops(&self) -> Target {
        self.target.for_model("weighbridge, two hops", CLOSED)
    }

    /// Stops what the gateway's own turn does not need, or all.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        self.gateway.pause()?;
        self.proxy.as_ref().map_or(Ok(()), Program::pause)
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resume(&self) -> Result<()> {
        self.gateway.resume()?;
        self.proxy.as_ref().map_or(Ok(()), Program::resume)
    }
}

/// The release build beside this program.
fn program() -> Result<Command> {
    let program: PathBuf = std::env::current_exe()?.with_file_name("weighbridge-gateway");
    program.is_file().then(|| Command::new(&program)).with_context(|| format!("no {}", program.display()))
}

/// Where it answers, once its log says it and its probe is content.
async fn ready(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |field: &str| line["fields"][field].as_str()?.parse::<SocketAddr>().ok();
    if answers(address("admin")?, "/readyz").await { address("public") } else { None }
}

/// A kubeconfig, in the JSON that every reader of YAML reads.
fn config(apiserver: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": format!("http://{apiserver}")}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    })
}
