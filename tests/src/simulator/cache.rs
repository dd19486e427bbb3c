//! What of a prompt the provider's cache knows.

use super::Behaviour;
use super::asked::{Asked, Dialect};
use super::model::{Cached, Prompt, Usage};
use super::state::State;

/// What reading `prompt` took; what the caller wants cached is cached from now on.
pub(super) fn read(state: &State, asked: &Asked, prompt: &Prompt) -> Usage {
    let cached = match &prompt.cache {
        _ if asked.behaviour == Behaviour::Cached => Cached::Read,
        None => Cached::No,
        // What Google is told to read was written by another call.
        Some(cache) if state.cached(&cache.key) || asked.method.dialect() == Dialect::Gemini => Cached::Read,
        Some(_) => Cached::Written,
    };
    Usage::of(prompt, cached)
}
