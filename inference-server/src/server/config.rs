//! What a server is told.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use weighbridge_crds::adapter::check_names;
use weighbridge_crds::{DEFAULT_DRAIN, KvCacheType, Quantization, Sleep};
use weighbridge_cuda::device::DeviceChoice;
use weighbridge_fit::rules;
use weighbridge_tls::ServerFiles;

use super::ServeError;
use crate::artifact::{ArtifactRequest, EntryName};
use crate::backend::cpu::KvKind;
use crate::backend::cuda::CacheKind;
use crate::http;

/// Beyond that no prompt is text.
const LARGEST_BODY: usize = 1 << 30;

/// Where the model file comes from.
#[derive(Clone, Debug)]
pub enum ModelFile {
    /// A file that is there and has been checked by whoever put it there.
    Path(PathBuf),
    /// A source to be resolved: found or fetched, and verified.
    Source(Box<ArtifactRequest>),
    /// An entry of a cache that several pods share: found and verified, and never fetched.
    Held(Box<HeldFile>),
}

/// An entry of a cache that several pods share.
#[derive(Clone, Debug)]
pub struct HeldFile {
    /// What it must be of; its cache folder is the cache.
    pub request: ArtifactRequest,
    /// Its name.
    pub entry: EntryName,
}

/// What computes a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceSetting {
    /// A GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs: those of these identifiers, or the first. Where they can't be had the CPU serves, and says why.
    Cuda(Vec<String>),
}

impl FromStr for DeviceSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(Vec::new())),
            other => match other.strip_prefix("cuda:") {
                Some(uuids) => uuids.split(',').map(identifier).collect::<Result<_, _>>().map(Self::Cuda),
                None => Err(format!(
                    "{other:?} is no device: auto, cpu, cuda, or cuda:UUID of one card, cuda:UUID,UUID of several"
                )),
            },
        }
    }
}

/// A card's identifier, checked.
fn identifier(text: &str) -> Result<String, String> {
    match text.parse()? {
        DeviceChoice::Uuid(uuid) => Ok(uuid),
        DeviceChoice::First => Err(format!("{text:?} is no card's identifier")),
    }
}

/// A LoRA adapter to serve beside the model.
#[derive(Clone, Debug)]
pub struct AdapterConfig {
    /// Its name: requests ask for `MODEL:NAME`.
    pub name: String,
    /// A folder as PEFT writes it, or a GGUF file.
    pub file: ModelFile,
}

/// Everything that a server can be told.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address of the API.
    pub listen: SocketAddr,
    /// Address of health and metrics, always by plain http; on the API's when absent.
    pub admin_listen: Option<SocketAddr>,
    /// What the API's port shows to callers, and whom it lets in; plain http when absent.
    pub tls: Option<ServerFiles>,
    /// The model.
    pub model: ModelFile,
    /// Adapters; names are unique.
    pub adapters: Vec<AdapterConfig>,
    /// Names that requests may use; at least one.
    pub model_names: Vec<String>,
    /// Longest prompt and answer together, in tokens; the model's own, at most 8192, when absent.
    pub context_length: Option<usize>,
    /// Sequences computed at once.
    pub max_sequences: usize,
    /// Sequences that may wait.
    pub max_waiting: usize,
    /// Tokens computed in one step; by the model's task when absent.
    pub tokens_per_step: Option<usize>,
    /// Bytes of KV memory; enough for one full context and 512 tokens for each further sequence when absent.
    pub kv_memory: Option<u64>,
    /// What keys and values are kept as.
    pub kv_cache_type: KvCacheType,
    /// What the matrices of safetensors are quantised to while loading; as they are stored when absent.
    pub quantize: Option<Quantization>,
    /// What computes.
    pub device: DeviceSetting,
    /// GPUs that share the model.
    pub tensor_parallel: NonZeroUsize,
    /// The kernels' pack; the folder `kernels` beside the program when absent.
    pub kernels: Option<PathBuf>,
    /// True where no other model is on the same GPU: keys and values then get all that is left of it.
    pub whole_card: bool,
    /// When a model on a GPU gives the card's memory back; never when absent.
    pub sleep: Option<Sleep>,
    /// Where kernels that had to be compiled are kept.
    pub kernel_cache: PathBuf,
    /// Threads that compute; all cores when absent.
    pub threads: Option<NonZeroUsize>,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// After the signal, to serve on, not ready, until no request came for so long: endpoint removal and the signal race
    /// (kubernetes#67592), and whoever still sends has not heard. In all at most 30 s, or this where it is more, and half of
    /// the drain timeout, in which it counts. Zero without a cluster.
    pub drain_delay: Duration,
    /// How long open requests have to finish after the signal.
    pub drain_timeout: Duration,
}

/// Tokens of a decoder's step where nothing else is said: enough for the fastest products, and half the memory of 512.
pub const DECODER_STEP: usize = 256;

/// Tokens of a decoder's step on a GPU, whose products want more rows.
pub const CARD_STEP: usize = 2048;

/// Tokens of an encoder's step where nothing else is said: a text is one step, and theirs are this long.
pub const ENCODER_STEP: usize = 512;

impl ServerConfig {
    /// Name of the adapters' setting, likewise.
    pub const ADAPTER: &str = "adapter";
    /// Name of the context's setting in [`ServeError::Config`]; whoever offers it under another name can tell.
    pub const CONTEXT_LENGTH: &str = "context length";

    /// Name of the KV cache's type there.
    pub const KV_CACHE_TYPE: &str = "KV cache type";

    /// Name of the sleep's setting there.
    pub const SLEEP: &str = "sleep";

    /// Name of the quantisation's setting there.
    pub const QUANTIZE: &str = "quantize";

    /// Name of the setting of GPUs that share the model.
    pub const TENSOR_PARALLEL: &str = "tensor parallel";

    /// Sequences computed at once where nothing else is said.
    pub const MAX_SEQUENCES: usize = rules::DEFAULT_SEQUENCES as usize;

    /// The largest body of a request where nothing else is said.
    pub const MAX_BODY_BYTES: usize = http::DEFAULT_MAX_BODY_BYTES;

    /// The usual settings for `model` under `name`, on `listen`.
    pub fn new(listen: SocketAddr, model: ModelFile, name: impl Into<String>) -> Self {
        Self {
            listen,
            admin_listen: None,
            tls: None,
            model,
            adapters: Vec::new(),
            model_names: vec![name.into()],
            context_length: None,
            max_sequences: Self::MAX_SEQUENCES,
            max_waiting: 256,
            tokens_per_step: None,
            kv_memory: None,
            kv_cache_type: KvCacheType::Auto,
            quantize: None,
            device: DeviceSetting::Auto,
            tensor_parallel: NonZeroUsize::MIN,
            kernels: None,
            whole_card: false,
            sleep: None,
            kernel_cache: std::env::temp_dir().join("weighbridge-kernels"),
            threads: None,
            max_body_bytes: Self::MAX_BODY_BYTES,
            drain_delay: Duration::ZERO,
            drain_timeout: DEFAULT_DRAIN,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ServeError> {
        let wrong = |field, problem: &str| Err(ServeError::Config { field, problem: problem.to_owned() });
        if self.model_names.is_empty() || self.model_names.iter().any(String::is_empty) {
            return wrong("model name", "at least one is needed, and none may be empty");
        }
        if let Err(error) = check_names(self.adapters.iter().map(|adapter| adapter.name.as_str())) {
            return wrong(Self::ADAPTER, &error.to_string());
        }
        if self.sleep.is_some_and(|sleep| sleep.after_seconds < 1) {
            return wrong(Self::SLEEP, "it begins after 1 second at least");
        }
        if self.sleep.is_some() && self.device == DeviceSetting::Cpu {
            return wrong(
                Self::SLEEP,
                "it gives a GPU's memory back, and the CPU is to compute: leave one out",
            );
        }
        if self.sleep.is_some() && self.tensor_parallel.get() > 1 {
            return wrong(
                Self::SLEEP,
                "models on several cards do not sleep: leave it out, or take one card",
            );
        }
        if self.max_sequences == 0 {
            return wrong("max sequences", "0 serves nobody; it must be at least 1");
        }
        if !(1..=LARGEST_BODY).contains(&self.max_body_bytes) {
            return wrong("max body bytes", "it must be 1 to 1073741824 (1 GiB)");
        }
        self.validate_devices()?;
        if self.max_waiting == 0 {
            return wrong("max waiting", "0 lets nobody in; it must be at least 1");
        }
        if self.context_length.is_some_and(|context| context < 2) {
            return wrong(
                Self::CONTEXT_LENGTH,
                "it must hold a token of prompt and one of answer: at least 2",
            );
        }
        Ok(())
    }

    fn validate_devices(&self) -> Result<(), ServeError> {
        let count = self.tensor_parallel.get();
        let wrong = |problem| Err(ServeError::Config { field: Self::TENSOR_PARALLEL, problem });
        match &self.device {
            DeviceSetting::Cpu if count > 1 => wrong(format!(
                "{count} GPUs can't share the model on the CPU: set it to 1, or the device to cuda"
            )),
            DeviceSetting::Cuda(named) if !named.is_empty() && named.len() != count => {
                let named = named.len();
                wrong(format!(
                    "it is {count}, and the device names another number of cards, {named}: set it to {named}"
                ))
            }
            DeviceSetting::Cuda(named) if count > 1 && named.iter().any(|uuid| is_slice(uuid)) => {
                wrong("slices of cards can't share a model: name whole cards, or set it to 1".to_owned())
            }
            DeviceSetting::Auto | DeviceSetting::Cpu | DeviceSetting::Cuda(_) => Ok(()),
        }
    }

    /// What a CPU keeps keys and values as; `None` where only a GPU can.
    pub(super) fn kv_kind(&self) -> Option<KvKind> {
        kv_kind_on_cpu(self.kv_cache_type)
    }

    /// The context for a model built for `built` tokens.
    pub(super) fn context_for(&self, built: usize) -> Result<usize, ServeError> {
        Self::served_context(self.context_length, built)
    }

    /// The context that is served where `asked` is asked for, of a model built for `built` tokens.
    pub(super) fn served_context(asked: Option<usize>, built: usize) -> Result<usize, ServeError> {
        match asked {
            Some(asked) if asked > built => Err(ServeError::Config {
                field: Self::CONTEXT_LENGTH,
                problem: format!(
                    "{asked} is more than the {built} tokens that the model was built for; set {built} or less"
                ),
            }),
            Some(asked) => Ok(asked),
            None => Ok(built.min(rules::DEFAULT_CONTEXT as usize)),
        }
    }

    /// Tokens of KV memory when no size is given, for a context of `context` tokens.
    pub(super) fn kv_tokens(&self, context: usize) -> usize {
        rules::kv_tokens(context as u64, self.max_sequences as u64) as usize
    }
}

/// What a CPU keeps keys and values as where `asked` is asked for; `None` where only a GPU can.
pub(super) fn kv_kind_on_cpu(asked: KvCacheType) -> Option<KvKind> {
    match asked {
        KvCacheType::Auto | KvCacheType::F16 => Some(KvKind::F16),
        KvCacheType::F32 => Some(KvKind::F32),
        KvCacheType::Q8_0 => Some(KvKind::Q8_0),
        KvCacheType::Fp8 => None,
    }
}

/// What a card keeps keys and values as where `asked` is asked for; `None` where only a CPU can.
pub(super) fn kv_kind_on_card(asked: KvCacheType) -> Option<CacheKind> {
    match asked {
        KvCacheType::Auto | KvCacheType::F16 => Some(CacheKind::F16),
        KvCacheType::Fp8 => Some(CacheKind::E4m3),
        KvCacheType::F32 | KvCacheType::Q8_0 => None,
    }
}

/// Whether the identifier is a slice's, however it was typed.
fn is_slice(uuid: &str) -> bool {
    uuid.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("mig-"))
}
