//! Flags. They are part of the product: the operator writes them into pod templates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use url::Url;
use weighbridge_tls::TlsError;
use weighbridge_tls::args::{PodArgs, ServerArgs, UpstreamArgs};
use weighbridge_wire::provider::Kind;

use crate::{Drain, GatewayConfig, KeySource, Limits, ProxyConfig, TelemetryConfig, Timeouts};

/// One door in front of every model, and the proxy that holds a provider's keys.
#[derive(Debug, Parser)]
#[command(name = "weighbridge-gateway", version)]
pub struct Cli {
    /// What to be.
    #[command(subcommand)]
    pub role: Role,
}

/// The roles.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Serve every model of the cluster behind one URL.
    Serve(ServeArgs),
    /// Stand in front of one provider, holding its keys.
    Proxy(ProxyArgs),
}

/// Flags of both roles.
#[derive(Debug, Args)]
pub struct Common {
    /// Address for probes (/livez, /readyz) and /metrics.
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub metrics_listen: SocketAddr,
    /// Seconds to serve on, not ready, after SIGTERM, until no new request is routed here.
    #[arg(long, default_value_t = 5)]
    pub drain_delay: u64,
    /// Seconds that open requests get to finish after that.
    #[arg(long, default_value_t = 300)]
    pub drain_timeout: u64,
    /// Largest request body, in bytes.
    #[arg(long, default_value_t = 32 << 20)]
    pub max_body_bytes: usize,
    /// Most connections open at once.
    #[arg(long, default_value_t = 16_384)]
    pub max_connections: usize,
}

impl Common {
    fn drain(&self) -> Drain {
        Drain {
            delay: Duration::from_secs(self.drain_delay),
            timeout: Duration::from_secs(self.drain_timeout),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            body_bytes: self.max_body_bytes,
            connections: self.max_connections,
            requests: self.max_connections,
            ..Limits::default()
        }
    }
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where spans and metrics go.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// What callers are shown.
    #[command(flatten)]
    pub tls: ServerArgs,
    /// What engines and proxies are shown.
    #[command(flatten)]
    pub upstream: UpstreamArgs,
    /// Flags of both roles.
    #[command(flatten)]
    pub common: Common,
}

impl ServeArgs {
    /// The configuration that the flags describe.
    ///
    /// # Errors
    /// A certificate's file that can't be used.
    pub fn config(&self) -> Result<GatewayConfig, TlsError> {
        Ok(GatewayConfig {
            limits: self.common.limits(),
            timeouts: Timeouts::default(),
            drain: self.common.drain(),
            telemetry: self.telemetry.config(),
            upstream: self.upstream.load()?.map(Arc::new),
        })
    }
}

/// Flags of the export by OpenTelemetry. Sampling, names and headers are set by the standard OTEL_ variables.
#[derive(Clone, Debug, Default, Args)]
pub struct TelemetryArgs {
    /// Send spans and metrics to this OTLP endpoint over HTTP, such as http://collector:4318 [default: nowhere].
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Url>,
    /// More certificate authorities to trust at that endpoint, in PEM.
    #[arg(long, value_name = "PATH", env = "OTEL_EXPORTER_OTLP_CERTIFICATE", requires = "otlp_endpoint")]
    pub otlp_ca_file: Option<PathBuf>,
}

impl TelemetryArgs {
    /// The configuration that the flags describe; `None` where they name no endpoint.
    pub fn config(&self) -> Option<TelemetryConfig> {
        let Self { otlp_endpoint, otlp_ca_file } = self;
        Some(TelemetryConfig { collector: otlp_endpoint.clone()?, ca_file: otlp_ca_file.clone() })
    }
}

/// Flags of `proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,
    /// Whose API it is: OpenAI, AzureOpenAI, Anthropic, Gemini, OpenAICompatible or AnthropicCompatible.
    #[arg(long)]
    pub kind: Kind,
    /// Base of the provider's paths, such as https://api.example.com/v1 [default: the kind's own, where it has one].
    #[arg(long)]
    pub base_url: Option<Url>,
    /// File that holds a key, and its share of the requests [weight: 1 to 1000, default 1]; read again when it
    /// changes. May be given again.
    #[arg(long = "key-file", value_name = "PATH[=WEIGHT]", required = true)]
    pub key_files: Vec<KeySource>,
    /// Name of the ExternalProvider, for metrics and errors.
    #[arg(long)]
    pub provider: String,
    /// Namespace of the ExternalProvider, for metrics.
    #[arg(long)]
    pub namespace: String,
    /// Allow plain http, and addresses that are loopback, private or link-local.
    #[arg(long)]
    pub allow_private: bool,
    /// More certificate authorities to trust, in PEM.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// What callers are shown, and who is let in.
    #[command(flatten)]
    pub tls: PodArgs,
    /// Flags of both roles.
    #[command(flatten)]
    pub common: Common,
}

impl ProxyArgs {
    /// The configuration that the flags describe.
    pub fn config(&self) -> ProxyConfig {
        ProxyConfig {
            namespace: self.namespace.clone(),
            provider: self.provider.clone(),
            kind: self.kind,
            base_url: self.base_url.clone(),
            keys: self.key_files.clone(),
            allow_private: self.allow_private,
            ca_file: self.ca_file.clone(),
            limits: self.common.limits(),
            timeouts: Timeouts::default(),
            drain: self.common.drain(),
        }
    }
}
