//! A chat request, checked field by field and turned into sequences.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use weighbridge_wire::openai::chat::{ChatCompletionRequest, Message, Role};
use weighbridge_wire::openai::{ApiError, parse};

use super::super::answer::Head;
use super::super::choices::Collected;
use super::super::exchange::{Endpoint, Submission};
use super::super::parameters::{self, Extension, Sampling, unsupported};
use super::super::stream::Dialect;
use super::super::{Generation, ServedModel, error};
use super::render;
use crate::engine::{Finished, GenerateRequest};
use crate::tokenizer::Tokenizer;

/// What an answer needs of its request.
pub(in crate::http) struct Chat {
    pub(super) head: Head,
    pub(super) logprobs: bool,
    pub(super) tokenizer: Arc<Tokenizer>,
}

impl Endpoint for Chat {
    const PROMPT: &'static str = "messages";

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

fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Chat, Submission), ApiError> {
    // Without `..`: a field added to the type has to be enforced or refused here.
    let ChatCompletionRequest {
        model: name,
        messages,
        max_tokens,
        max_completion_tokens,
        temperature,
        top_p,
        seed,
        n,
        stop,
        presence_penalty,
        frequency_penalty,
        logprobs,
        top_logprobs,
        stream,
        stream_options,
        extra,
    } = parse(body)?;
    let adapter = model.resolve_name(&name)?;
    let generation = model.generation()?;
    let extension = Extension::read(&extra, generation.engine.vocabulary_size(), &no_effect())?;
    let logprobs = logprobs.unwrap_or(false);
    if top_logprobs.is_some() && !logprobs {
        let message = "`top_logprobs` needs `logprobs` to be true";
        return Err(ApiError::invalid_request(Some("top_logprobs"), message));
    }
    let top_logprobs = logprobs.then(|| top_logprobs.unwrap_or(0));
    let count = parameters::choices(n, 1)?;
    let stop = parameters::stops(stop)?;
    let stream = stream.unwrap_or(false);
    let include_usage = parameters::include_usage(stream, stream_options.as_ref())?;

    let prompt = tokenise(generation, &messages)?;
    let room = generation.engine.context_length().saturating_sub(prompt.len());
    let (max_tokens, max_tokens_field) = match (max_completion_tokens, max_tokens) {
        (Some(most), _) => (most as usize, "max_completion_tokens"),
        (None, Some(most)) => (most as usize, "max_tokens"),
        // An answer that may be of any length is as long as the context lets it be.
        (None, None) => (room.max(1), "messages"),
    };
    let sampling = Sampling { temperature, top_p, seed, presence_penalty, frequency_penalty, top_logprobs };
    let prompt_tokens = prompt.len();
    let sampling = sampling.params(&extension);
    let one = GenerateRequest {
        prompt,
        max_tokens,
        sampling,
        stop,
        ignore_end: extension.ignore_eos,
        prompt_logprobs: None,
        adapter,
    };
    let head = Head::new("chatcmpl", name.clone(), &model.fingerprint);
    let chat = Chat { head, logprobs, tokenizer: Arc::clone(&generation.tokenizer) };
    let group = parameters::with_own_seeds(one, count);
    Ok((chat, Submission { model: name, group, prompt_tokens, stream, include_usage, max_tokens_field }))
}

/// OpenAI's fields that this server does not implement, at the values that ask for nothing.
fn no_effect() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("tools", vec![json!([])]),
        ("functions", vec![json!([])]),
        ("tool_choice", vec![json!("none"), json!("auto")]),
        ("function_call", vec![json!("none"), json!("auto")]),
        ("parallel_tool_calls", vec![json!(true), json!(false)]),
        ("response_format", vec![json!({"type": "text"})]),
        ("modalities", vec![json!(["text"])]),
    ]
}

fn tokenise(generation: &Generation, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
    let prompt = rendered(generation, messages, true)?;
    let context = generation.engine.context_length();
    // No tokenisation of that text can fit: do not spend seconds to find out by how much.
    let least = generation.tokenizer.least_tokens(prompt.len());
    if least >= context {
        return Err(ApiError::context_length_exceeded(context as u64, least as u64, "messages"));
    }
    let prompt = generation.tokenizer.encode_chat(&prompt);
    let prompt = prompt.map_err(|error| error::from_tokenizer(&error, "messages"))?;
    if prompt.len() >= context {
        return Err(ApiError::context_length_exceeded(context as u64, prompt.len() as u64, "messages"));
    }
    Ok(prompt)
}

/// The conversation as the model reads it; `open` is whether the model's answer begins at its end.
pub(in crate::http) fn rendered(
    generation: &Generation,
    messages: &[Message],
    open: bool,
) -> Result<String, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid_request(Some("messages"), "`messages` must hold at least one message"));
    }
    let template = generation.template.as_ref().map_err(|why| {
        let message = format!("This model cannot chat: {why}. Use /v1/completions.");
        ApiError::new(400, "invalid_request_error", Some("messages"), Some("chat_template"), &message)
    })?;
    let messages = messages.iter().enumerate().map(|(index, message)| for_template(index, message));
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    template.render(&messages, open).map_err(|error| error::from_template(&error))
}

/// A message as templates read it. What a template could not carry is refused, not dropped.
fn for_template(index: usize, message: &Message) -> Result<Value, ApiError> {
    let Message { role, content, name, extra } = message;
    let at = |field: &str| format!("messages[{index}].{field}");
    if let Some((field, _)) = extra.iter().find(|(_, value)| !is_nothing(value)) {
        return Err(unsupported(&at(field)));
    }
    let role = match role {
        // The newer name of the same thing; templates know the older one.
        Role::Developer => Role::System,
        Role::Tool => return Err(unsupported(&at("role"))),
        role => *role,
    };
    let content = match content {
        None if role == Role::Assistant => std::borrow::Cow::Borrowed(""),
        None => {
            let path = at("content");
            return Err(ApiError::invalid_request(Some(&path), &format!("`{path}` is missing")));
        }
        Some(content) => content.as_text().map_err(|error| {
            let path = at("content");
            ApiError::invalid_request(Some(&path), &format!("`{path}`: {error}"))
        })?,
    };
    let mut value = json!({"role": role.as_str(), "content": content});
    if let (Some(name), Some(object)) = (name, value.as_object_mut()) {
        object.insert("name".to_owned(), json!(name));
    }
    Ok(value)
}

/// Clients send an assistant's message back as they got it, with its empty fields.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}
