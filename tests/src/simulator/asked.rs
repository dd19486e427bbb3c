//! A request as it names its dialect, its model and what to do.

use http::HeaderMap;
use serde_json::Value;

use super::error::Refusal;
use super::state::State;
use super::{Behaviour, bedrock, vertex};

/// Before a behaviour: every second request is answered faithfully, so that who tries again succeeds.
const ONCE: &str = "once-";

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Converse,
}

/// Whose paths they are, where they are not those of who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    Vertex,
    Bedrock,
}

impl Cloud {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            path if vertex::is_path(path) => Some(Self::Vertex),
            path if bedrock::is_path(path) => Some(Self::Bedrock),
            _ => None,
        }
    }
}

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Chat,
    /// The older form, and every path that nothing else claims.
    Completions,
    Responses,
    Embeddings,
    /// Of compatible APIs alone.
    Rerank,
    Messages,
    CountMessages,
    Generate,
    StreamEvents,
    StreamArray,
    CountContents,
    Embed,
    EmbedBatch,
    /// Vertex AI's, of its older embedders.
    Predict,
    /// Vertex AI's, of Claude.
    RawPredict,
    StreamRawPredict,
    CountRawPredict,
    /// Bedrock's, of Claude.
    Invoke,
    InvokeStream,
    /// Bedrock's, of every model.
    Converse,
    ConverseStream,
    CountConverse,
}

impl Method {
    /// By the path, with its query, and the model where the path names it.
    fn of(path: &str) -> (Self, Option<String>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let end = |end| path.ends_with(end);
        if let Some((model, verb)) = path.strip_prefix("/model/").and_then(|rest| rest.split_once('/')) {
            let method = match verb {
                "invoke" => Self::Invoke,
                "invoke-with-response-stream" => Self::InvokeStream,
                "converse-stream" => Self::ConverseStream,
                "count-tokens" => Self::CountConverse,
                _ => Self::Converse,
            };
            return (method, Some(unescaped(model)));
        }
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
                "predict" => Some(Self::Predict),
                // Claude's tokens are counted by a model of their own, which the body has no less.
                "rawPredict" if model == "count-tokens" => return (Self::CountRawPredict, None),
                "rawPredict" => Some(Self::RawPredict),
                "streamRawPredict" => Some(Self::StreamRawPredict),
                _ => None,
            };
            if let Some(method) = method {
                return (method, Some(unescaped(model)));
            }
        }
        let method = if end("/chat/completions") {
            Self::Chat
        } else if end("/responses") {
            Self::Responses
        } else if end("/embeddings") {
            Self::Embeddings
        } else if end("/rerank") {
            Self::Rerank
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
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings | Self::Rerank => {
                Dialect::OpenAi
            }
            Self::Messages
            | Self::CountMessages
            | Self::RawPredict
            | Self::StreamRawPredict
            | Self::CountRawPredict => Dialect::Anthropic,
            Self::Generate
            | Self::StreamEvents
            | Self::StreamArray
            | Self::CountContents
            | Self::Embed
            | Self::EmbedBatch
            | Self::Predict => Dialect::Gemini,
            Self::Invoke
            | Self::InvokeStream
            | Self::Converse
            | Self::ConverseStream
            | Self::CountConverse => Dialect::Converse,
        }
    }

    fn streams(self, body: &Value) -> bool {
        match self {
            Self::StreamEvents
            | Self::StreamArray
            | Self::StreamRawPredict
            | Self::InvokeStream
            | Self::ConverseStream => true,
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => body["stream"] == true,
            Self::Embeddings
            | Self::Rerank
            | Self::CountMessages
            | Self::Generate
            | Self::CountContents
            | Self::Embed
            | Self::EmbedBatch
            | Self::Predict
            | Self::RawPredict
            | Self::CountRawPredict
            | Self::Invoke
            | Self::Converse
            | Self::CountConverse => false,
        }
    }
}

fn unescaped(model: &str) -> String {
    let pairs = [("%2F", "/"), ("%3A", ":"), ("%40", "@")];
    pairs.iter().fold(model.to_owned(), |model, (escape, plain)| model.replace(escape, plain))
}

/// The part of a cloud's name for a model that names a behaviour: `us.anthropic.claude-faithful-v1:0` is `faithful`.
fn bare(model: &str) -> &str {
    let mut name = model.rsplit('/').next().unwrap_or(model);
    name = name.split('@').next().unwrap_or(name);
    for part in ["us.", "anthropic.", "amazon.", "claude-", "nova-", "gemini-", "text-embedding-"] {
        name = name.strip_prefix(part).unwrap_or(name);
    }
    name.strip_suffix("-v1:0").unwrap_or(name)
}

/// A request that names a behaviour.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) cloud: Option<Cloud>,
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
        mut headers: HeaderMap,
        body: &[u8],
    ) -> Result<Self, (Method, Refusal)> {
        let (method, model) = Method::of(path);
        let cloud = Cloud::of(path);
        let refuse = |refusal| (method, refusal);
        let mut body: Value = serde_json::from_slice(body).map_err(|error| {
            refuse(Refusal::bad(format!("We could not parse the JSON body of your request: {error}")))
        })?;
        let named = || Some(body.get("model")?.as_str()?.to_owned());
        let model =
            model.or_else(named).ok_or_else(|| refuse(Refusal::at("you must provide a model", "model")))?;
        let name = if cloud.is_some() { bare(&model) } else { &model };
        let once = name.strip_prefix(ONCE);
        let no_model = || match cloud {
            Some(Cloud::Bedrock) => {
                let said = "The provided model identifier is invalid.";
                refuse(Refusal::aws(400, "ValidationException", said))
            }
            Some(Cloud::Vertex) | None => refuse(Refusal::no_model(&model)),
        };
        let behaviour = Behaviour::named(once.unwrap_or(name)).ok_or_else(no_model)?;
        let behaviour = if once.is_some() && state.times(&model).is_multiple_of(2) {
            Behaviour::Faithful
        } else {
            behaviour
        };
        let stream = method.streams(&body);
        match method {
            Method::RawPredict | Method::StreamRawPredict | Method::CountRawPredict => {
                let counts = method == Method::CountRawPredict;
                vertex::plain(&model, counts, stream, &mut headers, &mut body).map_err(refuse)?;
            }
            Method::Invoke | Method::InvokeStream => {
                bedrock::plain(&model, stream, &mut headers, &mut body).map_err(refuse)?;
            }
            _ => {}
        }
        Ok(Self { method, cloud, model, behaviour, stream, headers, body, number: state.number() })
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
