//! What a model says to a request, whatever the dialect: the prompt as the dialects read it, the turn they
//! write. No dialect's names and no HTTP live here.

mod instance;
mod prompt;
mod seal;
mod turn;
mod usage;
mod vector;

pub(super) use prompt::{Cache, Choice, Image, Last, Prompt, Tool, count_tokens};
pub(super) use seal::Seal;
pub(super) use turn::{Call, Finish, Turn, fragments};
pub(super) use usage::{Cached, Usage};
pub(super) use vector::{MOST_DIMENSIONS, vector};
