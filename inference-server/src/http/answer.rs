//! What every answer of an endpoint carries, and the tokens' texts in log probabilities.

use std::time::{SystemTime, UNIX_EPOCH};

use weighbridge_wire::openai::{FinishReason, TokenLogprob, TopLogprob};

use crate::engine::StopCause;
use crate::sampling::TokenLogprobs;
use crate::tokenizer::Tokenizer;

/// The head of an answer, the same in every chunk of it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) fingerprint: String,
}

impl Head {
    /// A head with a fresh id of the form `prefix-…`. `model` is the name that the caller used.
    pub(super) fn new(prefix: &str, model: String, fingerprint: &str) -> Self {
        let id = format!("{prefix}-{:032x}", rand::random::<u128>());
        Self { id, created: unix_seconds(), model, fingerprint: fingerprint.to_owned() }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// OpenAI's word for an end.
pub(super) fn finish_reason(cause: &StopCause) -> FinishReason {
    match cause {
        StopCause::EndToken(_) | StopCause::StopText(_) => FinishReason::Stop,
        StopCause::Length => FinishReason::Length,
    }
}

/// The text of one token; U+FFFD where its bytes are a part of a character.
pub(super) fn token_text(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(tokenizer.piece(id)).into_owned()
}

/// A token's log probabilities in the chat form.
pub(super) fn chat_logprob(tokenizer: &Tokenizer, id: u32, logprobs: &TokenLogprobs) -> TokenLogprob {
    TokenLogprob {
        token: token_text(tokenizer, id),
        logprob: json_logprob(logprobs.logprob),
        bytes: Some(tokenizer.piece(id).to_vec()),
        top_logprobs: logprobs
            .top
            .iter()
            .map(|(id, logprob)| TopLogprob {
                token: token_text(tokenizer, *id),
                logprob: json_logprob(*logprob),
                bytes: Some(tokenizer.piece(*id).to_vec()),
            })
            .collect(),
    }
}

/// JSON has no infinity; OpenAI writes the impossible as -9999.
pub(super) fn json_logprob(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

/// A log probability where JSON is built by hand: with the digits that an `f32` field would have.
pub(super) fn logprob_value(logprob: f32) -> serde_json::Value {
    json_logprob(logprob).to_string().parse().map_or(serde_json::Value::Null, serde_json::Value::Number)
}
