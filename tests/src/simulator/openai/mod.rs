//! OpenAI: chat, the older completions, Responses and embeddings, with the checks that the API makes of a request, and the
//! reranking that compatible APIs have beside them.

mod chat;
mod chat_prompt;
mod completions;
mod embeddings;
mod fields;
mod rerank;
mod responses;
mod responses_prompt;
mod responses_stream;

pub(super) use chat::{chat, is_plain};
pub(super) use completions::{completions, is_plain_completion};
pub(super) use embeddings::embeddings;
pub(super) use rerank::rerank;
pub(super) use responses::{responses, responses_failed};
