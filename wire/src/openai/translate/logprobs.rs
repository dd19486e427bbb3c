//! Log probabilities in the chat form and in the older completions form.

use super::super::{ChatLogprobs, TokenLogprob as Wire, TopLogprob};
use crate::canonical::{Alternative, Logprobs, TokenLogprob};

/// The canonical form.
pub(super) fn to_canonical(logprobs: ChatLogprobs) -> Logprobs {
    let ChatLogprobs { content, refusal } = logprobs;
    let read = |tokens: Option<Vec<Wire>>| tokens.unwrap_or_default().into_iter().map(token).collect();
    Logprobs { content: read(content), refusal: read(refusal) }
}

/// OpenAI's form; an empty list is null.
pub(super) fn from_canonical(logprobs: &Logprobs) -> ChatLogprobs {
    let Logprobs { content, refusal } = logprobs;
    let write = |tokens: &[TokenLogprob]| {
        (!tokens.is_empty()).then(|| tokens.iter().map(wire_token).collect::<Vec<_>>())
    };
    ChatLogprobs { content: write(content), refusal: write(refusal) }
}

/// Reads one token.
pub(super) fn token(token: Wire) -> TokenLogprob {
    let Wire { token, logprob, bytes, top_logprobs } = token;
    let alternative = |top: TopLogprob| {
        let TopLogprob { token, logprob, bytes } = top;
        Alternative { token, logprob, bytes, id: None }
    };
    TokenLogprob {
        token,
        logprob,
        bytes,
        id: None,
        alternatives: top_logprobs.into_iter().map(alternative).collect(),
    }
}

/// Writes one token; OpenAI has no place for its id.
pub(super) fn wire_token(token: &TokenLogprob) -> Wire {
    let TokenLogprob { token, logprob, bytes, id: _, alternatives } = token;
    let top = |alternative: &Alternative| {
        let Alternative { token, logprob, bytes, id: _ } = alternative;
        TopLogprob { token: token.clone(), logprob: *logprob, bytes: bytes.clone() }
    };
    Wire {
        token: token.clone(),
        logprob: *logprob,
        bytes: bytes.clone(),
        top_logprobs: alternatives.iter().map(top).collect(),
    }
}
