//! `POST /v1/chat/completions`: the request, its messages, the answer and the stream's chunks.

mod chunk;
mod message;
mod request;
mod response;

pub use chunk::{ChatCompletionChunk, ChunkChoice, Delta};
pub use message::{Content, ContentPart, Message, Role, UnsupportedContent};
pub use request::ChatCompletionRequest;
pub use response::{ChatChoice, ChatCompletion, ResponseMessage};
