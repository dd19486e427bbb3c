//! Anthropic: Messages and the counting of tokens, with the checks that the API makes of a request.

mod answer;
mod history;
mod prompt;
mod stream;

use serde_json::json;

use super::asked::Asked;
use super::cache::read;
use super::error::Refusal;
use super::model::{Seal, Turn, Usage};
use super::script::Script;
use super::state::State;

/// Signs thinking.
const THINKING: Seal = Seal("anthropic thinking");
/// Encrypts thinking that is not shown.
const REDACTED: Seal = Seal("anthropic redacted thinking");

/// Answers a message.
pub(super) fn messages(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    let prompt = prompt::prompt(asked)?;
    let turn = Turn::answering(&prompt, asked.behaviour);
    let usage = turn.usage(read(state, asked, &prompt));
    let content = answer::content(asked, &turn);
    Ok(Script {
        whole: answer::whole(asked, &turn, usage, &content).to_string(),
        events: stream::events(asked, &turn, usage, &content),
        // message_start, content_block_start, ping.
        opening: 3,
        usage,
        told: usage.input(),
        reports: true,
    })
}

/// Counts the tokens that a message would have.
pub(super) fn count(asked: &Asked) -> Result<Script, Refusal> {
    let prompt = prompt::counted(asked)?;
    Ok(Script::only(&json!({"input_tokens": prompt.tokens}), Usage::default()))
}
