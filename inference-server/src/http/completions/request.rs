//! A completions request, checked field by field and turned into sequences.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use weighbridge_wire::openai::completion::{CompletionRequest, Prompt};
use weighbridge_wire::openai::{ApiError, parse};

use super::super::answer::Head;
use super::super::choices::Collected;
use super::super::exchange::{Endpoint, Submission};
use super::super::parameters::{self, Extension, Sampling};
use super::super::stream::Dialect;
use super::super::{Generation, ServedModel, error};
use super::render;
use crate::engine::{Finished, GenerateRequest};
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Tokens of an answer when the request does not say; OpenAI's default for this endpoint.
const DEFAULT_MAX_TOKENS: usize = 16;

/// What an answer needs of its request.
pub(in crate::http) struct Completing {
    pub(super) head: Head,
    pub(super) logprobs: bool,
    /// What `echo` puts in front of each answer; empty without it.
    pub(super) echoes: Vec<Echo>,
    pub(super) tokenizer: Arc<Tokenizer>,
}

impl Endpoint for Completing {
    const PROMPT: &'static str = "prompt";

    fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Self, Submission), ApiError> {
        prepare(model, body)
    }

    fn whole(self, prompt_tokens: usize, choices: Vec<(Collected, Finished)>) -> impl Serialize {
        render::whole(self, prompt_tokens, choices)
    }

    fn chunks(self, include_usage: bool) -> impl Dialect {
        render::Chunks::new(self, include_usage)
    }
}

/// A prompt that is repeated in front of its answers.
#[derive(Clone)]
pub(super) struct Echo {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
}

fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Completing, Submission), ApiError> {
    // Without `..`: a field added to the type has to be enforced or refused here.
    let CompletionRequest {
        model: name,
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
        extra,
    } = parse(body)?;
    let adapter = model.resolve_name(&name)?;
    let generation = model.generation()?;
    let best_of = ("best_of", vec![json!(n.unwrap_or(1))]);
    let extension = Extension::read(&extra, generation.engine.vocabulary_size(), &[best_of])?;
    let stop = parameters::stops(stop)?;
    let stream = stream.unwrap_or(false);
    let include_usage = parameters::include_usage(stream, stream_options.as_ref())?;
    let echo = echo.unwrap_or(false);

    let prompts = tokenise(generation, prompt)?;
    let n = parameters::choices(n, prompts.len())?;
    let sampling =
        Sampling { temperature, top_p, seed, presence_penalty, frequency_penalty, top_logprobs: logprobs };
    let sampling = sampling.params(&extension);
    let prompt_tokens = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    let of_prompt = |prompt: &Echo| GenerateRequest {
        prompt: prompt.tokens.clone(),
        max_tokens: max_tokens.map_or(DEFAULT_MAX_TOKENS, |most| most as usize),
        sampling: sampling.clone(),
        stop: stop.clone(),
        ignore_end: extension.ignore_eos,
        prompt_logprobs: logprobs.filter(|_| echo),
        adapter,
    };
    let group = prompts.iter().flat_map(|prompt| parameters::with_own_seeds(of_prompt(prompt), n)).collect();
    let repeated = prompts.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, n));
    let echoes = if echo { repeated.collect() } else { Vec::new() };
    let head = Head::new("cmpl", name.clone(), &model.fingerprint);
    let tokenizer = Arc::clone(&generation.tokenizer);
    let completing = Completing { head, logprobs: logprobs.is_some(), echoes, tokenizer };
    let max_tokens_field = "max_tokens";
    Ok((
        completing,
        Submission { model: name, group, prompt_tokens, stream, include_usage, max_tokens_field },
    ))
}

fn tokenise(generation: &Generation, prompt: Prompt) -> Result<Vec<Echo>, ApiError> {
    match prompt {
        Prompt::Text(text) => Ok(vec![from_text(generation, text)?]),
        Prompt::Tokens(tokens) => Ok(vec![from_tokens(generation, tokens)?]),
        Prompt::Texts(texts) => texts.into_iter().map(|text| from_text(generation, text)).collect(),
        Prompt::TokenLists(lists) => {
            lists.into_iter().map(|tokens| from_tokens(generation, tokens)).collect()
        }
    }
}

fn from_text(generation: &Generation, text: String) -> Result<Echo, ApiError> {
    // As for chat: what cannot fit is not tokenised to find out by how much.
    check_length(generation, generation.tokenizer.least_tokens(text.len()))?;
    let options = EncodeOptions { add_special: true, parse_special: true };
    let tokens = generation
        .tokenizer
        .encode(&text, options)
        .map_err(|error| error::from_tokenizer(&error, "prompt"))?;
    check_length(generation, tokens.len())?;
    Ok(Echo { text, tokens })
}

fn from_tokens(generation: &Generation, tokens: Vec<u32>) -> Result<Echo, ApiError> {
    check_length(generation, tokens.len())?;
    let vocabulary = generation.engine.vocabulary_size();
    if let Some(bad) = tokens.iter().find(|id| **id as usize >= vocabulary) {
        let message = format!("`prompt` has the token id {bad}; ids are from 0 to {}", vocabulary - 1);
        return Err(ApiError::invalid_request(Some("prompt"), &message));
    }
    let bytes: Vec<u8> = tokens.iter().flat_map(|id| generation.tokenizer.piece(*id)).copied().collect();
    Ok(Echo { text: String::from_utf8_lossy(&bytes).into_owned(), tokens })
}

fn check_length(generation: &Generation, tokens: usize) -> Result<(), ApiError> {
    let context = generation.engine.context_length();
    if tokens >= context {
        return Err(ApiError::context_length_exceeded(context as u64, tokens as u64, "prompt"));
    }
    Ok(())
}
