//! A request that is read whole and written in the upstream's dialect.

use serde::Serialize;

use super::{Inbound, estimate};
use crate::canonical::{
    EmbeddingRequest, Failure, FailureClass, Inexpressible, Request, Translated, Unreadable, Unsupported,
};
use crate::lane::speaks::Tongue;
use crate::lane::{Operation, Speaks, Translation};
use crate::openai::embedding::EncodingFormat;
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::error::of_ours;
use crate::openai::translate::responses::Echo;
use crate::openai::translate::{Server, chat, completions, embeddings, responses};
use crate::{anthropic, gemini, openai};

/// A body, and what its answer needs.
pub(super) struct Written {
    pub body: String,
    pub dropped: Vec<String>,
    pub translation: Translation,
}

/// What a client asks, in the canonical form.
enum Asked {
    Conversation(Box<Request>, Option<Echo>),
    Counting(Box<Request>),
    Embedding(EmbeddingRequest, EncodingFormat),
    /// What has no translation.
    Other,
}

/// A body and what was left out of it.
type Said = Result<(String, Vec<String>), Failure>;

/// Writes what `inbound` asks as `operation` of `speaks`.
pub(super) fn write(
    inbound: &Inbound<'_>,
    speaks: &Speaks,
    operation: Operation,
    upstream_model: &str,
    policy: Unsupported,
) -> Result<Written, Failure> {
    let mut translation = Translation::new(policy);
    let (body, dropped) = match read(inbound, upstream_model)? {
        Asked::Conversation(mut request, echo) => {
            upstream_model.clone_into(&mut request.model);
            // The gateway meters, whatever the client wants to see.
            request.include_usage = request.stream;
            translation.estimated_input_tokens = estimate::tokens(&request);
            translation.echo = echo;
            conversation(&request, speaks, operation, policy)?
        }
        Asked::Counting(mut request) => {
            upstream_model.clone_into(&mut request.model);
            counting(*request, speaks, inbound.operation, policy)?
        }
        Asked::Embedding(mut request, encoding) => {
            upstream_model.clone_into(&mut request.model);
            translation.encoding = encoding;
            embedding(&request, speaks, inbound.operation, policy)?
        }
        Asked::Other => return Err(speaks.refusal(inbound.operation)),
    };
    Ok(Written { body, dropped, translation })
}

fn read(inbound: &Inbound<'_>, model: &str) -> Result<Asked, Failure> {
    let body = inbound.view.text.as_bytes();
    let plain = |request: Result<Request, Unreadable>| {
        request.map(|request| Asked::Conversation(Box::new(request), None)).map_err(|bad| bad.to_failure())
    };
    let counted = |request: Result<Request, Unreadable>| {
        request.map(|request| Asked::Counting(Box::new(request))).map_err(|bad| bad.to_failure())
    };
    match inbound.operation {
        Operation::ChatCompletions => {
            plain(chat::request::to_canonical(openai::parse(body).map_err(of_ours)?))
        }
        Operation::Completions => {
            plain(completions::request::to_canonical(openai::parse(body).map_err(of_ours)?))
        }
        Operation::Responses => {
            let request: ResponsesRequest = openai::parse(body).map_err(of_ours)?;
            let echo = Echo::of(&request);
            let request = responses::request::to_canonical(request).map_err(|bad| bad.to_failure())?;
            Ok(Asked::Conversation(Box::new(request), Some(echo)))
        }
        Operation::Messages => plain(anthropic::request::to_canonical(anthropic::parse(body)?)),
        Operation::GenerateContent | Operation::StreamGenerateContent { .. } => {
            let request = gemini::parse(body).map_err(|bad| bad.to_failure())?;
            plain(gemini::request::to_canonical(request, model, inbound.stream))
        }
        Operation::CountMessageTokens => {
            counted(anthropic::count_tokens::request_to_canonical(anthropic::parse(body)?))
        }
        Operation::CountTokens => {
            let request = gemini::parse(body).map_err(|bad| bad.to_failure())?;
            counted(gemini::count_tokens::to_canonical(request, model))
        }
        Operation::Embeddings => {
            let request = embeddings::to_canonical(openai::parse(body).map_err(of_ours)?);
            request
                .map(|(request, encoding)| Asked::Embedding(request, encoding))
                .map_err(|bad| bad.to_failure())
        }
        Operation::EmbedContent => {
            let request = gemini::parse(body).map_err(|bad| bad.to_failure())?;
            embedded(gemini::embedding::to_canonical(request, model))
        }
        Operation::BatchEmbedContents => {
            let request = gemini::parse(body).map_err(|bad| bad.to_failure())?;
            embedded(gemini::embedding::batch_to_canonical(request, model))
        }
        Operation::Rerank | Operation::Tokenize => Ok(Asked::Other),
    }
}

fn embedded(request: Result<EmbeddingRequest, Unreadable>) -> Result<Asked, Failure> {
    request
        .map(|request| Asked::Embedding(request, EncodingFormat::default()))
        .map_err(|bad| bad.to_failure())
}

fn conversation(request: &Request, speaks: &Speaks, operation: Operation, policy: Unsupported) -> Said {
    let chat = |server: Server| said(chat::request::from_canonical(request, server, policy));
    match &speaks.tongue {
        Tongue::OpenAi if operation == Operation::Responses => {
            said(responses::request::from_canonical(request, policy))
        }
        Tongue::OpenAi => chat(Server::OpenAi),
        Tongue::Compatible => chat(Server::Compatible),
        Tongue::Anthropic(profile) => said(anthropic::request::from_canonical(request, policy, profile)),
        Tongue::Gemini(upstream) => said(gemini::request::from_canonical(request, *upstream, policy)),
    }
}

fn counting(request: Request, speaks: &Speaks, door: Operation, policy: Unsupported) -> Said {
    match &speaks.tongue {
        Tongue::Anthropic(profile) => {
            said(anthropic::count_tokens::request_from_canonical(&request, policy, profile))
        }
        Tongue::Gemini(upstream) => said(gemini::count_tokens::from_canonical(&request, *upstream, policy)),
        Tongue::Compatible if speaks.takes(Operation::Tokenize) => {
            said(chat::request::from_canonical(&prompt_of(request), Server::Compatible, policy))
        }
        Tongue::OpenAi | Tongue::Compatible => Err(speaks.refusal(door)),
    }
}

/// What of a request the model reads; how it answers counts for nothing.
fn prompt_of(request: Request) -> Request {
    let Request {
        origin,
        model,
        system,
        turns,
        tools,
        tool_choice,
        parallel_tool_calls: _,
        sampling: _,
        choices: _,
        logprobs: _,
        output_format,
        thinking: _,
        verbosity: _,
        stream: _,
        include_usage: _,
        user: _,
        metadata: _,
        foreign,
        remarks,
    } = request;
    Request {
        system,
        turns,
        tools,
        tool_choice,
        output_format,
        foreign,
        remarks,
        ..Request::new(origin, model)
    }
}

fn embedding(request: &EmbeddingRequest, speaks: &Speaks, door: Operation, policy: Unsupported) -> Said {
    match &speaks.tongue {
        Tongue::OpenAi => said(embeddings::from_canonical(request, Server::OpenAi, policy)),
        Tongue::Compatible => said(embeddings::from_canonical(request, Server::Compatible, policy)),
        Tongue::Gemini(upstream) => {
            said(gemini::embedding::from_canonical(request, upstream.service, policy))
        }
        Tongue::Anthropic(_) => Err(speaks.refusal(door)),
    }
}

fn said<T: Serialize>(written: Result<Translated<T>, Inexpressible>) -> Said {
    let Translated { message, dropped } = written.map_err(|lost| lost.to_failure())?;
    let body = serde_json::to_string(&message).map_err(|error| {
        Failure::new(FailureClass::Internal, format!("a request can't be written: {error}"))
    })?;
    Ok((body, dropped))
}
