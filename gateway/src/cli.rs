//! Flags. They are part of the product: the operator writes them into pod templates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use url::Url;
use weighbridge_tls::TlsError;
use weighbridge_tls::args::{PodArgs, ServerArgs, UpstreamArgs};
use weighbridge_wire::provider::{Kind, Location, Place, Project, Region};

use crate::{Drain, GatewayConfig, KeySource, Limits, LimitsError, ProxyConfig, TelemetryConfig, Timeouts};

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
    /// How much at once.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How long.
    #[command(flatten)]
    pub timeouts: TimeoutArgs,
}

impl Common {
    fn drain(&self) -> Drain {
        Drain {
            delay: Duration::from_secs(self.drain_delay),
            timeout: Duration::from_secs(self.drain_timeout),
        }
    }
}

/// Bounds on size and number.
#[derive(Clone, Debug, Args)]
pub struct LimitArgs {
    /// Largest request body.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes, value_parser = positive())]
    pub max_body_bytes: usize,
    /// Request bodies and whole answers in memory at once; whoever finds no room gets 503 [default: a fifth of
    /// --memory-limit, at most 512 MiB].
    #[arg(long, value_name = "BYTES", value_parser = positive())]
    pub max_buffered_bytes: Option<usize>,
    /// Most connections open at once; further ones wait [default: as many as fit a fifth of --memory-limit, at most 16384].
    #[arg(long, value_name = "N", value_parser = positive())]
    pub max_connections: Option<usize>,
    /// Memory that this process may use, from which other bounds follow [default: enough for all of them].
    #[arg(long, value_name = "BYTES", env = "WEIGHBRIDGE_MEMORY_LIMIT")]
    pub memory_limit: Option<u64>,
}

impl LimitArgs {
    /// The bounds that the flags describe.
    ///
    /// # Errors
    /// Those that can't hold together.
    pub fn limits(&self) -> Result<Limits, LimitsError> {
        let Self { max_body_bytes, max_buffered_bytes, max_connections, memory_limit } = *self;
        let fitting = memory_limit.map_or_else(Limits::default, Limits::within);
        let buffered_bytes = max_buffered_bytes.unwrap_or(fitting.buffered_bytes);
        let connections = max_connections.unwrap_or(fitting.connections);
        Limits {
            body_bytes: max_body_bytes,
            buffered_bytes,
            connections,
            requests: connections,
            answer_bytes: Limits::default().answer_bytes.min(buffered_bytes / 2),
            event_bytes: fitting.event_bytes,
        }
        .checked()
    }
}

/// Bounds on time.
#[derive(Clone, Debug, Args)]
pub struct TimeoutArgs {
    /// Until an upstream begins its answer, or has computed all of one that is no stream.
    #[arg(long, value_name = "SECONDS", default_value_t = Timeouts::default().first_byte.as_secs(), value_parser = seconds())]
    pub first_byte_timeout: u64,
    /// Until an upstream that has begun says more.
    #[arg(long, value_name = "SECONDS", default_value_t = Timeouts::default().idle.as_secs(), value_parser = seconds())]
    pub idle_timeout: u64,
    /// Until a client takes something of what is written to it.
    #[arg(long, value_name = "SECONDS", default_value_t = Timeouts::default().write_stall.as_secs(), value_parser = seconds())]
    pub write_timeout: u64,
}

impl TimeoutArgs {
    /// The bounds that the flags describe.
    pub fn timeouts(&self) -> Timeouts {
        let Self { first_byte_timeout, idle_timeout, write_timeout } = *self;
        Timeouts {
            first_byte: Duration::from_secs(first_byte_timeout),
            idle: Duration::from_secs(idle_timeout),
            write_stall: Duration::from_secs(write_timeout),
            ..Timeouts::default()
        }
    }
}

/// The bound on a whole request, which is the door's alone.
#[derive(Clone, Debug, Args)]
pub struct TotalArgs {
    /// Until the last byte of an answer, whatever comes meanwhile.
    #[arg(long, value_name = "SECONDS", default_value_t = Timeouts::default().total.as_secs(), value_parser = seconds())]
    pub total_timeout: u64,
}

impl TotalArgs {
    /// `timeouts` with it.
    pub fn within(&self, timeouts: Timeouts) -> Timeouts {
        Timeouts { total: Duration::from_secs(self.total_timeout), ..timeouts }
    }
}

fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// A week at most: more is meant by nobody, and far more is beyond what clocks count.
fn seconds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..=604_800)
}

/// What Kubernetes takes as the name of a Service (RFC 1035).
fn service_name(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let well_formed = text.len() <= 63
        && text.bytes().all(is_inner)
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-');
    let words = "write the name of a Service alone: at most 63 of a-z, 0-9 and '-', beginning with a letter";
    if well_formed { Ok(text.to_owned()) } else { Err(words.to_owned()) }
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A certificate's file.
    #[error("a certificate can't be used")]
    Tls(#[from] TlsError),
    /// Bounds.
    #[error(transparent)]
    Limits(#[from] LimitsError),
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
    /// Name of the Service in front of the gateways, in this one's own namespace: as many as are ready there share the
    /// requests that may wait for a model [default: this one takes them all].
    #[arg(long, value_name = "NAME", value_parser = service_name)]
    pub service: Option<String>,
    /// Address on which the operator, and nobody else, is told where calls go, by the certificate that engines and proxies are
    /// shown [default: it is told to nobody].
    #[arg(long, value_name = "ADDRESS", requires = "upstream_cert_file")]
    pub state_listen: Option<SocketAddr>,
    /// How long in all.
    #[command(flatten)]
    pub total: TotalArgs,
    /// Flags of both roles.
    #[command(flatten)]
    pub common: Common,
}

impl ServeArgs {
    /// The configuration that the flags describe.
    ///
    /// # Errors
    /// A certificate's file that can't be used, and bounds that can't hold together.
    pub fn config(&self) -> Result<GatewayConfig, ConfigError> {
        Ok(GatewayConfig {
            limits: self.common.limits.limits()?,
            timeouts: self.total.within(self.common.timeouts.timeouts()),
            drain: self.common.drain(),
            telemetry: self.telemetry.config(),
            upstream: self.upstream.load()?.map(Arc::new),
            waker: None,
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
    /// What callers are shown, and who is let in.
    #[command(flatten)]
    pub tls: PodArgs,
    /// Flags of both roles.
    #[command(flatten)]
    pub common: Common,
}

impl ProxyArgs {
    /// The configuration that the flags describe.
    ///
    /// # Errors
    /// Bounds that can't hold together.
    pub fn config(&self) -> Result<ProxyConfig, LimitsError> {
        Ok(ProxyConfig {
            namespace: self.namespace.clone(),
            provider: self.provider.clone(),
            kind: self.kind,
            base_url: self.base_url.clone(),
            place: self.place(),
            keys: self.key_files.clone(),
            allow_private: self.allow_private,
            ca_file: self.ca_file.clone(),
            limits: self.common.limits.limits()?,
            timeouts: self.common.timeouts.timeouts(),
            drain: self.common.drain(),
        })
    }

    /// Where the flags say that the models are. The parser takes a project and a location together.
    fn place(&self) -> Option<Place> {
        if let (Some(project), Some(location)) = (&self.vertex_project, &self.vertex_location) {
            return Some(Place::Vertex { project: project.clone(), location: location.clone() });
        }
        Some(Place::Bedrock { region: self.bedrock_region.clone()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(flags: &[&str]) -> Result<ProxyConfig, String> {
        let must = [
            "weighbridge-gateway",
            "proxy",
            "--kind=OpenAI",
            "--key-file=k",
            "--provider=p",
            "--namespace=n",
        ];
        let parsed = Cli::try_parse_from(must.iter().chain(flags)).map_err(|error| error.to_string())?;
        match parsed.role {
            Role::Proxy(args) => args.config().map_err(|error| error.to_string()),
            Role::Serve(_) => Err("not that role".to_owned()),
        }
    }

    #[test]
    fn every_bound_that_has_a_flag_is_in_the_configuration() {
        let config = proxy(&[
            "--max-body-bytes=7",
            "--max-buffered-bytes=15",
            "--max-connections=3",
            "--first-byte-timeout=11",
            "--idle-timeout=12",
            "--write-timeout=13",
        ])
        .expect("usable");
        let Limits { body_bytes, buffered_bytes, connections, requests, answer_bytes, event_bytes: _ } =
            config.limits;
        assert_eq!((body_bytes, buffered_bytes, connections, requests, answer_bytes), (7, 15, 3, 3, 7));
        let Timeouts { first_byte, idle, write_stall, .. } = config.timeouts;
        assert_eq!([first_byte, idle, write_stall].map(|time| time.as_secs()), [11, 12, 13]);
        let serve =
            Cli::try_parse_from(["weighbridge-gateway", "serve", "--total-timeout=14"]).expect("usable");
        match serve.role {
            Role::Serve(args) => assert_eq!(args.config().expect("usable").timeouts.total.as_secs(), 14),
            Role::Proxy(_) => panic!("not that role"),
        }
    }

    #[test]
    fn a_service_is_named_as_kubernetes_names_it() {
        let serve = |name: &str| {
            let flags = ["weighbridge-gateway".to_owned(), "serve".to_owned(), format!("--service={name}")];
            match Cli::try_parse_from(flags).map_err(|error| error.to_string())?.role {
                Role::Serve(args) => Ok(args.service),
                Role::Proxy(_) => Err("not that role".to_owned()),
            }
        };
        assert_eq!(serve("a-weighbridge-gateway"), Ok(Some("a-weighbridge-gateway".to_owned())));
        for bad in ["", "namespace/name", "Gateway", "-a", "a-", "4a", "a,b", &"a".repeat(64)] {
            let error = serve(bad).expect_err(bad);
            assert!(error.contains("--service") && error.contains("the name of a Service alone"), "{error}");
        }
    }

    #[test]
    fn bounds_follow_the_memory_unless_they_are_set() {
        let limits = |flags: &[&str]| proxy(flags).expect("usable").limits;
        assert_eq!(limits(&[]), Limits::default());
        assert_eq!(limits(&["--memory-limit=536870912"]), Limits::within(512 << 20));
        let set = limits(&["--memory-limit=536870912", "--max-connections=9000"]);
        assert_eq!((set.connections, set.buffered_bytes), (9000, Limits::within(512 << 20).buffered_bytes));
    }

    #[test]
    fn bounds_that_bind_nothing_or_contradict_each_other_are_refused_by_their_flags() {
        for (flag, words) in [
            ("--max-body-bytes=0", "--max-body-bytes"),
            ("--max-body-bytes=-1", "--max-body-bytes"),
            ("--max-connections=0", "--max-connections"),
            ("--first-byte-timeout=0", "--first-byte-timeout"),
            ("--idle-timeout=18446744073709551615", "--idle-timeout"),
            ("--max-buffered-bytes=1000", "twice the first"),
            ("--memory-limit=100000000", "--max-buffered-bytes 20000000"),
        ] {
            let refused = proxy(&[flag]).expect_err(flag);
            assert!(refused.contains(words), "{flag}: {refused}");
        }
    }
}
