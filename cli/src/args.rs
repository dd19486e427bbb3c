//! Flags.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use url::Url;
use weighbridge_gateway::cli::{LimitArgs, TelemetryArgs, TimeoutArgs, TotalArgs};
use weighbridge_operator::plan::{Bounds, Proxies, PullPolicy};
use weighbridge_tls::args::ServerArgs;

/// Serves open weights and closed APIs behind one URL.
#[derive(Debug, Parser)]
#[command(name = "weighbridge", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The things that it does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the models of a file on this machine, with no cluster.
    Up(Box<UpArgs>),
    /// Talk to a model. The API key, where the door asks for one, comes from WEIGHBRIDGE_API_KEY.
    Chat(ChatArgs),
    /// Print what a cluster would be given for a file, and why.
    Plan(PlanArgs),
    /// Bring an earlier revision of a cluster's model back: writes what made it into the model's spec.
    Rollback(RollbackArgs),
    /// Pass a step of a trial (`rollout.strategy: Canary`) of a cluster's model, or all of them.
    Promote(PromoteArgs),
    /// Make an API key for callers, or hash one.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make a model with random weights, for benchmarks and tests.
    Synth(Box<SynthArgs>),
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// YAML with ModelDeployments and what they name; `-` for stdin.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Address of the one door.
    #[arg(long, value_name = "[HOST:]PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,
    /// What callers are shown.
    #[command(flatten)]
    pub tls: ServerArgs,
    /// Let other machines in without a ModelAccess in the file: needed with a --listen that is not this machine's own.
    /// Nothing asks callers who they are then, and they spend your providers' money.
    #[arg(long)]
    pub allow_remote: bool,
    /// Address of /metrics, /livez and /readyz of the door [default: none].
    #[arg(long, value_name = "[HOST:]PORT", value_parser = address)]
    pub metrics_listen: Option<SocketAddr>,
    /// A folder in place of a PersistentVolumeClaim, for pvc:// sources. May be given again.
    #[arg(long, value_name = "NAME=FOLDER", value_parser = claim)]
    pub claim: Vec<(String, PathBuf)>,
    /// Where a key of a Secret is: env:VARIABLE or file:PATH, never the key itself. May be given again.
    #[arg(long, value_name = "[NAMESPACE/]NAME/KEY=env:VARIABLE|file:PATH")]
    pub secret: Vec<String>,
    /// Namespace in which a bare model name is looked up; with a ModelAccess in the file, its own.
    #[arg(long, default_value = "default")]
    pub default_namespace: String,
    /// Folder for fetched weights [default: ~/.cache/weighbridge].
    #[arg(long, env = "WEIGHBRIDGE_CACHE")]
    pub cache_folder: Option<PathBuf>,
    /// Seconds that open streams get to finish after Ctrl-C; a second Ctrl-C ends them at once.
    #[arg(long, default_value_t = 300)]
    pub drain_timeout: u64,
    /// How much at once.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How long.
    #[command(flatten)]
    pub timeouts: TimeoutArgs,
    /// How long in all.
    #[command(flatten)]
    pub total: TotalArgs,
    /// Where spans and metrics go.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Flags of `chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// The model's name: bare, or namespace/name.
    pub model: String,
    /// Where the door is.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_parser = door)]
    pub url: Url,
    /// More certificate authorities to trust, in PEM: of a door whose certificate no public one has signed.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A system message before the first question.
    #[arg(long)]
    pub system: Option<String>,
    /// How freely tokens are drawn, 0 to 2; small models want little [default: the server's].
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Longest answer, in tokens [default: the model's own end, or the end of its context].
    #[arg(long)]
    pub max_tokens: Option<u64>,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The model: bare in kubectl's own namespace, or namespace/name.
    pub model: String,
    /// A revision of `status.history` [default: the one that was superseded last].
    #[arg(long, value_name = "REVISION")]
    pub to: Option<String>,
}

/// Flags of `promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The model: bare in kubectl's own namespace, or namespace/name.
    pub model: String,
    /// Pass every step that is left, measured or not, also of a revision that was aborted.
    #[arg(long)]
    pub all: bool,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key: itself on stderr, once, and on stdout the ModelAccess that lets it in, for `kubectl apply -f -`.
    Create(KeyCreateArgs),
    /// Print the hash of a key made elsewhere, from stdin, as `spec.keys[].sha256` has it.
    Hash,
}

/// Flags of `key create`.
#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// Who will hold it: what the access log says in the key's place.
    #[arg(long)]
    pub name: String,
    /// Namespace of the models, and of the ModelAccess [default: kubectl's].
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Name of the ModelAccess [default: the key's].
    #[arg(long, value_name = "NAME")]
    pub access: Option<String>,
    /// A model of the namespace that it may call, or MODEL:ADAPTER. May be given again [default: every model].
    #[arg(long)]
    pub model: Vec<String>,
    /// When it ends: 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z [default: never].
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub expires: Option<String>,
    /// Write the key into a new file that only you can read, and show it nowhere.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// YAML with ModelDeployments and what they name; `-` for stdin.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// A folder in place of a PersistentVolumeClaim, for pvc:// sources: the header of the weights is read there, and with it
    /// whether the hardware holds them. May be given again.
    #[arg(long, value_name = "NAME=FOLDER", value_parser = claim)]
    pub claim: Vec<(String, PathBuf)>,
    /// Image of the inference server, as the operator would be told.
    #[arg(long, default_value = concat!("images.weighbridge.local/inference-server:", env!("CARGO_PKG_VERSION")))]
    pub inference_server_image: String,
    /// Image of the gateway, as the operator would be told.
    #[arg(long, default_value = concat!("images.weighbridge.local/gateway:", env!("CARGO_PKG_VERSION")))]
    pub gateway_image: String,
    /// When nodes pull the images, as the operator would be told.
    #[arg(long, value_enum, default_value_t)]
    pub image_pull_policy: PullPolicy,
    /// Secret for pulling the images, as the operator would be told. May be given again.
    #[arg(long = "image-pull-secret", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub image_pull_secrets: Vec<String>,
    /// Namespace of the gateway's pods.
    #[arg(long, default_value = "weighbridge-system")]
    pub gateway_namespace: String,
    /// Namespace of the operator's pods. Default: the gateway's.
    #[arg(long)]
    pub operator_namespace: Option<String>,
    /// What engines and proxies share with gateways, as the operator would be told.
    #[command(flatten)]
    pub bounds: Bounds,
    /// Proxies between engines and what they fetch, as the operator would be told.
    #[command(flatten)]
    pub proxies: Proxies,
}

/// Flags of `synth`.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Where to: a .gguf file, or a folder for safetensors with config.json and tokenizer.json. Shards of NAME.gguf are
    /// NAME-00001-of-00003.gguf and so on.
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,
    /// llama, mistral, mixtral, qwen2, qwen3, qwen3-moe, gemma2, gemma3, phi3, or, as a folder, bert, xlm-roberta.
    #[arg(long, default_value = "llama")]
    pub family: String,
    /// Dimensions to begin with: tiny, minilm, 1.1b, 8b. The flags below change them one by one.
    #[arg(long, default_value = "tiny")]
    pub shape: String,
    /// Type of the layers' matrices, such as q4_k, q8_0 or bf16; in a folder also e4m3, 8-bit floats with a scale a block of
    /// 128 x 128, e4m3-channel and e4m3-tensor [default: q4_k in a file, bf16 in a folder].
    #[arg(long, value_name = "TYPE")]
    pub matrices: Option<String>,
    /// Type of the embedding table and the output matrix [default: what quantisers choose: q6_k beside q4_k].
    #[arg(long, value_name = "TYPE")]
    pub embeddings: Option<String>,
    /// With a classifier of one score: a reranker, of bert or xlm-roberta.
    #[arg(long)]
    pub reranker: bool,
    /// Files that the weights are cut into.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    /// Seed: the same gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Replace what lies there.
    #[arg(long)]
    pub force: bool,
    /// Threads that write [default: one a core].
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
    /// Leave the tokenizer out; the vocabulary may then be of any size.
    #[arg(long)]
    pub no_tokenizer: bool,
    /// Layers.
    #[arg(long)]
    pub layers: Option<usize>,
    /// Width of the residual stream.
    #[arg(long)]
    pub embedding: Option<usize>,
    /// Query heads.
    #[arg(long)]
    pub heads: Option<usize>,
    /// Key-value heads.
    #[arg(long)]
    pub kv_heads: Option<usize>,
    /// Elements of a head.
    #[arg(long)]
    pub head: Option<usize>,
    /// Width of the feed-forward part.
    #[arg(long)]
    pub feed_forward: Option<usize>,
    /// Tokens.
    #[arg(long)]
    pub vocabulary: Option<usize>,
    /// Longest context.
    #[arg(long)]
    pub context: Option<usize>,
    /// Experts of mixtral and qwen3-moe.
    #[arg(long)]
    pub experts: Option<usize>,
    /// Experts that a token is sent to.
    #[arg(long)]
    pub experts_used: Option<usize>,
    /// Width of one expert of qwen3-moe.
    #[arg(long)]
    pub expert_feed_forward: Option<usize>,
    /// Tokens that layers with a window see: mistral, gemma2, gemma3, phi3.
    #[arg(long)]
    pub window: Option<usize>,
    /// Base of the rotary frequencies.
    #[arg(long)]
    pub rope_base: Option<f32>,
    /// Scaling of the rotary frequencies: none, linear (llama, gemma3), llama3 (llama), yarn (qwen2, qwen3, qwen3-moe),
    /// longrope (phi3).
    #[arg(long, value_name = "KIND", default_value = "none")]
    pub rope: String,
    /// Whether the embedding table is the output matrix too.
    #[arg(long)]
    pub tied: Option<bool>,
}

/// An address of this machine, where a bare port is one of loopback.
fn address(given: &str) -> Result<SocketAddr, String> {
    let loopback = Ipv4Addr::LOCALHOST;
    let written = match given.split_once(':') {
        None => format!("{loopback}:{given}"),
        Some(("" | "localhost", port)) => format!("{loopback}:{port}"),
        Some(_) => given.to_owned(),
    };
    written.parse().map_err(|_| "write PORT, or ADDRESS:PORT as in 127.0.0.1:8080".to_owned())
}

/// A URL, where the scheme may be left out.
fn door(given: &str) -> Result<Url, String> {
    let written = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
    written.parse().map_err(|error| format!("{error}: write http://HOST:PORT"))
}

fn claim(given: &str) -> Result<(String, PathBuf), String> {
    match given.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(folder)))
        }
        _ => Err("write NAME=FOLDER".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_loopbacks() {
        for given in ["8081", ":8081", "localhost:8081", "127.0.0.1:8081"] {
            assert_eq!(address(given).unwrap().to_string(), "127.0.0.1:8081", "{given}");
        }
        assert_eq!(address("[::1]:8081").unwrap().to_string(), "[::1]:8081");
        for given in ["", "x", "8081x", "70000", "example.com:80"] {
            assert!(address(given).unwrap_err().contains("write PORT"), "{given}");
        }
    }

    #[test]
    fn a_door_needs_no_scheme() {
        for given in ["127.0.0.1:8080", "localhost:8080", "http://localhost:8080"] {
            assert!(door(given).unwrap().as_str().ends_with(":8080/"), "{given}");
        }
        assert!(door("http://").unwrap_err().contains("write http://HOST:PORT"));
    }
}
