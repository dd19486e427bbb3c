//! Whole answers.

use std::sync::Arc;

use serde::Serialize;

use super::lane::Translation;
use super::operation::Kind;
use super::{Lane, Operation, Stamp, raw};
use crate::canonical::{
    Dialect, EmbeddingResponse, Failure, FailureClass, Inexpressible, Response, TokenCount, Translated,
    Unreadable, Usage,
};
use crate::edit::{quoted, splice};
use crate::openai::translate::{chat, completions, embeddings, responses};
use crate::{anthropic, gemini, openai};

/// A whole answer for a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The body; `None`: the upstream's, as it came.
    pub body: Option<Vec<u8>>,
    /// What it used, where the upstream says. Counting tokens is no use.
    pub usage: Option<Usage>,
    /// What was left out of it, by the upstream's names.
    pub dropped: Vec<String>,
    /// Where it was made, where the upstream says.
    pub place: Option<Arc<str>>,
}

impl Lane {
    /// Takes a whole answer of the upstream's.
    ///
    /// # Errors
    /// The failure that it is: by its status, by what it holds in spite of a status of success, or because nobody can
    /// read it.
    pub fn whole(&self, stamp: &Stamp, status: u16, body: &[u8]) -> Result<Whole, Failure> {
        if !(200..300).contains(&status) {
            return Err(self.failure(status, None, body));
        }
        match &self.translation {
            None => self.renamed(body),
            Some(translation) => self.translated_answer(translation, stamp, body),
        }
    }

    fn renamed(&self, body: &[u8]) -> Result<Whole, Failure> {
        let seen = raw::whole(self.upstream, body)?;
        let name = quoted(&self.model);
        // It was read as text, so it is one.
        let text = std::str::from_utf8(body).unwrap_or_default();
        let old = seen.model.filter(|at| text.get(at.clone()) != Some(name.as_str()));
        let body = old.map(|at| splice(text, &[(at, name)]));
        Ok(Whole { body, usage: seen.usage, dropped: Vec::new(), place: seen.place })
    }

    fn translated_answer(
        &self,
        translation: &Translation,
        stamp: &Stamp,
        body: &[u8],
    ) -> Result<Whole, Failure> {
        match self.upstream.kind() {
            Kind::Conversation => {
                let response = self.read(stamp, body)?;
                let usage = response.usage;
                let place = anthropic::usage::inference_geo(&response.foreign).map(Arc::from);
                let (body, dropped) = self.write(&response, translation, stamp)?;
                Ok(Whole { body: Some(body), usage, dropped, place })
            }
            Kind::Counting => {
                let body = write_count(self.door, read_count(self.upstream, body)?)?;
                Ok(Whole { body: Some(body), usage: None, dropped: Vec::new(), place: None })
            }
            Kind::Embedding | Kind::Reranking => {
                let vectors = self.read_vectors(body)?;
                let usage =
                    vectors.input_tokens.map(|tokens| Usage { input_uncached: tokens, ..Usage::default() });
                let body = self.write_vectors(&vectors, translation)?;
                Ok(Whole { body: Some(body), usage, dropped: Vec::new(), place: None })
            }
        }
    }

    fn read(&self, stamp: &Stamp, body: &[u8]) -> Result<Response, Failure> {
        let mut mint = Self::mint(stamp);
        match self.upstream.dialect() {
            // Nobody is asked for completions in another's place.
            Dialect::OpenAiChat | Dialect::OpenAiCompletions => chat::response::read(body, &mut mint),
            Dialect::OpenAiResponses => responses::response::read(body),
            Dialect::Anthropic => {
                let answer = anthropic::parse(body).map_err(|failure| self.unreadable(&failure.message))?;
                anthropic::response::to_canonical(answer, &mut mint)
            }
            Dialect::Gemini => {
                let answer = gemini::parse(body).map_err(|problem| self.unreadable(&problem.to_string()))?;
                gemini::response::to_canonical(answer, &mut mint)
            }
        }
    }

    fn write(
        &self,
        response: &Response,
        translation: &Translation,
        stamp: &Stamp,
    ) -> Result<(Vec<u8>, Vec<String>), Failure> {
        let (envelope, policy) = (self.envelope(stamp), translation.policy);
        match self.door.dialect() {
            Dialect::OpenAiChat => said(chat::response::from_canonical(response, &envelope, policy)),
            Dialect::OpenAiCompletions => {
                said(completions::response::from_canonical(response, &envelope, policy))
            }
            Dialect::OpenAiResponses => {
                let echo = translation.echo();
                said(responses::response::from_canonical(response, &envelope, echo, policy))
            }
            Dialect::Anthropic => said(anthropic::response::from_canonical(response, &envelope, policy)),
            Dialect::Gemini => said(gemini::response::from_canonical(response, &envelope, policy)),
        }
    }

    fn read_vectors(&self, body: &[u8]) -> Result<EmbeddingResponse, Failure> {
        // Reads it as it would pass, since an answer that states a failure is none here either.
        raw::whole(self.upstream, body)?;
        if self.upstream == Operation::BatchEmbedContents {
            let answer = gemini::parse(body).map_err(|problem| self.unreadable(&problem.to_string()))?;
            return Ok(gemini::embedding::response_to_canonical(answer, &self.model));
        }
        let answer = openai::parse(body).map_err(|error| self.unreadable(&error.body.error.message))?;
        embeddings::response_to_canonical(answer)
    }

    fn write_vectors(
        &self,
        vectors: &EmbeddingResponse,
        translation: &Translation,
    ) -> Result<Vec<u8>, Failure> {
        match self.door {
            Operation::EmbedContent => {
                let one = gemini::embedding::one_from_canonical(vectors).ok_or_else(|| {
                    self.unreadable(&format!("it holds {} vectors for one text", vectors.vectors.len()))
                })?;
                json(&one)
            }
            Operation::BatchEmbedContents => json(&gemini::embedding::batch_from_canonical(vectors)),
            _ => json(&embeddings::response_from_canonical(vectors, &self.model, translation.encoding)),
        }
    }

    fn unreadable(&self, problem: &str) -> Failure {
        raw::unreadable(self.upstream.dialect(), problem)
    }
}

fn read_count(upstream: Operation, body: &[u8]) -> Result<TokenCount, Failure> {
    raw::whole(upstream, body)?;
    let unreadable = |problem: &str| raw::unreadable(upstream.dialect(), problem);
    if upstream == Operation::CountTokens {
        let count = gemini::parse(body).map_err(|problem: Unreadable| unreadable(&problem.to_string()))?;
        return Ok(gemini::count_tokens::response_to_canonical(&count));
    }
    let count = anthropic::parse(body).map_err(|failure| unreadable(&failure.message))?;
    Ok(anthropic::count_tokens::to_canonical(&count))
}

fn write_count(door: Operation, count: TokenCount) -> Result<Vec<u8>, Failure> {
    if door == Operation::CountTokens {
        json(&gemini::count_tokens::response_from_canonical(count))
    } else {
        json(&anthropic::count_tokens::from_canonical(count))
    }
}

fn said<T: Serialize>(
    written: Result<Translated<T>, Inexpressible>,
) -> Result<(Vec<u8>, Vec<String>), Failure> {
    let Translated { message, dropped } = written.map_err(|lost| lost.to_failure())?;
    Ok((json(&message)?, dropped))
}

fn json<T: Serialize>(message: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(message)
        .map_err(|error| Failure::new(FailureClass::Internal, format!("an answer can't be written: {error}")))
}
