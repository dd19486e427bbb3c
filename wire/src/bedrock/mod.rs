//! Amazon Bedrock's dialect: `Converse` and `ConverseStream`, `CountTokens`, the models list and errors, both ways; and what frames
//! another dialect's stream where Bedrock is asked for a model in the model's own dialect ([`invoke`]).
//!
//! Clients speak it to us (AWS's SDKs), and we speak it to Bedrock. Types keep the fields that they do not know in `extra`. Tool
//! input is raw text and signatures are untouched strings from end to end. Here lives only what this dialect's JSON and framing
//! need: no other dialect, no HTTP, no signing, and of models only what their names say ([`ModelProfile`]).

mod call_id;
mod citation;
mod content;
pub mod count_tokens;
pub mod error;
pub mod invoke;
mod model;
mod output;
mod parse;
mod part;
mod profile;
pub mod request;
pub mod response;
mod stop_reason;
pub mod stream;
mod tool;
pub mod usage;

pub use content::{
    AudioBlock, CachePoint, CitationsBlock, CitationsConfig, ContentBlock, DocumentBlock, DocumentSource,
    ImageBlock, MediaSource, ReasoningBlock, ReasoningText, ToolResultBlock, ToolResultContent, ToolUseBlock,
};
pub(crate) use model::{GEOGRAPHIES, profiled};
pub use model::{Model, ModelDetails, ModelList};
pub use output::{JsonSchema, OutputConfig, OutputFormat, OutputStructure};
pub use parse::parse;
pub use profile::ModelProfile;
pub use stream::{StreamReader, StreamWriter};
pub use tool::{InputSchema, Tool, ToolChoice, ToolConfig, ToolSpec};
