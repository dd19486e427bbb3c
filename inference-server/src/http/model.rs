//! The model that is served, as the handlers need it: what it is for, and what does the work.

use std::fmt;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::adapter::{ADAPTER_SEPARATOR, adapted_name};
use weighbridge_wire::openai::ApiError;

use crate::backend::AdapterId;
use crate::chat_template::ChatTemplate;
use crate::encoder::EncoderHandle;
use crate::engine::{EngineHandle, LoadSnapshot};
use crate::tokenizer::{HuggingFaceTokenizer, Tokenizer};

/// A loaded model.
#[derive(Debug)]
pub struct ServedModel {
    /// The names that requests may use; the first is the one that answers carry when asked for all.
    pub names: Vec<String>,
    /// Names of its adapters, by [`AdapterId`]; requests name one as `MODEL:ADAPTER`.
    pub adapters: Vec<String>,
    /// When it was loaded, in seconds since 1970.
    pub created: i64,
    /// Which build and weights answer: equal seeds give equal answers while this stays the same.
    pub fingerprint: String,
    /// What answers.
    pub serves: Serves,
}

/// What a model is for, and what does the work.
#[derive(Debug)]
pub enum Serves {
    /// Writes text.
    Generation(Generation),
    /// Gives a vector for a text.
    Embedding(Encoding),
    /// Scores a text as the answer to another.
    Reranking(Encoding),
}

/// What writes text.
#[derive(Debug)]
pub struct Generation {
    /// The engine.
    pub engine: EngineHandle,
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The model's chat template; in words, why there is none.
    pub template: Result<ChatTemplate, String>,
    /// Puts the engine to sleep when it idles; ends with this.
    pub sleeper: Option<AbortOnDropHandle<()>>,
}

/// What encodes text.
#[derive(Debug)]
pub struct Encoding {
    /// The encoder.
    pub encoder: EncoderHandle,
    /// The model's tokenizer.
    pub tokenizer: HuggingFaceTokenizer,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Writes text, and holds conversations.
    Generation,
    /// Goes on with a text: it has no chat template.
    Completion,
    /// Gives a vector for a text.
    Embedding,
    /// Scores a text as the answer to another.
    Reranking,
}

impl Task {
    /// Where such a model answers, for messages.
    fn endpoints(self) -> &'static str {
        match self {
            Self::Generation => "/v1/chat/completions and /v1/completions",
            Self::Completion => "/v1/completions",
            Self::Embedding => "/v1/embeddings",
            Self::Reranking => "/v1/rerank",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generation => "a model that generates text",
            Self::Completion => "a model that generates text without a chat template",
            Self::Embedding => "an embedding model",
            Self::Reranking => "a reranker",
        })
    }
}

impl ServedModel {
    /// What it is for.
    pub fn task(&self) -> Task {
        match &self.serves {
            Serves::Generation(Generation { template: Ok(_), .. }) => Task::Generation,
            Serves::Generation(Generation { template: Err(_), .. }) => Task::Completion,
            Serves::Embedding(_) => Task::Embedding,
            Serves::Reranking(_) => Task::Reranking,
        }
    }

    /// Every name that requests may use: the model's, then each with an adapter.
    pub fn served_names(&self) -> impl Iterator<Item = String> + '_ {
        let adapted = self
            .names
            .iter()
            .flat_map(|name| self.adapters.iter().map(move |adapter| adapted_name(name, adapter)));
        self.names.iter().cloned().chain(adapted)
    }

    /// The adapter that `name` asks for; none for the model itself.
    pub(super) fn resolve_name(&self, name: &str) -> Result<Option<AdapterId>, ApiError> {
        if self.names.iter().any(|served| served == name) {
            return Ok(None);
        }
        let asked = name.rsplit_once(ADAPTER_SEPARATOR);
        let Some((model, adapter)) = asked.filter(|(model, _)| self.names.iter().any(|n| n == model)) else {
            return Err(ApiError::model_not_found(name));
        };
        let found = self.adapters.iter().position(|served| served == adapter);
        found.map(|index| Some(AdapterId(index))).ok_or_else(|| {
            let served: Vec<String> =
                self.adapters.iter().map(|served| format!("`{}`", adapted_name(model, served))).collect();
            ApiError::adapter_not_found(model, adapter, &served)
        })
    }

    /// What writes text, if the model does.
    pub(super) fn generation(&self) -> Result<&Generation, ApiError> {
        match &self.serves {
            Serves::Generation(generation) => Ok(generation),
            Serves::Embedding(_) | Serves::Reranking(_) => Err(self.not_for(Task::Generation)),
        }
    }

    /// What gives vectors, if the model does.
    pub(super) fn embedding(&self) -> Result<&Encoding, ApiError> {
        match &self.serves {
            Serves::Embedding(encoding) => Ok(encoding),
            Serves::Generation(_) | Serves::Reranking(_) => Err(self.not_for(Task::Embedding)),
        }
    }

    /// What scores, if the model does.
    pub(super) fn reranking(&self) -> Result<&Encoding, ApiError> {
        match &self.serves {
            Serves::Reranking(encoding) => Ok(encoding),
            Serves::Generation(_) | Serves::Embedding(_) => Err(self.not_for(Task::Reranking)),
        }
    }

    fn not_for(&self, asked: Task) -> ApiError {
        let name = self.names.first().map_or("", String::as_str);
        let (is, endpoints) = (self.task(), self.task().endpoints());
        let message =
            format!("`{name}` is {is}: it answers {endpoints}. For this endpoint, name {asked} in `model`.");
        ApiError::new(400, "invalid_request_error", Some("model"), Some("wrong_task"), &message)
    }

    /// How busy it is.
    pub fn load(&self) -> LoadSnapshot {
        match &self.serves {
            Serves::Generation(generation) => generation.engine.load(),
            Serves::Embedding(encoding) | Serves::Reranking(encoding) => encoding.encoder.load(),
        }
    }

    /// Whether its thread is there to take requests.
    pub fn is_running(&self) -> bool {
        match &self.serves {
            Serves::Generation(generation) => generation.engine.is_running(),
            Serves::Embedding(encoding) | Serves::Reranking(encoding) => encoding.encoder.is_running(),
        }
    }

    /// Why its thread has ended by itself, for probes.
    pub fn ended(&self) -> &str {
        let ended = match &self.serves {
            Serves::Generation(generation) => generation.engine.ended(),
            Serves::Embedding(_) | Serves::Reranking(_) => None,
        };
        ended.unwrap_or("the engine thread is gone")
    }

    /// Takes no more requests; those it has are finished.
    pub(super) fn drain(&self) {
        match &self.serves {
            Serves::Generation(generation) => generation.engine.drain(),
            Serves::Embedding(encoding) | Serves::Reranking(encoding) => encoding.encoder.drain(),
        }
    }
}
