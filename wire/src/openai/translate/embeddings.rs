//! Embeddings and the canonical form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::completion::Prompt;
use super::super::embedding::{
    Embedding, EmbeddingList, EmbeddingRequest as WireRequest, EncodingFormat, InputUsage, Vector,
};
use super::Server;
use super::view::take;
use crate::canonical::{
    Dialect, EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Failure, FailureClass, Inexpressible,
    Losses, Translated, Unreadable, Unsupported, keep_foreign,
};

/// Embeddings have no dialect of their own: they go with chat completions.
const DIALECT: Dialect = Dialect::OpenAiChat;

/// Reads a request. How its vectors are to be written comes beside it: it concerns the answer alone.
///
/// # Errors
/// Where a field makes no sense; the error names it.
pub fn to_canonical(request: WireRequest) -> Result<(EmbeddingRequest, EncodingFormat), Unreadable> {
    let WireRequest { model, input, encoding_format, dimensions, truncate, mut extra } = request;
    let input = match input {
        Prompt::Text(text) => EmbeddingInput::Texts(vec![text]),
        Prompt::Texts(texts) => EmbeddingInput::Texts(texts),
        Prompt::Tokens(tokens) => EmbeddingInput::Tokens(vec![tokens]),
        Prompt::TokenLists(lists) => EmbeddingInput::Tokens(lists),
    };
    let user = take(&mut extra, "", "user")?;
    let mut foreign = Vec::new();
    keep_foreign("", extra, &mut foreign);
    let request = EmbeddingRequest {
        origin: DIALECT,
        model,
        input,
        dimensions,
        truncate,
        purpose: None,
        title: None,
        user,
        foreign,
    };
    Ok((request, encoding_format.unwrap_or_default()))
}

/// Writes a request. Vectors are asked for as numbers.
///
/// # Errors
/// Where `server` has no words for a field and the caller did not say to drop.
pub fn from_canonical(
    request: &EmbeddingRequest,
    server: Server,
    policy: Unsupported,
) -> Result<Translated<WireRequest>, Inexpressible> {
    let EmbeddingRequest { origin, model, input, dimensions, truncate, purpose, title, user, foreign } =
        request;
    let mut losses = Losses::new(policy, *origin, DIALECT);
    for (there, field) in [(purpose.is_some(), "taskType"), (title.is_some(), "title")] {
        if there {
            losses.lose(field, "OpenAI's embeddings have none: leave it out")?;
        }
    }
    let truncate = match server {
        Server::Compatible => *truncate,
        Server::OpenAi => {
            if *truncate == Some(true) {
                losses.lose("truncate", "OpenAI refuses what is too long: cut it before")?;
            }
            None
        }
    };
    let input = match input {
        EmbeddingInput::Texts(texts) => match texts.as_slice() {
            [one] => Prompt::Text(one.clone()),
            several => Prompt::Texts(several.to_vec()),
        },
        EmbeddingInput::Tokens(lists) => match lists.as_slice() {
            [one] => Prompt::Tokens(one.clone()),
            several => Prompt::TokenLists(several.to_vec()),
        },
    };
    let mut extra = losses.foreign(foreign, |origin, _| origin == DIALECT)?;
    extra.extend(user.clone().map(|user| ("user".to_owned(), user.into())));
    let message = WireRequest {
        model: model.clone(),
        input,
        encoding_format: None,
        dimensions: *dimensions,
        truncate,
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// Reads an answer; vectors come in the order of their index.
///
/// # Errors
/// Where it makes no sense.
pub fn response_to_canonical(answer: EmbeddingList) -> Result<EmbeddingResponse, Failure> {
    let EmbeddingList { object: _, mut data, model, usage } = answer;
    data.sort_by_key(|embedding| embedding.index);
    let vectors = data.into_iter().map(|embedding| floats(embedding.embedding)).collect::<Option<_>>();
    let vectors = vectors.ok_or_else(|| {
        let mut failure =
            Failure::new(FailureClass::Upstream, "the upstream's answer holds a vector that can't be read");
        failure.origin = Some(DIALECT);
        failure
    })?;
    let InputUsage { prompt_tokens, total_tokens: _ } = usage;
    Ok(EmbeddingResponse { origin: DIALECT, model, vectors, input_tokens: Some(prompt_tokens) })
}

/// Writes an answer, under the model's public name and in the format that was asked for.
pub fn response_from_canonical(
    response: &EmbeddingResponse,
    model: &str,
    format: EncodingFormat,
) -> EmbeddingList {
    let EmbeddingResponse { origin: _, model: _, vectors, input_tokens } = response;
    let embedding = |(index, vector): (u32, &Vec<f32>)| Embedding {
        object: Embedding::OBJECT.to_owned(),
        index,
        embedding: match format {
            EncodingFormat::Float => Vector::Floats(vector.clone()),
            EncodingFormat::Base64 => Vector::Base64(text(vector)),
        },
    };
    EmbeddingList {
        object: EmbeddingList::OBJECT.to_owned(),
        data: (0u32..).zip(vectors).map(embedding).collect(),
        model: model.to_owned(),
        usage: InputUsage::new(input_tokens.unwrap_or_default()),
    }
}

/// Base64 of little-endian 32-bit floats.
fn text(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|element| element.to_le_bytes()).collect::<Vec<u8>>())
}

fn floats(vector: Vector) -> Option<Vec<f32>> {
    let text = match vector {
        Vector::Floats(floats) => return Some(floats),
        Vector::Base64(text) => text,
    };
    let bytes = STANDARD.decode(text).ok()?;
    let chunks = bytes.chunks(4);
    chunks.map(|four| four.try_into().ok().map(f32::from_le_bytes)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: serde_json::Value) -> EmbeddingRequest {
        to_canonical(serde_json::from_value(body).expect("parses")).expect("makes sense").0
    }

    #[test]
    fn a_request_comes_back() {
        for input in [json!("a"), json!(["a", "b"]), json!([1, 2]), json!([[1], [2, 3]])] {
            let body = json!({"model": "m", "input": input, "dimensions": 3, "colour": 1, "user": "u"});
            let request = read(body.clone());
            let back = from_canonical(&request, Server::OpenAi, Unsupported::Refuse).expect("its own");
            assert_eq!(json!(back.message), body);
        }
    }

    #[test]
    fn what_openai_lacks_is_refused_by_name() {
        let mut request = read(json!({"model": "m", "input": "a", "truncate": true}));
        let write = |request: &EmbeddingRequest, server| from_canonical(request, server, Unsupported::Refuse);
        assert_eq!(write(&request, Server::OpenAi).expect_err("truncate").field, "truncate");
        assert_eq!(write(&request, Server::Compatible).expect("ours").message.truncate, Some(true));
        request.truncate = None;
        request.purpose = Some("RETRIEVAL_QUERY".into());
        assert_eq!(write(&request, Server::Compatible).expect_err("purpose").field, "taskType");
        let dropped = from_canonical(&request, Server::OpenAi, Unsupported::Drop).expect("dropped");
        assert_eq!(dropped.dropped, ["taskType"]);
    }

    #[test]
    fn vectors_come_in_the_order_of_their_index() {
        let answer = json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}, "data": [
            {"object": "embedding", "index": 1, "embedding": [2.0]},
            {"object": "embedding", "index": 0, "embedding": "AACAPw=="}]});
        let response = response_to_canonical(serde_json::from_value(answer).expect("parses")).expect("reads");
        assert_eq!((response.vectors, response.input_tokens), (vec![vec![1.0], vec![2.0]], Some(3)));
        for bad in ["AACAPwA=", "???"] {
            let data =
                vec![Embedding { object: String::new(), index: 0, embedding: Vector::Base64(bad.into()) }];
            let list = EmbeddingList {
                object: String::new(),
                data,
                model: String::new(),
                usage: InputUsage::new(0),
            };
            assert_eq!(response_to_canonical(list).expect_err(bad).class, FailureClass::Upstream);
        }
    }

    proptest! {
        #[test]
        fn vectors_come_back_bit_for_bit(
            vectors in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..9), 0..4),
            as_text in any::<bool>(),
        ) {
            let vectors: Vec<Vec<f32>> = vectors.into_iter()
                .map(|bits| bits.into_iter().map(f32::from_bits).collect()).collect();
            let response = EmbeddingResponse { origin: DIALECT, model: "up".into(), vectors, input_tokens: Some(5) };
            let format = if as_text { EncodingFormat::Base64 } else { EncodingFormat::Float };
            let back = response_to_canonical(response_from_canonical(&response, "m", format)).expect("reads");
            let bits = |response: &EmbeddingResponse| -> Vec<Vec<u32>> {
                response.vectors.iter().map(|vector| vector.iter().map(|one| one.to_bits()).collect()).collect()
            };
            prop_assert_eq!(bits(&back), bits(&response));
            prop_assert_eq!((back.model.as_str(), back.input_tokens), ("m", Some(5)));
        }
    }
}
