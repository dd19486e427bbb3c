//! `weighbridge-gateway` as a pod runs it: auth, limits, metrics and access log on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weighbridge_tls::Identity;

use super::apiserver::{self, CLOSED, Endpoints, NAMESPACE, PROVIDER};
use super::nginx::Nginx;
use super::program::{Program, answers};
use super::target::Target;
use crate::certificates::Installation;

/// One that is not ready by then never will be.
const START: Duration = Duration::from_secs(30);

/// Its name in tables.
const NAME: &str = "weighbridge";
/// That of [`Ours::two_hops`].
pub const TWO_HOPS: &str = "weighbridge, two hops";
/// That of [`Ours::in_cluster`].
pub const NAME_MUTUAL: &str = "weighbridge, mTLS";
/// That of its [`Ours::two_hops`].
pub const TWO_HOPS_MUTUAL: &str = "weighbridge, mTLS, two hops";

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
        Self::start(NAME, Endpoints { engine, proxy: None }, None, None, folder).await
    }

    /// The same, with a model of a provider too: its proxy calls nginx by TLS. Between gateway, engine and proxy there is plain
    /// HTTP, as between the gateways of others and their upstream.
    ///
    /// # Errors
    /// Where one of the two does not start.
    pub async fn with_proxy(nginx: &Nginx, folder: &Path) -> Result<Self> {
        let proxy = proxy("proxy", nginx, None, folder).await?;
        let endpoints = Endpoints { engine: nginx.plain, proxy: Some(proxy.1) };
        Self::start(NAME, endpoints, Some(proxy.0), None, folder).await
    }

    /// The same as the operator sets it up: gateway, engine and proxy know each other by their certificates.
    ///
    /// # Errors
    /// Where one of the two does not start.
    pub async fn in_cluster(nginx: &Nginx, installation: &Installation, folder: &Path) -> Result<Self> {
        let proxy = proxy("proxy-mutual", nginx, Some(installation), folder).await?;
        let endpoints = Endpoints { engine: nginx.mutual, proxy: Some(proxy.1) };
        Self::start(NAME_MUTUAL, endpoints, Some(proxy.0), Some(installation), folder).await
    }

    async fn start(
        name: &'static str,
        endpoints: Endpoints,
        proxy: Option<Program>,
        installation: Option<&Installation>,
        folder: &Path,
    ) -> Result<Self> {
        let apiserver = apiserver::start(endpoints).await?;
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, config(apiserver).to_string())?;
        let mut command = program()?;
        command
            .args(["serve", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            .env("KUBECONFIG", &kubeconfig);
        if let Some(installation) = installation {
            let files = installation.pod("gateway", &Identity::Gateway)?;
            command
                .arg(format!("--upstream-cert-file={}/tls.crt", files.display()))
                .arg(format!("--upstream-key-file={}/tls.key", files.display()))
                .arg(format!("--upstream-ca-file={}/ca.crt", files.display()));
        }
        let mut gateway = Program::start(name, &mut command, folder)?;
        let address = gateway.until(START, ready).await?;
        Ok(Self { target: Target::openai(name, address), gateway, proxy })
    }

    /// The model that is two hops away: gateway, proxy, TLS.
    pub fn two_hops(&self) -> Target {
        let name = if self.target.name == NAME { TWO_HOPS } else { TWO_HOPS_MUTUAL };
        self.target.for_model(name, CLOSED)
    }

    /// Stops it until its turn.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        self.gateway.pause()?;
        self.proxy.as_ref().map_or(Ok(()), Program::pause)
    }

    fn resume(&self) -> Result<()> {
        self.gateway.resume()?;
        self.proxy.as_ref().map_or(Ok(()), Program::resume)
    }

    /// Lets it run for its turn.
    ///
    /// # Errors
    /// What `turn` says.
    pub async fn turn<T>(&self, turn: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        self.resume()?;
        let done = turn(self).await;
        self.pause()?;
        done
    }
}

/// A proxy that calls nginx as a provider, and where it answers.
async fn proxy(
    name: &'static str,
    nginx: &Nginx,
    installation: Option<&Installation>,
    folder: &Path,
) -> Result<(Program, SocketAddr)> {
    let key = folder.join("key");
    std::fs::write(&key, "sk-upstream")?;
    let mut command = program()?;
    command
        .args(["proxy", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--kind=OpenAI"])
        .args(["--allow-private", "--namespace", NAMESPACE, "--provider", PROVIDER])
        .arg(format!("--base-url=https://{}/v1", nginx.tls))
        .arg(format!("--key-file={}", key.display()))
        .arg(format!("--ca-file={}", nginx.authority.display()));
    if let Some(installation) = installation {
        let identity = Identity::Proxy { namespace: NAMESPACE.to_owned(), name: PROVIDER.to_owned() };
        let files = installation.pod(name, &identity)?;
        command
            .arg(format!("--tls-cert-file={}/tls.crt", files.display()))
            .arg(format!("--tls-key-file={}/tls.key", files.display()))
            .arg(format!("--client-ca-file={}/ca.crt", files.display()));
    }
    let mut proxy = Program::start(name, &mut command, folder)?;
    let address = proxy.until(START, ready).await?;
    Ok((proxy, address))
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
