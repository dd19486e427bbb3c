//! The same question in each dialect, and what is in its answers. By hand: nothing here may use `wire`'s types of messages,
//! whose mistakes it is to find.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
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

    /// Text, tokens read and tokens written of a whole answer.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(self, answer: &Value) -> anyhow::Result<(String, u64, u64)> {
        let (text, input, output) = match self {
            Self::Chat => ("/choices/0/message/content", "/usage/prompt_tokens", "/usage/completion_tokens"),
            Self::Messages => ("/content/0/text", "/usage/input_tokens", "/usage/output_tokens"),
            Self::Responses => ("/output/0/content/0/text", "/usage/input_tokens", "/usage/output_tokens"),
            Self::Events | Self::Array => (
                "/candidates/0/content/parts/0/text",
                "/usageMetadata/promptTokenCount",
                "/usageMetadata/candidatesTokenCount",
            ),
        };
        let number = |path| {
            answer.pointer(path).and_then(Value::as_u64).with_context(|| format!("{path} of {answer}"))
        };
        let said = answer.pointer(text).and_then(Value::as_str);
        Ok((said.with_context(|| format!("{text} of {answer}"))?.to_owned(), number(input)?, number(output)?))
    }

    /// What a stream's events hold.
    ///
    /// # Errors
    /// Where one is no JSON, or the array does not end.
    pub fn events(self, body: &str) -> anyhow::Result<Vec<Value>> {
        if self == Self::Array {
            return serde_json::from_str(body).with_context(|| body.to_owned());
        }
        // Gemini's error is a line of its own, which Google's client finds by its brace.
        let data = body
            .lines()
            .filter_map(|line| line.strip_prefix("data: ").or_else(|| line.starts_with('{').then_some(line)));
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).with_context(|| data.to_owned())).collect()
    }

    /// The text that a stream's events add up to.
    pub fn streamed(self, events: &[Value]) -> String {
        let text = |event: &Value| {
            let path = match self {
                Self::Chat => "/choices/0/delta/content",
                Self::Messages => "/delta/text",
                Self::Responses if event["type"] != "response.output_text.delta" => return String::new(),
                Self::Responses => "/delta",
                Self::Events | Self::Array => "/candidates/0/content/parts/0/text",
            };
            event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        events.iter().map(text).collect()
    }

    /// Whether `event` says that the answer is whole.
    pub fn is_end(self, event: &Value) -> bool {
        match self {
            Self::Chat => event.pointer("/choices/0/finish_reason").is_some_and(Value::is_string),
            Self::Messages => event["type"] == "message_stop",
            Self::Responses => event["type"] == "response.completed",
            Self::Events | Self::Array => event.pointer("/candidates/0/finishReason").is_some(),
        }
    }

    /// The code, where the dialect has one, and the class of an error in this dialect's shape.
    ///
    /// # Errors
    /// Where it is in no such shape.
    pub fn error(self, body: &Value) -> anyhow::Result<(u64, String)> {
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure!(!text("/error/message").is_empty(), "no error: {body}");
        Ok(match self {
            Self::Messages => {
                ensure!(body["type"] == "error", "no error of Anthropic's: {body}");
                (0, text("/error/type"))
            }
            Self::Chat | Self::Responses => (0, text("/error/code")),
            Self::Events | Self::Array => {
                (body["error"]["code"].as_u64().unwrap_or_default(), text("/error/status"))
            }
        })
    }
}
