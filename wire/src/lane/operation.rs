//! What a path asks for.

use std::fmt;

use crate::canonical::Dialect;
use crate::gemini::{Framing, Method};
use crate::percent;
use crate::{eventstream, sse};

/// What is asked of a model: a method of one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/rerank`.
    Rerank,
    /// `POST /tokenize`: our engine's, which no client is offered.
    Tokenize,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountMessageTokens,
    /// `POST /v1beta/models/…:generateContent`.
    GenerateContent,
    /// `POST /v1beta/models/…:streamGenerateContent`.
    StreamGenerateContent {
        /// How the stream is framed, which the path's query says.
        framing: Framing,
    },
    /// `POST /v1beta/models/…:countTokens`.
    CountTokens,
    /// `POST /v1beta/models/…:embedContent`.
    EmbedContent,
    /// `POST /v1beta/models/…:batchEmbedContents`.
    BatchEmbedContents,
    /// `POST …/models/…:predict`: how Vertex AI's older embedders are asked. No client asks for it here.
    Predict,
    /// `POST /model/…/converse`.
    Converse,
    /// `POST /model/…/converse-stream`.
    ConverseStream,
    /// `POST /model/…/count-tokens`.
    CountConverseTokens,
}

/// What kind of thing is asked: only within a kind is there a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The next turn of a conversation.
    Conversation,
    /// How many tokens a conversation has.
    Counting,
    /// Vectors.
    Embedding,
    /// How well documents answer a question.
    Reranking,
}

impl Operation {
    /// The operations whose path is a constant.
    pub(super) const FIXED: [Self; 7] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Rerank,
        Self::Messages,
        Self::CountMessageTokens,
    ];

    /// The dialect that it belongs to. What has none of its own (embeddings, reranking) goes with chat completions.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Embeddings | Self::Rerank | Self::Tokenize => Dialect::OpenAiChat,
            Self::Completions => Dialect::OpenAiCompletions,
            Self::Responses => Dialect::OpenAiResponses,
            Self::Messages | Self::CountMessageTokens => Dialect::Anthropic,
            Self::GenerateContent
            | Self::StreamGenerateContent { .. }
            | Self::CountTokens
            | Self::EmbedContent
            | Self::BatchEmbedContents
            | Self::Predict => Dialect::Gemini,
            Self::Converse | Self::ConverseStream | Self::CountConverseTokens => Dialect::Converse,
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Messages
            | Self::GenerateContent
            | Self::StreamGenerateContent { .. }
            | Self::Converse
            | Self::ConverseStream => Kind::Conversation,
            Self::CountMessageTokens | Self::CountTokens | Self::CountConverseTokens | Self::Tokenize => {
                Kind::Counting
            }
            Self::Embeddings | Self::EmbedContent | Self::BatchEmbedContents | Self::Predict => {
                Kind::Embedding
            }
            Self::Rerank => Kind::Reranking,
        }
    }

    /// Path and query of a request to an upstream that knows the model by this name. In Gemini's and Bedrock's the name is
    /// escaped, so that it stays one segment.
    pub fn path(self, model: &str) -> String {
        let (method, query) = match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Rerank
            | Self::Tokenize
            | Self::Messages
            | Self::CountMessageTokens => return self.as_str().to_owned(),
            Self::Converse | Self::ConverseStream | Self::CountConverseTokens => {
                return format!("/model/{}/{}", percent::encode(model), self.as_str());
            }
            Self::GenerateContent => (Method::GenerateContent, ""),
            Self::StreamGenerateContent { framing: Framing::Sse } => {
                (Method::StreamGenerateContent, "?alt=sse")
            }
            Self::StreamGenerateContent { framing: Framing::Array } => (Method::StreamGenerateContent, ""),
            Self::CountTokens => (Method::CountTokens, ""),
            Self::EmbedContent => (Method::EmbedContent, ""),
            Self::BatchEmbedContents => (Method::BatchEmbedContents, ""),
            Self::Predict => (Method::Predict, ""),
        };
        let model = percent::encode(model.strip_prefix("models/").unwrap_or(model));
        format!("/v1beta/models/{model}:{}{query}", method.as_str())
    }

    /// The path for a person and for a log: without the model.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::Tokenize => "/tokenize",
            Self::Messages => "/v1/messages",
            Self::CountMessageTokens => "/v1/messages/count_tokens",
            Self::GenerateContent => "generateContent",
            Self::StreamGenerateContent { .. } => "streamGenerateContent",
            Self::CountTokens => "countTokens",
            Self::EmbedContent => "embedContent",
            Self::BatchEmbedContents => "batchEmbedContents",
            Self::Predict => "predict",
            Self::Converse => "converse",
            Self::ConverseStream => "converse-stream",
            Self::CountConverseTokens => "count-tokens",
        }
    }

    /// Whether its answer costs tokens, and says how many. Counting them costs none.
    pub fn is_metered(self) -> bool {
        self.kind() != Kind::Counting
    }

    /// Whether the path alone says that the answer is a stream; elsewhere the body does.
    pub fn streams_by_path(self) -> bool {
        matches!(self, Self::StreamGenerateContent { .. } | Self::ConverseStream)
    }

    /// Whether the body may ask for a stream.
    pub(super) fn streams_by_body(self) -> bool {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages => true,
            Self::Embeddings
            | Self::Rerank
            | Self::Tokenize
            | Self::CountMessageTokens
            | Self::GenerateContent
            | Self::StreamGenerateContent { .. }
            | Self::CountTokens
            | Self::EmbedContent
            | Self::BatchEmbedContents
            | Self::Predict
            | Self::Converse
            | Self::ConverseStream
            | Self::CountConverseTokens => false,
        }
    }

    /// Media type of a streamed answer in its own framing.
    pub fn stream_media_type(self) -> &'static str {
        match self.dialect() {
            Dialect::Converse => eventstream::MEDIA_TYPE,
            Dialect::Gemini if self == (Self::StreamGenerateContent { framing: Framing::Array }) => {
                "application/json"
            }
            Dialect::OpenAiChat
            | Dialect::OpenAiCompletions
            | Dialect::OpenAiResponses
            | Dialect::Anthropic
            | Dialect::Gemini => sse::MEDIA_TYPE,
        }
    }

    /// Whether a stream says its usage only where `stream_options.include_usage` asks for it.
    pub(super) fn asks_for_usage(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
