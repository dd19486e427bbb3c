//! A request: what a gateway must know of it, and what goes to an upstream.

mod estimate;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod tests;
mod view;
mod written;

use std::borrow::Cow;

use serde_json::Value;

pub(super) use self::view::unfit;
use self::view::{View, refused};
use super::cloud::{Cloud, Said};
use super::operation::Kind;
use super::{Door, Lane, Operation, Speaks};
use crate::canonical::{Failure, FailureClass, Unsupported, seal};
use crate::edit::{Edit, Object, Wanted, splice};
use crate::openai::chat::ReasoningDetail;

/// A client's request.
#[derive(Debug)]
pub struct Inbound<'a> {
    operation: Operation,
    view: View<'a>,
    model: Cow<'a, str>,
    stream: bool,
    said: Said,
}

/// A request for an upstream.
#[derive(Debug)]
pub struct Outbound {
    /// What the upstream is asked.
    pub operation: Operation,
    /// Where: path and query.
    pub path: String,
    /// The body.
    pub body: Body,
    /// What was left out of it, by the caller's names.
    pub dropped: Vec<String>,
    /// What it takes to read the answer.
    pub lane: Lane,
}

/// The body of a request for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The client's, with these spans replaced, in order and apart. Every other byte stays, and no copy is made here.
    Edited(Vec<Edit>),
    /// One that was written anew.
    Written(Vec<u8>),
}

/// Reads a request that came through `door`, as far as a gateway needs.
///
/// # Errors
/// Names the field: no JSON object, nested too deep, the model not named, a field that is read of the wrong type or
/// given twice. What only an upstream can judge is not looked at.
pub fn read<'a>(door: &Door<'a>, body: &'a [u8]) -> Result<Inbound<'a>, Failure> {
    let Door { operation, model_in_path } = door;
    let view = View::read(*operation, body)?;
    // A path's word is the one that is routed and allowed.
    let model = model_in_path.clone().or_else(|| view.model.clone());
    let model = model.ok_or_else(|| refused("model", "`model` is missing: name the model to use."))?;
    let stream = operation.streams_by_path() || view.stream;
    Ok(Inbound { operation: *operation, view, model, stream, said: Said::default() })
}

impl<'a> Inbound<'a> {
    /// With what the client says in these headers, by name and value: an upstream may want it in the body.
    #[must_use]
    pub fn with_headers<'h>(self, headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        Self { said: Said::read(headers), ..self }
    }

    /// What is asked.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The name of the model asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be a stream.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// Whether the caller gets the usage at the end of a stream: where its dialect leaves the choice, as it asked.
    pub fn include_usage(&self) -> bool {
        if self.operation.asks_for_usage() { self.view.include_usage() } else { self.stream }
    }

    /// About how many tokens it makes a model read, by its bytes: for what no upstream counts.
    pub fn estimated_input_tokens(&self) -> u64 {
        estimate::of_body(self.view.text)
    }

    /// The request for an upstream that calls the model `upstream_model`: the client's own bytes where it takes the
    /// operation, and a translation elsewhere. `set` are top-level fields of the upstream's body and their values, which
    /// replace the caller's; `model` and the wish for a stream are none of them.
    ///
    /// # Errors
    /// Where there is no translation, where something can't be said and `policy` does not drop it, and where a field
    /// makes no sense. A request that goes through as it came is the upstream's to judge.
    pub fn outbound(
        &self,
        speaks: &Speaks,
        upstream_model: &str,
        policy: Unsupported,
        set: &[(&str, Value)],
    ) -> Result<Outbound, Failure> {
        let operation = speaks.asked(self.operation, self.stream)?;
        if let Some((name, _)) = set.iter().find(|(name, _)| view::fields(operation).contains(name)) {
            return Err(Failure::new(FailureClass::Internal, format!("`{name}` is no field to set")));
        }
        let cloud = speaks.cloud;
        let path = match cloud {
            None => operation.path(upstream_model),
            Some(cloud) => cloud.path(operation, upstream_model, self.stream),
        };
        let said = |name: &str, value: &Value| (name.to_owned(), Wanted::Value(value.to_string()));
        let mut wanted: Vec<_> = set.iter().map(|(name, value)| said(name, value)).collect();
        let of_cloud = cloud.map(|cloud| cloud.fields(operation, &self.said)).unwrap_or_default();
        wanted.extend(of_cloud.into_iter().map(|(name, wanted)| (name.to_owned(), wanted)));
        if operation == self.operation && !self.is_sealed() && !self.is_otherwise_in(cloud) {
            let gone = wanted.iter().any(|(name, wanted)| name == "model" && *wanted == Wanted::Gone);
            // Where the model has no place in the body, it is named in the path alone.
            let mut edits = if gone { Vec::new() } else { self.raw_edits(upstream_model) };
            edits.extend(set_fields(self.view.text, &wanted)?);
            edits.sort_by_key(|(range, _)| (range.start, range.end));
            let lane = Lane::raw(self, cloud);
            return Ok(Outbound { operation, path, body: Body::Edited(edits), dropped: Vec::new(), lane });
        }
        let written::Written { body, dropped, translation } =
            written::write(self, speaks, operation, upstream_model, policy)?;
        let edits = set_fields(&body, &wanted)?;
        let body = if edits.is_empty() { body.into_bytes() } else { splice(&body, &edits) };
        // In its own dialect a request is written anew to open its seals, and the answer has none.
        let lane = if operation == self.operation {
            Lane::raw(self, cloud)
        } else {
            Lane::translated(self, operation, cloud, translation)
        };
        Ok(Outbound { operation, path, body: Body::Written(body), dropped, lane })
    }

    /// What changes of a request that goes through as it came.
    pub(crate) fn raw_edits(&self, upstream_model: &str) -> Vec<Edit> {
        self.view.edits(upstream_model, self.stream && self.operation.asks_for_usage())
    }

    /// Whether a cloud has the operation and another form of its body, so that the body is written anew.
    fn is_otherwise_in(&self, cloud: Option<Cloud>) -> bool {
        match (cloud, self.operation) {
            (Some(Cloud::Vertex), Operation::BatchEmbedContents) => true,
            // It has the fields at the top, and the model in the path alone.
            (Some(Cloud::Vertex), Operation::CountTokens) => self.view.names_the_model_or_wraps(),
            (Some(Cloud::Vertex), Operation::GenerateContent | Operation::StreamGenerateContent { .. }) => {
                self.may_name_calls()
            }
            _ => false,
        }
    }

    /// Whether a conversation of Gemini's may have ids on its calls, which Vertex AI refuses.
    fn may_name_calls(&self) -> bool {
        let text = self.view.text;
        let calls = ["functionCall\"", "function_call\"", "functionResponse\"", "function_response\""];
        text.contains("\"id\"") && calls.iter().any(|call| text.contains(call))
    }

    /// Whether the conversation may hold what was sealed on its way through another dialect.
    fn is_sealed(&self) -> bool {
        let text = self.view.text;
        match (self.operation.kind(), self.operation) {
            // A prompt is the client's own words.
            (Kind::Embedding | Kind::Reranking, _) | (_, Operation::Completions) => false,
            (Kind::Conversation | Kind::Counting, Operation::ChatCompletions) => {
                seal::may_be_in(text) || text.contains(ReasoningDetail::TEXT_SIGNATURE)
            }
            (Kind::Conversation | Kind::Counting, _) => seal::may_be_in(text),
        }
    }
}

fn set_fields(text: &str, wanted: &[(String, Wanted)]) -> Result<Vec<Edit>, Failure> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let object = Object::read(text, &names).map_err(|error| unfit(&error))?;
    Ok(object.set(&wanted.iter().map(|(_, wanted)| wanted.clone()).collect::<Vec<_>>()))
}
