//! `POST /v1/chat/completions`: the request, its messages, the answer and the stream's chunks.
//!
//! What an engine does not serve (tools, images, formats) stays in `extra`; [`ToolDefinition`] and the types
//! beside it are its typed view, which translation reads.

mod chunk;
mod content;
mod message;
mod request;
mod response;
mod tool;

pub use chunk::{ChatCompletionChunk, ChunkChoice, Delta};
pub use content::{
    Annotation, File, ImageUrl, InputAudio, ReasoningDetail, ResponseFormat, SchemaFormat, UrlCitation,
};
pub use message::{Content, ContentPart, Message, Role, UnsupportedContent};
pub use request::ChatCompletionRequest;
pub use response::{ChatChoice, ChatCompletion, ResponseMessage};
pub use tool::{
    CalledCustom, CalledFunction, CustomDelta, FunctionDefinition, FunctionDelta, MessageToolCall,
    ToolCallDelta, ToolDefinition,
};
