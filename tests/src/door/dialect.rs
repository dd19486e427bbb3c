//! The doors of the dialects that are translated for a model that speaks chat completions: how each is asked, and what is
//! in its answers. By hand: nothing here may use the types of `wire`, whose mistakes it is to find.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// A dialect, and for Gemini's streams their framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's `generateContent`, streamed as events.
    Gemini,
    /// The same, streamed as a JSON array.
    GeminiArray,
    /// OpenAI's Responses.
    Responses,
}

impl Dialect {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::Gemini, Self::GeminiArray, Self::Responses];

    /// Where `model` is asked.
    pub fn path(self, model: &str, stream: bool) -> String {
        match (self, stream) {
            (Self::Anthropic, _) => "/v1/messages".to_owned(),
            (Self::Responses, _) => "/v1/responses".to_owned(),
            (Self::Gemini | Self::GeminiArray, false) => format!("/v1beta/models/{model}:generateContent"),
            (Self::Gemini, true) => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            (Self::GeminiArray, true) => format!("/v1beta/models/{model}:streamGenerateContent"),
        }
    }

    /// A short question.
    pub fn question(self, model: &str, stream: bool) -> String {
        match self {
            Self::Anthropic => json!({"model": model, "max_tokens": 64, "stream": stream,
                                      "messages": [{"role": "user", "content": "hi"}]}),
            Self::Responses => json!({"model": model, "store": false, "stream": stream, "input": "hi"}),
            Self::Gemini | Self::GeminiArray => {
                json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
            }
        }
        .to_string()
    }

    /// Text, tokens read and tokens written of a whole answer.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(self, answer: &Value) -> anyhow::Result<(String, u64, u64)> {
        let (text, input, output) = match self {
            Self::Anthropic => ("/content/0/text", "/usage/input_tokens", "/usage/output_tokens"),
            Self::Responses => ("/output/0/content/0/text", "/usage/input_tokens", "/usage/output_tokens"),
            Self::Gemini | Self::GeminiArray => (
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
        if self == Self::GeminiArray {
            return serde_json::from_str(body).with_context(|| body.to_owned());
        }
        // Gemini's error is a line of its own, which Google's client finds by its brace.
        let data = body
            .lines()
            .filter_map(|line| line.strip_prefix("data: ").or_else(|| line.starts_with('{').then_some(line)));
        data.map(|data| serde_json::from_str(data).with_context(|| data.to_owned())).collect()
    }

    /// The text that a stream's events add up to.
    pub fn streamed(self, events: &[Value]) -> String {
        let text = |event: &Value| {
            let path = match self {
                Self::Anthropic => "/delta/text",
                Self::Responses if event["type"] != "response.output_text.delta" => return String::new(),
                Self::Responses => "/delta",
                Self::Gemini | Self::GeminiArray => "/candidates/0/content/parts/0/text",
            };
            event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        events.iter().map(text).collect()
    }

    /// Whether `event` says that the answer is whole.
    pub fn is_end(self, event: &Value) -> bool {
        match self {
            Self::Anthropic => event["type"] == "message_stop",
            Self::Responses => event["type"] == "response.completed",
            Self::Gemini | Self::GeminiArray => event.pointer("/candidates/0/finishReason").is_some(),
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
            Self::Anthropic => {
                ensure!(body["type"] == "error", "no error of Anthropic's: {body}");
                (0, text("/error/type"))
            }
            Self::Responses => (0, text("/error/code")),
            Self::Gemini | Self::GeminiArray => {
                (body["error"]["code"].as_u64().unwrap_or_default(), text("/error/status"))
            }
        })
    }
}
