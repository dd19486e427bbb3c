//! Flags. They are part of the product: the operator writes them into pod templates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use url::Url;
use weighbridge_wire::provider::{Kind, Location, Place, Project, Region};

use crate::{Drain, GatewayConfig, KeySource, Limits, ProxyConfig, Timeouts};

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
    /// Flags of both roles.
    #[command(flatten)]
    pub common: Common,
}

impl ServeArgs {
    /// The configuration that the flags describe.
    pub fn config(&self) -> GatewayConfig {
        GatewayConfig {
            limits: self.common.limits(),
            timeouts: Timeouts::default(),
            drain: self.common.drain(),
        }
    }
}

/// Flags of `proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,
    /// Whose API it is: OpenAI, AzureOpenAI, Anthropic, Gemini, Vertex, Bedrock, OpenAICompatible or AnthropicCompatible.
    #[arg(long)]
    pub kind: Kind,
    /// Base of the provider's paths, such as https://api.example.com/v1 [default: the kind's own, where it has one].
    #[arg(long)]
    pub base_url: Option<Url>,
    /// Google Cloud's project, for kind Vertex.
    #[arg(long, requires = "vertex_location", conflicts_with = "bedrock_region")]
    pub vertex_project: Option<Project>,
    /// Where in Vertex AI the models are, such as us-central1, eu or global, for kind Vertex.
    #[arg(long, requires = "vertex_project", conflicts_with = "bedrock_region")]
    pub vertex_location: Option<Location>,
    /// The region of AWS, for kind Bedrock.
    #[arg(long)]
    pub bedrock_region: Option<Region>,
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
            place: self.place(),
            keys: self.key_files.clone(),
            allow_private: self.allow_private,
            ca_file: self.ca_file.clone(),
            limits: self.common.limits(),
            timeouts: Timeouts::default(),
            drain: self.common.drain(),
        }
    }

    /// Where the flags say that the models are. The parser takes a project and a location together.
    fn place(&self) -> Option<Place> {
        if let (Some(project), Some(location)) = (&self.vertex_project, &self.vertex_location) {
            return Some(Place::Vertex { project: project.clone(), location: location.clone() });
        }
        Some(Place::Bedrock { region: self.bedrock_region.clone()? })
    }
}
