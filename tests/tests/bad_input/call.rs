//! What a client may ask, and how each door refuses. By hand: nothing here may use `wire`'s types of messages.

use serde_json::{Map, Value, json};
use weighbridge_tests::door::{Answer, Form};

/// Stands in a body where a test writes something that no JSON value of ours can hold.
pub const HERE: &str = "@here@";

/// A path that takes a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Talk(Form),
    Completions,
    Embeddings,
    EmbedContent,
    BatchEmbedContents,
    CountMessages,
    CountContents,
    Rerank,
    /// Bedrock's. Its streams are no text, and only who reads frames asks for one.
    Converse,
    CountConverse,
}

impl Call {
    pub const ALL: [Self; 14] = [
        Self::Talk(Form::Chat),
        Self::Talk(Form::Responses),
        Self::Talk(Form::Messages),
        Self::Talk(Form::Events),
        Self::Talk(Form::Array),
        Self::Completions,
        Self::Embeddings,
        Self::EmbedContent,
        Self::BatchEmbedContents,
        Self::CountMessages,
        Self::CountContents,
        Self::Rerank,
        Self::Converse,
        Self::CountConverse,
    ];

    /// Every call, whole and as a stream where it may be one.
    pub fn ways() -> impl Iterator<Item = (Self, bool)> {
        Self::ALL.into_iter().flat_map(|call| {
            let streams = matches!(call, Self::Talk(_) | Self::Completions);
            [Some((call, false)), streams.then_some((call, true))].into_iter().flatten()
        })
    }

    /// Path and query.
    pub fn path(self, model: &str, stream: bool) -> String {
        let gemini = |method: &str| format!("/v1beta/models/{model}:{method}");
        match self {
            Self::Talk(form) => form.path(model, stream),
            Self::Completions => "/v1/completions".to_owned(),
            Self::Embeddings => "/v1/embeddings".to_owned(),
            Self::EmbedContent => gemini("embedContent"),
            Self::BatchEmbedContents => gemini("batchEmbedContents"),
            Self::CountMessages => "/v1/messages/count_tokens".to_owned(),
            Self::CountContents => gemini("countTokens"),
            Self::Rerank => "/v1/rerank".to_owned(),
            Self::Converse if stream => format!("/model/{model}/converse-stream"),
            Self::Converse => format!("/model/{model}/converse"),
            Self::CountConverse => format!("/model/{model}/count-tokens"),
        }
    }

    /// A short question that every upstream of this call answers.
    pub fn body(self, model: &str, stream: bool) -> Map<String, Value> {
        let content = json!({"parts": [{"text": "hi"}]});
        let body = match self {
            Self::Talk(form) => {
                let mut body: Value = serde_json::from_str(&form.body(model, stream, "hi")).expect("JSON");
                match form {
                    Form::Chat | Form::Messages => body["max_tokens"] = json!(4),
                    Form::Responses => body["max_output_tokens"] = json!(16),
                    Form::Events | Form::Array => body["generationConfig"] = json!({"maxOutputTokens": 4}),
                }
                body
            }
            Self::Completions => json!({"model": model, "stream": stream, "prompt": "hi", "max_tokens": 4}),
            Self::Embeddings => json!({"model": model, "input": "hi"}),
            Self::EmbedContent => json!({"content": content}),
            Self::BatchEmbedContents => {
                json!({"requests": [{"model": format!("models/{model}"), "content": content}]})
            }
            Self::CountMessages => json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}),
            Self::CountContents => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
            Self::Rerank => json!({"model": model, "query": "hi", "documents": ["ho", "hi"]}),
            Self::Converse => json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}],
                                     "inferenceConfig": {"maxTokens": 4}}),
            Self::CountConverse => json!({"input": {"converse": {
                "messages": [{"role": "user", "content": [{"text": "hi"}]}]}}}),
        };
        match body {
            Value::Object(body) => body,
            other => panic!("{other} is no request"),
        }
    }

    /// The question with `fields` over it, and `text` in the place of [`HERE`].
    pub fn with(self, model: &str, stream: bool, fields: &Value, text: &str) -> String {
        let mut body = self.body(model, stream);
        let fields = fields.as_object().expect("fields");
        if fields.contains_key("max_completion_tokens") {
            body.remove("max_tokens");
        }
        body.extend(fields.clone());
        Value::Object(body).to_string().replace(&format!("\"{HERE}\""), text)
    }

    /// The status of an upstream that failed.
    pub fn failed(self) -> u16 {
        if matches!(self, Self::Converse | Self::CountConverse) { 424 } else { 502 }
    }

    /// Whose errors it has, but for Bedrock's.
    pub fn shape(self) -> Form {
        match self {
            Self::Talk(form) => form,
            Self::Completions | Self::Embeddings | Self::Rerank => Form::Chat,
            Self::CountMessages => Form::Messages,
            Self::EmbedContent | Self::BatchEmbedContents | Self::CountContents => Form::Events,
            Self::Converse | Self::CountConverse => panic!("{self:?} has errors of its own"),
        }
    }

    /// The message of an error, which has the shape of this door.
    pub fn refusal(self, answer: &Answer, what: &str) -> String {
        let body = answer.json().unwrap_or_else(|error| panic!("{what}: {error:#}"));
        self.error(&body, Some(answer.status.as_u16()), what)
    }

    /// The same of an error as a value, whose status may be one that nobody wrote.
    pub fn error(self, body: &Value, status: Option<u16>, what: &str) -> String {
        if matches!(self, Self::Converse | Self::CountConverse) {
            let message = body["message"].as_str().unwrap_or_else(|| panic!("{what}: no error: {body}"));
            return message.to_owned();
        }
        let (code, class) = self.shape().error(body).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        match self.shape() {
            Form::Chat | Form::Responses => assert!(body["error"]["type"].is_string(), "{what}: {body}"),
            Form::Messages => assert!(!class.is_empty(), "{what}: {body}"),
            Form::Events | Form::Array => {
                assert!(!class.is_empty(), "{what}: {body}");
                assert!(status.is_none_or(|status| code == u64::from(status)), "{what}: {body}");
            }
        }
        body["error"]["message"].as_str().expect("looked at").to_owned()
    }
}
