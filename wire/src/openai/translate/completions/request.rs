//! Requests, read.

use super::super::super::StreamOptions;
use super::super::super::completion::{CompletionRequest, Prompt};
use super::super::view::take;
use crate::canonical::{
    Dialect, LogprobsRequest, Part, Request, Role, Sampling, Turn, Unreadable, keep_foreign,
};

/// Reads a request. What a conversation can't hold is kept in [`Request::foreign`].
///
/// # Errors
/// Where the prompt is no single text, or a field makes no sense.
pub fn to_canonical(request: CompletionRequest) -> Result<Request, Unreadable> {
    let CompletionRequest {
        model,
        prompt,
        max_tokens,
        temperature,
        top_p,
        seed,
        n,
        stop,
        presence_penalty,
        frequency_penalty,
        logprobs,
        echo,
        stream,
        stream_options,
        mut extra,
    } = request;
    let mut out = Request::new(Dialect::OpenAiCompletions, model);
    let parts = vec![Part::text(text(prompt)?)];
    out.turns.push(Turn { role: Role::User, parts, name: None, place: 0 });
    out.sampling = Sampling {
        max_output_tokens: max_tokens,
        temperature,
        top_p,
        top_k: take(&mut extra, "", "top_k")?,
        seed,
        stop,
        presence_penalty,
        frequency_penalty,
    };
    out.choices = n;
    out.logprobs = logprobs.map(|top| LogprobsRequest { top: Some(top) });
    out.stream = stream.unwrap_or(false);
    if let Some(StreamOptions { include_usage, extra }) = stream_options {
        out.include_usage = include_usage.unwrap_or(false);
        keep_foreign("stream_options", extra, &mut out.foreign);
    }
    out.user = take(&mut extra, "", "user")?;
    // Asking for the prompt back is a wish that nobody else can grant.
    if echo == Some(true) {
        extra.insert("echo".into(), true.into());
    }
    keep_foreign("", extra, &mut out.foreign);
    Ok(out)
}

fn text(prompt: Prompt) -> Result<String, Unreadable> {
    match prompt {
        Prompt::Text(text) => Ok(text),
        Prompt::Texts(mut texts) if texts.len() == 1 => Ok(texts.remove(0)),
        Prompt::Texts(texts) => {
            let problem = format!("holds {} texts; this model answers one prompt at a time", texts.len());
            Err(Unreadable::new("prompt", problem))
        }
        Prompt::Tokens(_) | Prompt::TokenLists(_) => {
            Err(Unreadable::new("prompt", "holds token ids; this model takes text only"))
        }
    }
}
