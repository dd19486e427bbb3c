//! The same question in each dialect.

use serde_json::json;
use weighbridge_wire::provider::Kind;

/// A conversation's door, with the form of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Gemini's generateContent; its stream as events.
    Events,
    /// The same; its stream as one array.
    Array,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Chat, Self::Responses, Self::Messages, Self::Events, Self::Array];

    /// Path and query.
    pub fn path(self, model: &str, stream: bool) -> String {
        match (self, stream) {
            (Self::Chat, _) => "/v1/chat/completions".to_owned(),
            (Self::Responses, _) => "/v1/responses".to_owned(),
            (Self::Messages, _) => "/v1/messages".to_owned(),
            (Self::Events | Self::Array, false) => format!("/v1beta/models/{model}:generateContent"),
            (Self::Events, true) => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            (Self::Array, true) => format!("/v1beta/models/{model}:streamGenerateContent"),
        }
    }

    /// The body that asks `question`.
    pub fn body(self, model: &str, stream: bool, question: &str) -> String {
        match self {
            Self::Chat => {
                json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": question}]})
            }
            Self::Responses => json!({"model": model, "stream": stream, "store": false, "input": question}),
            Self::Messages => json!({"model": model, "stream": stream, "max_tokens": 100,
                                     "messages": [{"role": "user", "content": question}]}),
            Self::Events | Self::Array => {
                json!({"contents": [{"role": "user", "parts": [{"text": question}]}]})
            }
        }
        .to_string()
    }

    /// A provider that takes it as it comes.
    pub fn native(self) -> Kind {
        match self {
            Self::Chat | Self::Responses => Kind::OpenAi,
            Self::Messages => Kind::Anthropic,
            Self::Events | Self::Array => Kind::Gemini,
        }
    }

    /// Events of such a stream before its first piece of text.
    pub fn opening(self) -> usize {
        match self {
            Self::Chat => 1,
            Self::Responses => 4,
            Self::Messages => 3,
            Self::Events | Self::Array => 0,
        }
    }
}
