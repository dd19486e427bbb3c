//! Chat completions, completions, embeddings, reranking, and tokens counted.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Seen, unreadable};
use crate::canonical::{Dialect, Failure};
use crate::lane::Operation;
use crate::openai::edit::ResponseView;
use crate::openai::translate::error;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    results: Option<&'a RawValue>,
    #[serde(borrow, default)]
    count: Option<&'a RawValue>,
}

/// A chunk.
pub(super) fn event(data: &str, dialect: Dialect) -> Result<Seen, Failure> {
    let view = parse(data, dialect)?;
    Ok(Seen {
        model: view.model_span(),
        meaningful: view.speaks() || view.stops(),
        speaks: view.speaks(),
        usage: view.counts(),
        place: None,
        only_usage: view.is_usage_chunk(),
        ends: false,
    })
}

pub(super) fn whole(operation: Operation, text: &str) -> Result<Seen, Failure> {
    let dialect = operation.dialect();
    let view = parse(text, dialect)?;
    let (there, name) = match operation {
        Operation::Embeddings => (list(text, dialect)?.data.is_some(), "data"),
        Operation::Rerank => (list(text, dialect)?.results.is_some(), "results"),
        Operation::Tokenize => (list(text, dialect)?.count.is_some(), "count"),
        _ => (view.has_choices(), "choices"),
    };
    if !there {
        return Err(unreadable(dialect, &format!("it has no `{name}`")));
    }
    Ok(Seen { model: view.model_span(), usage: view.counts(), ..Seen::default() })
}

fn parse(text: &str, dialect: Dialect) -> Result<ResponseView<'_>, Failure> {
    let view = ResponseView::read(text);
    let view = view.ok_or_else(|| unreadable(dialect, "it is not a JSON object"))?;
    match view.error() {
        None => Ok(view),
        Some(error) => {
            let error: Value = serde_json::from_str(error.get()).unwrap_or_default();
            Err(error::in_answer(error, dialect))
        }
    }
}

fn list(text: &str, dialect: Dialect) -> Result<List<'_>, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(dialect, &error.to_string()))
}
