//! A request's body, read only as far as a gateway needs, and the values of it that may change.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use crate::canonical::{Failure, FailureClass};
use crate::edit::{Edit, Object, ObjectError, Text, quoted, span};
use crate::lane::Operation;
use crate::openai::ApiError;
use crate::openai::translate::error::of_ours;
use crate::openai::translate::responses;

/// What Google writes before a model's name in bodies.
const PREFIX: &str = "models/";

/// The fields of a body that a gateway reads.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub text: &'a str,
    /// What the body says of the model.
    pub model: Option<Cow<'a, str>>,
    /// Everywhere that it says so.
    names: Vec<Named<'a>>,
    pub stream: bool,
    stream_span: Option<Range<usize>>,
    options: Options,
}

/// A place that names the model.
#[derive(Debug)]
struct Named<'a> {
    at: Range<usize>,
    name: Cow<'a, str>,
}

/// The state of `stream_options`.
#[derive(Debug)]
enum Options {
    Absent,
    /// Null or an empty object: replaced whole.
    Empty(Range<usize>),
    /// Without `include_usage`: it goes in at this offset, right after the brace.
    Without(usize),
    /// With `include_usage`, whose value lies here.
    With {
        asked: bool,
        value: Range<usize>,
    },
}

/// The top-level fields that are read of each operation's body.
pub(super) fn fields(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::ChatCompletions | Operation::Completions => &["model", "stream", "stream_options"],
        Operation::Responses | Operation::Messages => &["model", "stream"],
        Operation::Embeddings
        | Operation::Rerank
        | Operation::CountMessageTokens
        | Operation::GenerateContent
        | Operation::StreamGenerateContent { .. }
        | Operation::EmbedContent => &["model"],
        Operation::CountTokens => &["model", "generateContentRequest", "generate_content_request"],
        Operation::BatchEmbedContents => &["model", "requests"],
    }
}

/// [`fields`], and those that no upstream may be asked for: what one account keeps, the next request's key may not know.
fn looked_at(operation: Operation) -> &'static [&'static str] {
    const RESPONSES: [&str; 6] =
        ["model", "stream", "previous_response_id", "store", "background", "conversation"];
    match operation {
        Operation::Responses => &RESPONSES,
        operation => fields(operation),
    }
}

fn refuse_state(top: &Object<'_, '_>) -> Result<(), Failure> {
    for name in responses::request::STATEFUL {
        let Some(value) = top.get(name) else { continue };
        let value = serde_json::from_str(value.get()).map_err(|error| not_json(&error.to_string()))?;
        responses::request::refuse_state(name, &value).map_err(|bad| bad.to_failure())?;
    }
    Ok(())
}

impl<'a> View<'a> {
    /// Reads `body`.
    ///
    /// # Errors
    /// Not UTF-8, not JSON, not an object, nested too deep, or a field that is read has the wrong type or comes twice,
    /// since gateway and upstream could then read different ones.
    pub(super) fn read(operation: Operation, body: &'a [u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(body)
            .map_err(|error| not_json(&format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        let top = Object::read(text, looked_at(operation)).map_err(|error| refusal("", &error))?;
        if operation == Operation::Responses {
            refuse_state(&top)?;
        }
        let stream = match top.get("stream").filter(|_| operation.streams_by_body()) {
            None => None,
            Some(value) => serde_json::from_str::<Option<bool>>(value.get())
                .map_err(|_| refused("stream", "`stream` must be a boolean."))?,
        };
        let mut view = Self {
            text,
            model: None,
            names: Vec::new(),
            stream: stream.unwrap_or(false),
            stream_span: top.span("stream"),
            options: options(text, top.get("stream_options"))?,
        };
        if let Some(value) = top.get("model") {
            view.model = Some(view.name(value, "model")?);
        }
        for inner in ["generateContentRequest", "generate_content_request"] {
            if let Some(value) = top.get(inner) {
                view.inner_name(value, inner)?;
            }
        }
        for (path, value) in top.get("requests").map(elements).transpose()?.unwrap_or_default() {
            view.inner_name(value, &path)?;
        }
        Ok(view)
    }

    /// Notes a place that names the model.
    fn name(&mut self, value: &'a RawValue, path: &str) -> Result<Cow<'a, str>, Failure> {
        let Text(name) = serde_json::from_str(value.get())
            .map_err(|_| refused(path, &format!("`{path}` must be a string.")))?;
        self.names.push(Named { at: span(self.text, value), name: name.clone() });
        Ok(name)
    }

    fn inner_name(&mut self, value: &'a RawValue, path: &str) -> Result<(), Failure> {
        if value.get() == "null" {
            return Ok(());
        }
        let inner = Object::read(value.get(), &["model"]).map_err(|error| refusal(path, &error))?;
        if let Some(value) = inner.get("model") {
            self.name(value, &format!("{path}.model"))?;
        }
        Ok(())
    }

    /// Whether the caller asked for the usage at the end of the stream.
    pub(super) fn include_usage(&self) -> bool {
        matches!(self.options, Options::With { asked: true, .. })
    }

    /// What changes to rename the model and, where `usage` is set, to ask for the usage at the end of a stream. In
    /// order, and apart.
    pub(super) fn edits(&self, model: &str, usage: bool) -> Vec<Edit> {
        let bare = model.strip_prefix(PREFIX).unwrap_or(model);
        let rename = |Named { at, name }: &Named<'_>| {
            let new = match name.strip_prefix(PREFIX) {
                Some(_) => Cow::Owned(format!("{PREFIX}{bare}")),
                None => Cow::Borrowed(model),
            };
            (*name != new).then(|| (at.clone(), quoted(&new)))
        };
        let mut edits: Vec<Edit> = self.names.iter().filter_map(rename).collect();
        if usage {
            edits.extend(self.usage_edit());
        }
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }

    fn usage_edit(&self) -> Option<Edit> {
        match &self.options {
            Options::With { asked: true, .. } => None,
            Options::With { asked: false, value } => Some((value.clone(), "true".to_owned())),
            Options::Empty(value) => Some((value.clone(), r#"{"include_usage":true}"#.to_owned())),
            Options::Without(at) => Some((*at..*at, r#""include_usage":true,"#.to_owned())),
            Options::Absent => {
                let after = self.stream_span.as_ref()?.end;
                Some((after..after, r#","stream_options":{"include_usage":true}"#.to_owned()))
            }
        }
    }
}

fn options(text: &str, value: Option<&RawValue>) -> Result<Options, Failure> {
    let Some(value) = value else { return Ok(Options::Absent) };
    let all = span(text, value);
    if value.get() == "null" {
        return Ok(Options::Empty(all));
    }
    let inner =
        Object::read(value.get(), &["include_usage"]).map_err(|error| refusal("stream_options", &error))?;
    let Some(include_usage) = inner.get("include_usage") else {
        let (after_brace, before_others) = inner.opening();
        let empty = before_others.is_empty();
        return Ok(if empty { Options::Empty(all) } else { Options::Without(all.start + after_brace) });
    };
    let asked: Option<bool> = serde_json::from_str(include_usage.get()).map_err(|_| {
        refused("stream_options.include_usage", "`stream_options.include_usage` must be a boolean.")
    })?;
    Ok(Options::With { asked: asked.unwrap_or(false), value: span(text, include_usage) })
}

/// The elements of a list with their paths; a list of one may lack its brackets.
fn elements(value: &RawValue) -> Result<Vec<(String, &RawValue)>, Failure> {
    let all: Vec<&RawValue> = match value.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(value.get())
            .map_err(|error| refusal("requests", &ObjectError::Json(error)))?,
        Some(_) | None => vec![value],
    };
    Ok(all.into_iter().enumerate().map(|(index, one)| (format!("requests[{index}]"), one)).collect())
}

/// The refusal of an object that can't be read; `path` is empty for the body.
fn refusal(path: &str, error: &ObjectError) -> Failure {
    match error {
        ObjectError::Twice(name) => {
            let param = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            refused(&param, &error.to_string())
        }
        ObjectError::Json(json) if !path.is_empty() => refused(path, &format!("`{path}`: {json}")),
        ObjectError::Json(json) if json.is_data() => Failure::new(FailureClass::BadRequest, json.to_string()),
        ObjectError::Json(json) => not_json(&json.to_string()),
    }
}

fn not_json(detail: &str) -> Failure {
    of_ours(ApiError::invalid_json(detail))
}

pub(super) fn refused(param: &str, message: &str) -> Failure {
    of_ours(ApiError::invalid_request(Some(param), message))
}
