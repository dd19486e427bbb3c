//! Google's dialect: `generateContent` and its stream, `countTokens`, `embedContent` and errors, from and to the
//! canonical form.
//!
//! As a door it reads what clients send and writes what they get; as an upstream it is the other way round, and what sets
//! the Gemini API and Vertex AI apart is [`Service`]. Types keep the fields that they do not know in `extra`, and read
//! JSON by protobuf's rules. Function arguments, results and signatures keep their bytes. No other dialect is known
//! here, and no HTTP: [`parse_path`] reads a path because the dialect keeps the model there.

mod content;
pub mod count_tokens;
pub mod embedding;
pub mod error;
mod finish_reason;
mod foreign;
mod generation_config;
mod grounding;
mod logprobs;
mod media;
mod model;
mod part;
mod path;
mod proto_json;
pub mod request;
pub mod response;
mod result;
mod schema;
mod service;
mod signature;
mod stream;
mod tool;
pub mod usage;
pub mod vertex_embedding;

pub use content::{Blob, Content, FileData, FunctionCall, FunctionResponse, FunctionResponsePart, Part};
pub use generation_config::{GenerationConfig, ThinkingConfig};
pub use grounding::{
    CitationMetadata, GroundingChunk, GroundingMetadata, GroundingSupport, QuotedSource, Segment, WebSource,
};
pub use logprobs::{LogprobsCandidate, LogprobsResult, TopCandidates};
pub use model::{Model, ModelList};
pub use path::{Framing, Method, parse_path};
pub use proto_json::parse;
pub use service::{SchemaForm, Service, Upstream};
pub(crate) use stream::{JsonPieces, Piece};
pub use stream::{StreamReader, StreamWriter};
pub use tool::{FunctionCallingConfig, FunctionDeclaration, Tool, ToolConfig};
