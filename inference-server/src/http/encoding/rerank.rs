//! `POST /v1/rerank`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use weighbridge_wire::openai::rerank::{
    RankedDocument, RerankDocument, RerankRequest, RerankResponse, RerankResult,
};
use weighbridge_wire::openai::{ApiError, InputUsage, parse};

use super::super::answer::Head;
use super::super::parameters::refuse_unknown;
use super::super::{AppState, Encoding, ServedModel, error};
use super::{Endpoint, Sequences, Submission, check_count, check_text};
use crate::tokenizer::EncodedSequence;

const FIELD: &str = "documents";
const QUERY: &str = "query";

/// Scores documents.
pub(in crate::http) async fn handle(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    super::handle::<Rerank>(state, headers, body).await
}

/// What an answer needs of its request.
struct Rerank {
    head: Head,
    /// To be repeated; empty where they are not.
    documents: Vec<RerankDocument>,
    top: usize,
}

impl Endpoint for Rerank {
    fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Self, Submission), ApiError> {
        // Without `..`: a field added to the type has to be enforced or refused here.
        let RerankRequest { model: name, query, documents, top_n, return_documents, truncate, extra } =
            parse(body)?;
        model.resolve_name(&name)?;
        let encoding = model.reranking()?;
        refuse_unknown(&extra)?;
        check_count(FIELD, documents.len())?;
        let sequences = tokenise(encoding, &query, &documents, truncate.unwrap_or(false))?;
        let top = top_n.map_or(documents.len(), |most| most as usize);
        let documents = if return_documents.unwrap_or(false) { documents } else { Vec::new() };
        let head = Head::new("rerank", name.clone(), &model.fingerprint);
        Ok((Self { head, documents, top }, Submission { model: name, sequences, field: FIELD }))
    }

    fn encoding(model: &ServedModel) -> Result<&Encoding, ApiError> {
        model.reranking()
    }

    fn answer(self, scores: Vec<Vec<f32>>, tokens: usize) -> impl Serialize {
        let Self { head, mut documents, top } = self;
        let mut scores: Vec<(u32, f32)> =
            (0..).zip(scores.iter().map(|row| row.first().copied().unwrap_or(0.0))).collect();
        // By the logit: far from 0 the sigmoid of two may be the same number. Equals stay in their order.
        scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        scores.truncate(top);
        let results = scores.into_iter().map(|(index, logit)| {
            let document = documents.get_mut(index as usize);
            let document =
                document.map(|document| RankedDocument { text: std::mem::take(&mut document.text) });
            RerankResult { index, relevance_score: sigmoid(logit), document }
        });
        let usage = InputUsage::new(tokens as u64);
        RerankResponse { id: head.id, model: head.model, results: results.collect(), usage }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn tokenise(
    encoding: &Encoding,
    query: &str,
    documents: &[RerankDocument],
    truncate: bool,
) -> Result<Vec<EncodedSequence>, ApiError> {
    let context = encoding.encoder.context_length();
    let most = truncate.then_some(context);
    let plain = |path: &str, text: &str| {
        check_text(path, text)?;
        encoding.tokenizer.plain(text).map_err(|problem| error::from_tokenizer(&problem, path))
    };
    let query = plain(QUERY, query)?;
    // Cutting is for documents: of a question this long nothing would be left beside it.
    if query.len() >= context {
        return Err(error::too_long(QUERY, query.len(), context));
    }
    let mut sequences = Sequences::new(encoding, FIELD);
    for (index, document) in documents.iter().enumerate() {
        let path = format!("{FIELD}[{index}]");
        let document = plain(&path, &document.text)?;
        let pair = encoding.tokenizer.sequence(query.clone(), Some(document), most);
        sequences.push(&path, pair.map_err(|problem| error::from_tokenizer(&problem, &path))?)?;
    }
    Ok(sequences.all)
}
