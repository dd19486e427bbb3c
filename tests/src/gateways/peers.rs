//! The gateways of others: each with one model that is the upstream, as light as it can be set.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::nginx;
use super::program::{Program, answers, free_port};
use super::target::Target;

/// How long one may take to start: Python's imports alone take tens of seconds on a busy machine.
const START: Duration = Duration::from_secs(180);

/// Of the gateway that TensorZero's wheel holds.
const NO_PROBE: &str = "";

/// LiteLLM refuses to start with a short master key.
const LITELLM_KEY: &str = "sk-bench-0123456789abcdef0123456789";

/// A gateway of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// 2026.6.0, in Rust, out of PyPI; no auth, no database.
    #[value(name = "tensorzero")]
    TensorZero,
    /// 0.9.0, in Rust; no auth, no database, no metrics, no guardrails: as its own benchmark has it.
    #[value(name = "litellm-rs")]
    LitellmRs,
    /// 1.15.2, on Node.js, one process; answers that are no streams.
    #[value(name = "portkey")]
    Portkey,
    /// 1.106.2, in Python, two workers; a master key, no database.
    #[value(name = "litellm")]
    Litellm,
    /// No gateway: nginx as a reverse proxy, which passes bytes and reads none of them. What passing takes.
    #[value(name = "nginx")]
    Nginx,
}

/// One that runs.
pub struct RunningPeer {
    /// Which.
    pub peer: Peer,
    /// The way to it.
    pub target: Target,
    /// The program.
    pub program: Program,
}

impl Peer {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::TensorZero => "tensorzero",
            Self::LitellmRs => "litellm-rs",
            Self::Portkey => "portkey",
            Self::Litellm => "litellm",
            Self::Nginx => "nginx, passing",
        }
    }

    /// Whether streams pass: of Portkey's, on Node 20, none does (HTTP 500, `TypeError: immutable`).
    pub fn streams(self) -> bool {
        self != Self::Portkey
    }

    /// Requests in a round, of `most`: a round of the slow ones is not to take ten times longer.
    pub fn share(self, most: usize) -> usize {
        match self {
            Self::TensorZero | Self::LitellmRs | Self::Nginx => most,
            Self::Portkey => most / 4,
            Self::Litellm => most / 16,
        }
    }

    /// Installs it where it is not yet, and says where it is.
    ///
    /// # Errors
    /// Where that can't be, and why.
    pub fn install(self) -> Result<PathBuf> {
        let what = match self {
            Self::TensorZero | Self::Litellm => "python",
            Self::LitellmRs => "litellm-rs",
            Self::Portkey => "portkey",
            Self::Nginx => {
                nginx::install()?;
                return Ok(PathBuf::from("nginx"));
            }
        };
        let script = folder().join("install.sh");
        let output =
            Command::new(&script).arg(what).stderr(Stdio::piped()).output().context("no installer")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{}", said.lines().last().unwrap_or("the installer said nothing"));
        }
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    }

    /// Starts what [`Self::install`] found, with its files in `folder`, in front of `upstream`.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start(self, installed: &Path, upstream: SocketAddr, folder: &Path) -> Result<RunningPeer> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut target = Target::openai(self.name(), address);
        let config = folder.join(format!("{}.config", self.name()));
        let mut command = Command::new(installed);
        let probe = match self {
            Self::TensorZero => {
                std::fs::write(&config, tensorzero(upstream))?;
                command.arg(self::folder().join("serve_tensorzero.py")).arg(&config);
                target.path = "/openai/v1/chat/completions";
                target.model = "tensorzero::model_name::mock";
                NO_PROBE
            }
            Self::LitellmRs => {
                std::fs::write(&config, litellm_rs(upstream, port))?;
                command.arg("--config").arg(&config).args(["--log-level", "error", "serve"]);
                "/health"
            }
            Self::Portkey => {
                command = Command::new("node");
                command
                    .arg(installed.join("node_modules/@portkey-ai/gateway/build/start-server.js"))
                    .arg(format!("--port={port}"))
                    .arg("--headless");
                target.headers.push(("x-portkey-provider", "openai".to_owned()));
                target.headers.push(("x-portkey-custom-host", format!("http://{upstream}/v1")));
                "/"
            }
            Self::Litellm => {
                std::fs::write(&config, litellm(upstream))?;
                command
                    .arg(installed.with_file_name("litellm"))
                    .arg("--config")
                    .arg(&config)
                    .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--num_workers", "2"])
                    // Workers that are slow to import, or paused here, are not to be taken for dead.
                    .args(["--timeout_worker_healthcheck", "600"])
                    // Else it fetches prices from the network.
                    .env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
                target.headers = vec![("authorization", format!("Bearer {LITELLM_KEY}"))];
                "/health/liveliness"
            }
            Self::Nginx => {
                std::fs::write(&config, passing(upstream, port, folder))?;
                command.arg("-p").arg(folder).arg("-c").arg(&config);
                "/ready"
            }
        };
        let mut program = Program::start(self.name(), &mut command, folder)?;
        let answered = async |log: &str| {
            if probe == NO_PROBE {
                // It chooses its port itself, and says so once it answers there.
                return log.lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok());
            }
            answers(address, probe).await.then_some(address)
        };
        target.address = program.until(START, answered).await?;
        Ok(RunningPeer { peer: self, target, program })
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/gateways")
}

fn tensorzero(upstream: SocketAddr) -> String {
    format!(
        r#"[gateway]
observability.enabled = false
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "mock"
api_base = "http://{upstream}/v1/"
api_key_location = "none"
"#
    )
}

fn litellm(upstream: SocketAddr) -> String {
    format!(
        r"model_list:
  - model_name: mock
    litellm_params:
      model: openai/mock
      api_base: http://{upstream}/v1
      api_key: sk-upstream
general_settings:
  master_key: {LITELLM_KEY}
litellm_settings:
  telemetry: false
"
    )
}

/// One worker: a second has nothing to do that would show.
fn passing(upstream: SocketAddr, port: u16, folder: &Path) -> String {
    let here = folder.display();
    format!(
        r#"daemon off;
worker_processes 1;
pid {here}/passing.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path {here}/passing-bodies;
    proxy_temp_path {here}/passing-proxied;
    fastcgi_temp_path {here}/passing-fastcgi;
    uwsgi_temp_path {here}/passing-uwsgi;
    scgi_temp_path {here}/passing-scgi;
    upstream streams {{ server {upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location = /ready {{ return 200; }}
        location / {{
            proxy_pass http://streams;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"#
    )
}

fn litellm_rs(upstream: SocketAddr, port: u16) -> String {
    format!(
        r#"schema_version: "1.0"
server: {{host: 127.0.0.1, port: {port}, workers: 2, max_connections: 1024, dev_mode: false}}
providers:
  - name: mock
    provider_type: vllm
    api_key: ""
    base_url: http://{upstream}/v1
    endpoint_access: private_network
    rpm: 4294967295
    tpm: 4294967295
    max_concurrent_requests: 256
    timeout: 60
    max_retries: 0
    models: [mock]
    enabled: true
router:
  strategy: round_robin
  circuit_breaker: {{failure_threshold: 5, recovery_timeout: 60, min_requests: 10, success_threshold: 3}}
  load_balancer: {{health_check_enabled: false}}
storage:
  database: {{url: "postgresql://127.0.0.1/none", max_connections: 1, connection_timeout: 1, ssl: false, enabled: false}}
  redis: {{url: "redis://127.0.0.1:1", enabled: false, max_connections: 1, connection_timeout: 1, cluster: false}}
  vector_db: null
auth: {{enable_jwt: false, enable_api_key: false, allow_anonymous: true}}
monitoring: {{metrics: {{enabled: false}}, tracing: {{enabled: false}}}}
cache: {{enabled: false}}
rate_limit: {{enabled: false}}
guardrails: {{enabled: false}}
ip_access: {{enabled: false}}
enterprise: {{enabled: false}}
pricing:
  source: embedded://model_prices_extended
  unpriced_model_policy: allow_unpriced
  unpriced_fallback_cost_per_1k_tokens: 0.0
"#
    )
}
