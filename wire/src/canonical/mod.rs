//! The one form that every dialect translates to and from: request, response, stream event, usage and failure.
//!
//! A dialect's folder reads its own messages into these types and writes them out of these types; no dialect
//! knows another. Here lives what they share: the types, what an untranslatable field comes to ([`Losses`]), the
//! names callers know a field by ([`Field`]), ids without randomness ([`Mint`]), what carries a provider's signature through
//! another dialect ([`seal`]), how long an upstream's headers ask to wait ([`retry`]), and the two machines over stream
//! events ([`Assembler`], [`Sequencer`]). No JSON of any dialect is read or written here, and nothing here knows a
//! client, a clock or chance.
//!
//! Tool arguments and signatures are raw text from end to end: they are never parsed and written anew.

mod assembler;
mod citation;
mod codec;
mod dialect;
mod embedding;
mod event;
mod failure;
mod field;
mod foreign;
mod hint;
mod logprobs;
mod loss;
mod media;
mod mint;
mod part;
mod playback;
mod request;
mod response;
pub mod retry;
pub mod seal;
mod sequencer;
mod thinking;
mod time;
mod took;
mod tool;
mod usage;

pub use assembler::{Assembler, GrammarError, Unfinished};
pub use citation::{Citation, CitationSource, Location, Span};
pub use codec::{Envelope, ErrorAnswer, ReadStream, Translated, Unreadable, WriteStream};
pub use dialect::{Dialect, Provider};
pub use embedding::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse, TokenCount};
pub use event::{Delta, Event, Opening, Start};
pub use failure::{Failure, FailureClass, MAX_RETRY_AFTER_SECONDS};
pub use field::{Field, Place};
pub use foreign::{Extra, ForeignField, ForeignPart, is_nothing, keep_foreign};
pub use logprobs::{Alternative, Logprobs, TokenLogprob};
pub use loss::{Fault, Inexpressible, Losses, Unsupported};
pub use media::{Audio, Document, Image, ImageDetail, MediaSource};
pub use mint::Mint;
pub use part::{CacheMark, CacheTtl, Part, RedactedThinking, Signature, Text, Thinking};
pub use playback::play;
pub use request::{
    Instruction, InstructionRole, Joined, Joining, LogprobsRequest, OutputFormat, Request, Role, Sampling,
    Turn,
};
pub use response::{Choice, Response, Stop, StopReason};
pub use sequencer::Sequencer;
pub use thinking::{Amount, Effort, ThinkingRequest, ThinkingShown};
pub(crate) use time::{read_time, write_time};
pub use took::Took;
pub use tool::{CustomCall, CustomFormat, CustomTool, FunctionTool, Tool, ToolCall, ToolChoice, ToolResult};
pub use usage::{Convention, Directions, Reported, Usage};
