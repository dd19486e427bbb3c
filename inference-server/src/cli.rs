//! The command line of `weighbridge-inference-server`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weighbridge_crds::source::Source;
use weighbridge_crds::{DEFAULT_DRAIN, KvCacheType, Quantization, Sleep, SleepingWeights};
use weighbridge_tls::args::PodArgs;
use weighbridge_tls::{Identity, NamedFile, authorities};

use crate::artifact::{
    ArtifactRequest, Credentials, Digest, EntryName, HubAccess, Network, Proxies, PublicKey, Signature,
    StorageAccess, Token,
};
use crate::server::{
    AdapterConfig, DeviceSetting, HeldFile, Inspection, ModelFile, ServeError, ServerConfig, evict, fetch,
    inspect, serve,
};

/// Serves open weights over OpenAI's API.
#[derive(Debug, Parser)]
#[command(name = "weighbridge-inference-server", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "json")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load one model and answer requests.
    Serve(Box<ServeArgs>),
    /// Read a model's header, and say as JSON what it is and what it would need of memory.
    Inspect(Box<InspectArgs>),
    /// Fetch a model into a cache that several pods share, and say as JSON what is there.
    Fetch(Box<FetchArgs>),
    /// Take entries out of such a cache, and say as JSON which are gone.
    Evict(EvictArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One object a line, for collectors.
    Json,
    /// For people.
    Text,
}

#[derive(Debug, Args)]
struct SourceArgs {
    /// hf://org/repo/file.gguf, s3://bucket/key, gs://bucket/object, oci://registry/repository:tag/file.gguf (or @sha256:… in the tag's
    /// place; the file may be left out where the artefact holds one alone), https://host/path/file.gguf, pvc://claim/file.gguf or file:///folder/file.gguf; for the latter
    /// two also a folder with config.json, tokenizer.json and safetensors. Proxies are read from HTTPS_PROXY, HTTP_PROXY and
    /// NO_PROXY.
    #[arg(long)]
    source: Source,
    /// Branch, tag or commit of an hf source.
    #[arg(long)]
    revision: Option<String>,
    /// sha256:… of the file; anything else is refused.
    #[arg(long)]
    digest: Option<Digest>,
    /// Signature of the model, as OpenSSF Model Signing writes it: its path from the folder of the source's file, or in the source
    /// where that is a folder.
    #[arg(long, requires = "signature_key")]
    signature_bundle: Option<String>,
    /// Public key, in PEM, of whoever has to have signed it.
    #[arg(long, requires = "signature_bundle")]
    signature_key: Option<String>,
    /// Base URL of the hub for hf sources. The token is read from HF_TOKEN.
    #[arg(long)]
    hub_endpoint: Option<url::Url>,
    /// Base URL of the server of an s3, gs or oci source, in place of the cloud's own or the registry's name.
    #[arg(long)]
    storage_endpoint: Option<url::Url>,
    /// Region of an s3 source's bucket [default: us-east-1].
    #[arg(long)]
    storage_region: Option<String>,
    /// Folder with what the server is shown, in files: `token` of https sources, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN` of s3, `service-account.json` of gs, `.dockerconfigjson` of oci.
    #[arg(long)]
    credentials_folder: Option<PathBuf>,
    /// Authorities, in PEM, that may vouch for the source's server, beside the public ones.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Folder for fetched files.
    #[arg(long, env = "WEIGHBRIDGE_CACHE", default_value = "/cache")]
    cache_folder: PathBuf,
    /// CLAIM=FOLDER: where a claim is mounted, for pvc sources.
    #[arg(long, value_parser = claim)]
    claim: Vec<(String, PathBuf)>,
}

#[derive(Debug, Args)]
struct SettingArgs {
    /// Longest prompt and answer together, in tokens [default: the model's own, at most 8192].
    #[arg(long)]
    context_length: Option<usize>,
    /// Sequences computed at once.
    #[arg(long, default_value_t = ServerConfig::MAX_SEQUENCES)]
    max_sequences: usize,
    /// What keys and values are kept as: auto (f16), f32, f16, q8_0 (CPUs) or fp8 (GPUs).
    #[arg(long, default_value_t)]
    kv_cache_type: KvCacheType,
    /// What the matrices of safetensors are quantised to while loading: Q8_0 or Q4_K [default: as they are stored].
    #[arg(long)]
    quantize: Option<Quantization>,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// Where the model is. A digest is compared with what a hub says of its file, and with no byte.
    #[command(flatten)]
    source: SourceArgs,
    /// What it is to be served with.
    #[command(flatten)]
    settings: SettingArgs,
    /// File that is written in place of stdout, such as a container's /dev/termination-log.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct FetchArgs {
    /// Where the model is, and the folder of the cache.
    #[command(flatten)]
    source: SourceArgs,
    /// What stands for it in the cache: 1 to 64 of a-z and 0-9.
    #[arg(long)]
    entry: EntryName,
    /// Address of /livez, /readyz and /metrics, where it says how far it is.
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// File that is written in place of stdout, such as a container's /dev/termination-log.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct EvictArgs {
    /// Folder of the cache.
    #[arg(long)]
    cache_folder: PathBuf,
    /// An entry that is to go, unless somebody reads it; give it again for further ones.
    #[arg(long, required = true)]
    entry: Vec<EntryName>,
    /// An entry that somebody knows of; where there are any, others that are older than a day go too.
    #[arg(long)]
    known: Vec<EntryName>,
    /// File that is written in place of stdout, such as a container's /dev/termination-log.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address of the API.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Address of /livez, /readyz and /metrics; with the API when left out.
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// What callers are shown, and who is let in.
    #[command(flatten)]
    tls: PodArgs,
    /// Name that requests use; give it again for further names.
    #[arg(long, required = true)]
    model_name: Vec<String>,
    /// Where it is.
    #[command(flatten)]
    source: SourceArgs,
    /// NAME=SOURCE: a LoRA adapter, which requests ask for as MODEL:NAME; give it again for further ones. A folder as PEFT
    /// writes it, or a GGUF file; sources are as above.
    #[arg(long, value_parser = named::<Source>)]
    adapter: Vec<(String, Source)>,
    /// NAME=REVISION: branch, tag or commit of an adapter's hf source.
    #[arg(long, value_parser = named::<String>)]
    adapter_revision: Vec<(String, String)>,
    /// NAME=sha256:… of an adapter's file; anything else is refused.
    #[arg(long, value_parser = named::<Digest>)]
    adapter_digest: Vec<(String, Digest)>,
    /// Folder of a cache that `fetch` filled: what has an entry is read from it, and not fetched.
    #[arg(long)]
    store: Option<PathBuf>,
    /// The model's entry in the cache.
    #[arg(long, requires = "store")]
    entry: Option<EntryName>,
    /// NAME=ENTRY: an adapter's entry in the cache.
    #[arg(long, value_parser = named::<EntryName>, requires = "store")]
    adapter_entry: Vec<(String, EntryName)>,
    /// What it is served with.
    #[command(flatten)]
    settings: SettingArgs,
    /// Sequences that may wait; more get 429.
    #[arg(long, default_value_t = 256)]
    max_waiting: usize,
    /// Tokens computed in one step [default: 256, and 512 of encoders, whose texts are one step].
    #[arg(long)]
    tokens_per_step: Option<usize>,
    /// Bytes of KV memory, on all devices together [default: one full context, and 512 tokens for each further sequence].
    #[arg(long)]
    kv_memory: Option<u64>,
    /// What computes: auto (a GPU where there is one), cpu, cuda, or cuda:UUID of one card as `nvidia-smi -L` prints it,
    /// cuda:UUID,UUID of several. Where a GPU can't be had the CPU serves, and log and /readyz say why.
    #[arg(long, default_value = "auto")]
    device: DeviceSetting,
    /// GPUs that share the model: more than one needs NCCL, and a number that divides the model's heads.
    #[arg(long, env = "WEIGHBRIDGE_TENSOR_PARALLEL", default_value = "1")]
    tensor_parallel: NonZeroUsize,
    /// Folder with the GPU's kernels [default: `kernels` beside the program].
    #[arg(long, env = "WEIGHBRIDGE_KERNELS")]
    kernels: Option<PathBuf>,
    /// Seconds without a request after which a model on a GPU gives the card's memory back; the next request takes it
    /// again [default: never].
    #[arg(long)]
    sleep_after: Option<i32>,
    /// Where its weights are meanwhile: dropped, and read from the file again, or in the memory of the host.
    #[arg(long, default_value_t, requires = "sleep_after")]
    sleep_weights: SleepingWeights,
    /// Threads that compute on the CPU [default: all cores].
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Largest request body, in bytes.
    #[arg(long, default_value_t = ServerConfig::MAX_BODY_BYTES)]
    max_body_bytes: usize,
    /// After SIGTERM, serve on, not ready, until no request came for so many seconds: in all at most 30, or this where it is
    /// more, and half of --drain-timeout.
    #[arg(long, default_value_t = 5)]
    drain_delay: u64,
    /// Seconds that open requests have to finish after SIGTERM.
    #[arg(long, default_value_t = DEFAULT_DRAIN.as_secs())]
    drain_timeout: u64,
}

/// What the server of `source` is shown, out of the files in `folder`.
fn credentials(source: &Source, folder: &Path) -> Result<Option<Credentials>, ServeError> {
    let field = "credentials-folder";
    let read = |key: &str| match std::fs::read_to_string(folder.join(key)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(ServeError::Config { field, problem: format!("{}: {error}", folder.join(key).display()) })
        }
    };
    let wrong = |problem| ServeError::Config { field, problem };
    Credentials::read(source, read)?.map_err(|error| wrong(error.to_string()))
}

fn claim(given: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) = given.split_once('=').ok_or("write CLAIM=FOLDER")?;
    Ok((name.to_owned(), PathBuf::from(folder)))
}

/// `NAME=VALUE`.
fn named<T: FromStr<Err: fmt::Display>>(given: &str) -> Result<(String, T), String> {
    let (name, value) = given.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.parse().map_err(|error: T::Err| error.to_string())?))
}

/// What further settings say of adapters.
struct OfAdapters {
    revisions: Vec<(String, String)>,
    digests: Vec<(String, Digest)>,
    entries: Vec<(String, EntryName)>,
}

/// Each adapter with what further settings say of it.
fn adapters(
    adapters: Vec<(String, Source)>,
    settings: OfAdapters,
    model: &ArtifactRequest,
    store: Option<&Path>,
) -> Result<Vec<AdapterConfig>, ServeError> {
    let OfAdapters { revisions, digests, entries } = settings;
    let mut revisions: BTreeMap<_, _> = revisions.into_iter().collect();
    let mut digests: BTreeMap<_, _> = digests.into_iter().collect();
    let mut entries: BTreeMap<_, _> = entries.into_iter().collect();
    let configs = adapters
        .into_iter()
        .map(|(name, source)| {
            let (revision, digest) = (revisions.remove(&name), digests.remove(&name));
            // What is said of the model's signature is not of an adapter's.
            let request = ArtifactRequest { source, revision, digest, signature: None, ..model.clone() };
            let file = placed(request, store, entries.remove(&name));
            AdapterConfig { name, file }
        })
        .collect();
    let left = [
        ("adapter revision", revisions.into_keys().next()),
        ("adapter digest", digests.into_keys().next()),
        ("adapter entry", entries.into_keys().next()),
    ];
    for (field, name) in left {
        if let Some(name) = name {
            let problem = format!("{name} is no adapter: name it with --adapter {name}=SOURCE");
            return Err(ServeError::Config { field, problem });
        }
    }
    Ok(configs)
}

/// What is read from the cache at `store` where it has an entry there, and resolved otherwise.
fn placed(request: ArtifactRequest, store: Option<&Path>, entry: Option<EntryName>) -> ModelFile {
    match (store, entry) {
        (Some(store), Some(entry)) => {
            let request = ArtifactRequest { cache_folder: store.to_owned(), ..request };
            ModelFile::Held(Box::new(HeldFile { request, entry }))
        }
        (Some(_), None) | (None, _) => ModelFile::Source(Box::new(request)),
    }
}

/// As one line of JSON, into `file` or to stdout.
fn written(value: &impl Serialize, file: Option<&Path>) -> Result<(), ServeError> {
    let written = serde_json::to_vec(value).map_err(std::io::Error::from).and_then(|mut json| {
        json.push(b'\n');
        match file {
            Some(path) => std::fs::write(path, &json),
            None => std::io::Write::write_all(&mut std::io::stdout(), &json),
        }
    });
    written.map_err(ServeError::Output)
}

impl Cli {
    /// Runs the command until SIGTERM or SIGINT; a second signal ends it at once.
    ///
    /// # Errors
    /// Whatever kept the server from serving.
    pub async fn run(self) -> Result<(), ServeError> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => logs.json().init(),
            LogFormat::Text => logs.init(),
        }
        let arguments = match self.command {
            Command::Serve(arguments) => arguments,
            Command::Inspect(arguments) => return arguments.run().await,
            Command::Fetch(arguments) => return arguments.run().await,
            Command::Evict(arguments) => return arguments.run().await,
        };
        let config = arguments.config()?;
        let signals = |kind| signal(kind).map_err(ServeError::Signals);
        let (mut terminate, mut interrupt) =
            (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
        let (drain, mut draining) = tokio::sync::oneshot::channel();
        let serving = serve(
            config,
            async {
                drain_signal(&mut draining).await;
            },
            Arc::new(|phase| tracing::debug!(%phase, "phase")),
        );
        let second_signal = async {
            let mut drain = Some(drain);
            loop {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                match drain.take() {
                    Some(drain) => {
                        drain.send(()).ok();
                    }
                    None => return,
                }
            }
        };
        tokio::select! {
            served = serving => served,
            () = second_signal => Err(ServeError::Interrupted),
        }
    }
}

/// The first signal; for ever, if the sender is gone.
async fn drain_signal(signal: &mut tokio::sync::oneshot::Receiver<()>) {
    if signal.await.is_err() {
        std::future::pending().await
    }
}

impl SourceArgs {
    fn request(self) -> Result<ArtifactRequest, ServeError> {
        let token = Token::from_environment()
            .map_err(|error| ServeError::Config { field: "HF_TOKEN", problem: error.to_string() })?;
        let proxies = Proxies::from_environment()
            .map_err(|error| ServeError::Config { field: "proxy", problem: error.to_string() })?;
        let authorities =
            self.ca_file.map(|path| authorities(&NamedFile::new("--ca-file", &path))).transpose()?;
        let key = self.signature_key.as_deref().map(PublicKey::from_pem).transpose();
        let key =
            key.map_err(|error| ServeError::Config { field: "signature", problem: error.to_string() })?;
        let signature = self.signature_bundle.zip(key).map(|(bundle, key)| Signature { bundle, key });
        let credentials = self.credentials_folder.as_deref().map(|folder| credentials(&self.source, folder));
        Ok(ArtifactRequest {
            storage: StorageAccess {
                endpoint: self.storage_endpoint,
                region: self.storage_region,
                credentials: credentials.transpose()?.flatten(),
            },
            network: Network { authorities: authorities.map(Arc::new), proxies },
            source: self.source,
            revision: self.revision,
            digest: self.digest,
            signature,
            hub: HubAccess { endpoint: self.hub_endpoint, token },
            cache_folder: self.cache_folder,
            claims: self.claim.into_iter().collect::<BTreeMap<_, _>>(),
        })
    }
}

impl InspectArgs {
    async fn run(self) -> Result<(), ServeError> {
        let SettingArgs { context_length, max_sequences, kv_cache_type, quantize } = self.settings;
        let request = self.source.request()?;
        let inspection = Inspection { request, context_length, max_sequences, kv_cache_type, quantize };
        let facts = inspect(inspection).await?;
        written(&facts, self.output.as_deref())
    }
}

impl FetchArgs {
    /// Until it is there, or a signal comes: what was fetched is kept for the next try.
    async fn run(self) -> Result<(), ServeError> {
        let request = self.source.request()?;
        if !request.source.is_fetched() {
            let problem = format!("{} is no source that is fetched: name one of a network", request.source);
            return Err(ServeError::Config { field: "source", problem });
        }
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let filled = tokio::select! {
            filled = fetch(request, &self.entry, self.admin_listen) => filled?,
            _ = terminate.recv() => return Err(ServeError::Stopped),
            _ = interrupt.recv() => return Err(ServeError::Stopped),
        };
        written(&filled, self.output.as_deref())
    }
}

impl EvictArgs {
    async fn run(self) -> Result<(), ServeError> {
        let Self { cache_folder, entry, known, output } = self;
        written(&evict(&cache_folder, &entry, &known).await?, output.as_deref())
    }
}

impl ServeArgs {
    fn config(self) -> Result<ServerConfig, ServeError> {
        let request = self.source.request()?;
        let SettingArgs { context_length, max_sequences, kv_cache_type, quantize } = self.settings;
        let of_adapters = OfAdapters {
            revisions: self.adapter_revision,
            digests: self.adapter_digest,
            entries: self.adapter_entry,
        };
        let store = self.store.as_deref();
        Ok(ServerConfig {
            device: self.device,
            tensor_parallel: self.tensor_parallel,
            kernels: self.kernels,
            whole_card: true,
            kernel_cache: request.cache_folder.join("kernels"),
            listen: self.listen,
            admin_listen: self.admin_listen,
            tls: self.tls.files(&[Identity::Gateway]),
            adapters: adapters(self.adapter, of_adapters, &request, store)?,
            model: placed(request, store, self.entry),
            model_names: self.model_name,
            context_length,
            max_sequences,
            max_waiting: self.max_waiting,
            tokens_per_step: self.tokens_per_step,
            kv_memory: self.kv_memory,
            kv_cache_type,
            quantize,
            sleep: self.sleep_after.map(|after_seconds| Sleep { after_seconds, weights: self.sleep_weights }),
            threads: self.threads,
            max_body_bytes: self.max_body_bytes,
            drain_delay: Duration::from_secs(self.drain_delay),
            drain_timeout: Duration::from_secs(self.drain_timeout),
        })
    }
}
