//! A request as it names its dialect, its model and what to do.

use http::HeaderMap;
use serde_json::Value;

use super::Behaviour;
use super::error::Refusal;
use super::state::State;

/// Before a behaviour: every second request is answered faithfully, so that who tries again succeeds.
const ONCE: &str = "once-";

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Chat,
    /// The older form, and every path that nothing else claims.
    Completions,
    Responses,
    Embeddings,
    Messages,
    CountMessages,
    Generate,
    StreamEvents,
    StreamArray,
    CountContents,
    Embed,
    EmbedBatch,
}

impl Method {
    /// By the path, with its query, and the model where the path names it.
    fn of(path: &str) -> (Self, Option<String>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let end = |end| path.ends_with(end);
        if let Some((before, word)) = path.rsplit_once(':')
            && let Some((_, model)) = before.split_once("/models/")
        {
            let method = match word {
                "generateContent" => Some(Self::Generate),
                "streamGenerateContent" if query.split('&').any(|pair| pair == "alt=sse") => {
                    Some(Self::StreamEvents)
                }
                "streamGenerateContent" => Some(Self::StreamArray),
                "countTokens" => Some(Self::CountContents),
                "embedContent" => Some(Self::Embed),
                "batchEmbedContents" => Some(Self::EmbedBatch),
                _ => None,
            };
            if let Some(method) = method {
                return (method, Some(model.replace("%2F", "/")));
            }
        }
        let method = if end("/chat/completions") {
            Self::Chat
        } else if end("/responses") {
            Self::Responses
        } else if end("/embeddings") {
            Self::Embeddings
        } else if end("/messages") {
            Self::Messages
        } else if end("/messages/count_tokens") {
            Self::CountMessages
        } else {
            Self::Completions
        };
        (method, None)
    }

    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings => Dialect::OpenAi,
            Self::Messages | Self::CountMessages => Dialect::Anthropic,
            Self::Generate
            | Self::StreamEvents
            | Self::StreamArray
            | Self::CountContents
            | Self::Embed
            | Self::EmbedBatch => Dialect::Gemini,
        }
    }

    fn streams(self, body: &Value) -> bool {
        match self {
            Self::StreamEvents | Self::StreamArray => true,
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => body["stream"] == true,
            Self::Embeddings
            | Self::CountMessages
            | Self::Generate
            | Self::CountContents
            | Self::Embed
            | Self::EmbedBatch => false,
        }
    }
}

/// A request that names a behaviour.
pub(super) struct Asked {
    pub(super) method: Method,
    /// As the request names it, which answers repeat.
    pub(super) model: String,
    pub(super) behaviour: Behaviour,
    pub(super) stream: bool,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    /// Of this request among all, from one: what ids are made of.
    pub(super) number: u64,
}

impl Asked {
    /// Reads a request; refused in the dialect of the method that comes back.
    pub(super) fn read(
        state: &State,
        path: &str,
        headers: HeaderMap,
        body: &[u8],
    ) -> Result<Self, (Method, Refusal)> {
        let (method, model) = Method::of(path);
        let refuse = |refusal| (method, refusal);
        let body: Value = serde_json::from_slice(body).map_err(|error| {
            refuse(Refusal::bad(format!("We could not parse the JSON body of your request: {error}")))
        })?;
        let named = || Some(body.get("model")?.as_str()?.to_owned());
        let model =
            model.or_else(named).ok_or_else(|| refuse(Refusal::at("you must provide a model", "model")))?;
        let once = model.strip_prefix(ONCE);
        let behaviour =
            Behaviour::named(once.unwrap_or(&model)).ok_or_else(|| refuse(Refusal::no_model(&model)))?;
        let behaviour = if once.is_some() && state.times(&model).is_multiple_of(2) {
            Behaviour::Faithful
        } else {
            behaviour
        };
        let stream = method.streams(&body);
        Ok(Self { method, model, behaviour, stream, headers, body, number: state.number() })
    }

    /// Whether a chat stream is to report its usage.
    pub(super) fn include_usage(&self) -> bool {
        self.behaviour != Behaviour::NoUsage
            && self.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
