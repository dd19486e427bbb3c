//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use serde::Serialize;
use weighbridge_wire::openai::completion::Prompt;
use weighbridge_wire::openai::embedding::{
    Embedding, EmbeddingList, EmbeddingRequest, EncodingFormat, InputUsage, Vector,
};
use weighbridge_wire::openai::{ApiError, parse};

use super::super::parameters::refuse_unknown;
use super::super::{AppState, Encoding, ServedModel, error};
use super::{Endpoint, Sequences, Submission, check_count, check_text};
use crate::tokenizer::EncodedSequence;

const FIELD: &str = "input";

/// Embeds texts.
pub(in crate::http) async fn handle(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    super::handle::<Embeddings>(state, headers, body).await
}

/// What an answer needs of its request.
struct Embeddings {
    model: String,
    format: EncodingFormat,
}

impl Endpoint for Embeddings {
    fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Self, Submission), ApiError> {
        // Without `..`: a field added to the type has to be enforced or refused here.
        let EmbeddingRequest { model: name, input, encoding_format, dimensions, truncate, extra } =
            parse(body)?;
        model.resolve_name(&name)?;
        let encoding = model.embedding()?;
        refuse_unknown(&extra)?;
        let width = encoding.encoder.width();
        if let Some(asked) = dimensions.filter(|asked| *asked as usize != width) {
            let message = format!(
                "`dimensions` is {asked}, and this model's embeddings have {width}; they are not shortened: leave it \
                 out, or set {width}"
            );
            return Err(ApiError::invalid_request(Some("dimensions"), &message));
        }
        let sequences = tokenise(encoding, input, truncate.unwrap_or(false))?;
        let format = encoding_format.unwrap_or_default();
        Ok((Self { model: name.clone(), format }, Submission { model: name, sequences, field: FIELD }))
    }

    fn encoding(model: &ServedModel) -> Result<&Encoding, ApiError> {
        model.embedding()
    }

    fn answer(self, vectors: Vec<Vec<f32>>, tokens: usize) -> impl Serialize {
        let Self { model, format } = self;
        let one = |(index, vector)| Embedding {
            object: Embedding::OBJECT.to_owned(),
            index,
            embedding: match format {
                EncodingFormat::Float => Vector::Floats(vector),
                EncodingFormat::Base64 => Vector::Base64(base64(&vector)),
            },
        };
        let data = (0..).zip(vectors).map(one).collect();
        let usage = InputUsage::new(tokens as u64);
        EmbeddingList { object: EmbeddingList::OBJECT.to_owned(), data, model, usage }
    }
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

fn tokenise(encoding: &Encoding, input: Prompt, truncate: bool) -> Result<Vec<EncodedSequence>, ApiError> {
    let most = truncate.then(|| encoding.encoder.context_length());
    let mut sequences = Sequences::new(encoding, FIELD);
    let mut text = |path: &str, text: &str| {
        check_text(path, text)?;
        let refused = |problem| error::from_tokenizer(&problem, path);
        let plain = encoding.tokenizer.plain(text).map_err(refused)?;
        sequences.push(path, encoding.tokenizer.sequence(plain, None, most).map_err(refused)?)
    };
    match input {
        Prompt::Text(one) => text(FIELD, &one)?,
        Prompt::Texts(texts) => {
            check_count(FIELD, texts.len())?;
            for (index, one) in texts.iter().enumerate() {
                text(&format!("{FIELD}[{index}]"), one)?;
            }
        }
        Prompt::Tokens(tokens) => sequences.push(FIELD, given(tokens, most))?,
        Prompt::TokenLists(lists) => {
            check_count(FIELD, lists.len())?;
            for (index, tokens) in lists.into_iter().enumerate() {
                sequences.push(&format!("{FIELD}[{index}]"), given(tokens, most))?;
            }
        }
    }
    Ok(sequences.all)
}

/// Token ids as they came: whoever sends them has put the special ones where they belong.
fn given(mut tokens: Vec<u32>, most: Option<usize>) -> EncodedSequence {
    tokens.truncate(most.unwrap_or(usize::MAX));
    EncodedSequence { types: vec![0; tokens.len()], tokens }
}
