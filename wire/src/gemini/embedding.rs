//! `embedContent` and `batchEmbedContents`.

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::path::bare_model;
use super::proto_json::{integer, one_or_many};
use super::usage::UsageMetadata;
use crate::canonical::{
    Dialect, EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Extra, ForeignField, Inexpressible, Losses,
    Translated, Unreadable, Unsupported, keep_foreign,
};

/// One text to embed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EmbedContentRequest {
    /// The model, as `models/…`; each request of a batch must say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The text.
    pub content: Content,
    /// What the vector is for.
    #[serde(alias = "task_type", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// The text's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Elements of the vector.
    #[serde(
        alias = "output_dimensionality",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub output_dimensionality: Option<u32>,
    /// Cut what is too long (Vertex AI's clients say it).
    #[serde(alias = "auto_truncate", skip_serializing_if = "Option::is_none")]
    pub auto_truncate: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Several texts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchEmbedContentsRequest {
    /// The texts.
    #[serde(deserialize_with = "one_or_many")]
    pub requests: Vec<EmbedContentRequest>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentEmbedding {
    /// Its elements.
    pub values: Vec<f32>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer to one text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EmbedContentResponse {
    /// The vector.
    pub embedding: ContentEmbedding,
    /// What was used, where the service says.
    #[serde(alias = "usage_metadata", skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageMetadata>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer to several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BatchEmbedContentsResponse {
    /// The vectors, in the order of the texts.
    pub embeddings: Vec<ContentEmbedding>,
    /// What was used, where the service says.
    #[serde(alias = "usage_metadata", skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageMetadata>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads one text's request.
///
/// # Errors
/// Names the field that makes no sense.
pub fn to_canonical(wire: EmbedContentRequest, model: &str) -> Result<EmbeddingRequest, Unreadable> {
    read(wire, model, "")
}

/// Reads a batch. The canonical form has one setting for all texts.
///
/// # Errors
/// Names the field that makes no sense.
pub fn batch_to_canonical(
    wire: BatchEmbedContentsRequest,
    model: &str,
) -> Result<EmbeddingRequest, Unreadable> {
    let BatchEmbedContentsRequest { requests, extra } = wire;
    let mut batch: Option<EmbeddingRequest> = None;
    let mut texts = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        let parent = format!("requests[{index}].");
        let mut one = read(request, model, &parent)?;
        if let EmbeddingInput::Texts(one) = &mut one.input {
            texts.append(one);
        }
        match &mut batch {
            None => batch = Some(one),
            Some(first) => {
                let same = first.dimensions == one.dimensions
                    && first.truncate == one.truncate
                    && first.purpose == one.purpose
                    && first.title == one.title;
                if !same {
                    let problem = "give every text of a batch the same settings, or send it by itself";
                    return Err(Unreadable::new(format!("requests[{index}]"), problem));
                }
                first.foreign.append(&mut one.foreign);
            }
        }
    }
    let mut batch = batch.ok_or_else(|| Unreadable::new("requests", "give at least one text"))?;
    batch.input = EmbeddingInput::Texts(texts);
    keep_foreign("", extra, &mut batch.foreign);
    Ok(batch)
}

fn read(wire: EmbedContentRequest, model: &str, parent: &str) -> Result<EmbeddingRequest, Unreadable> {
    // The path's model is the one that was routed.
    let EmbedContentRequest {
        model: _,
        content,
        task_type,
        title,
        output_dimensionality,
        auto_truncate,
        extra,
    } = wire;
    let mut foreign: Vec<ForeignField> = Vec::new();
    keep_foreign(parent.trim_end_matches('.'), extra, &mut foreign);
    let mut texts = Vec::new();
    for (index, part) in content.parts.into_iter().enumerate() {
        let text = part.text.ok_or_else(|| {
            Unreadable::new(format!("{parent}content.parts[{index}]"), "only text is embedded here")
        })?;
        texts.push(text);
    }
    if texts.is_empty() {
        return Err(Unreadable::new(
            format!("{parent}content"),
            "give a text, such as {\"parts\": [{\"text\": \"…\"}]}",
        ));
    }
    Ok(EmbeddingRequest {
        origin: Dialect::Gemini,
        model: model.to_owned(),
        // The parts of a content make one vector.
        input: EmbeddingInput::Texts(vec![texts.join("\n")]),
        dimensions: output_dimensionality,
        truncate: auto_truncate,
        purpose: task_type,
        title,
        user: None,
        foreign,
    })
}

/// Writes a batch, which one text is too.
///
/// # Errors
/// Names what this dialect can't say, unless the caller said to drop it; and token ids, whatever the caller said.
pub fn from_canonical(
    request: &EmbeddingRequest,
    policy: Unsupported,
) -> Result<Translated<BatchEmbedContentsRequest>, Inexpressible> {
    let EmbeddingRequest { origin, model, input, dimensions, truncate, purpose, title, user, foreign } =
        request;
    let mut losses = Losses::new(policy, *origin, Dialect::Gemini);
    let texts = texts(input, &losses)?;
    if truncate.is_some() {
        losses.lose("truncate", "the Gemini API cuts texts as it sees fit")?;
    }
    if user.is_some() {
        losses.waive("user");
    }
    let extra = losses.foreign(foreign, |origin, _| origin == Dialect::Gemini)?;
    let requests = texts.iter().map(|text| EmbedContentRequest {
        model: Some(format!("models/{}", bare_model(model))),
        content: Content { parts: vec![super::content::Part::text(text)], ..Content::default() },
        task_type: purpose.clone(),
        title: title.clone(),
        output_dimensionality: *dimensions,
        auto_truncate: None,
        extra: extra.clone(),
    });
    let message = BatchEmbedContentsRequest { requests: requests.collect(), extra: Extra::new() };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// The texts to embed.
pub(super) fn texts<'a>(input: &'a EmbeddingInput, losses: &Losses) -> Result<&'a [String], Inexpressible> {
    match input {
        EmbeddingInput::Texts(texts) => Ok(texts),
        EmbeddingInput::Tokens(_) => Err(losses.refuse("input", "send texts: Gemini takes no token ids")),
    }
}

/// Reads a batch's answer. `model` is the one that was asked, since the answer does not say.
pub fn response_to_canonical(wire: BatchEmbedContentsResponse, model: &str) -> EmbeddingResponse {
    let BatchEmbedContentsResponse { embeddings, usage_metadata, extra: _ } = wire;
    EmbeddingResponse {
        origin: Dialect::Gemini,
        model: model.to_owned(),
        vectors: embeddings.into_iter().map(|embedding| embedding.values).collect(),
        input_tokens: usage_metadata.and_then(|usage| usage.prompt_token_count),
    }
}

/// Writes a batch's answer.
pub fn batch_from_canonical(response: &EmbeddingResponse) -> BatchEmbedContentsResponse {
    let EmbeddingResponse { origin: _, model: _, vectors, input_tokens } = response;
    let embedding = |values: &Vec<f32>| ContentEmbedding { values: values.clone(), extra: Extra::new() };
    BatchEmbedContentsResponse {
        embeddings: vectors.iter().map(embedding).collect(),
        usage_metadata: input_tokens.map(input_usage),
        extra: Extra::new(),
    }
}

/// Writes the answer to one text; `None` where there is not just one vector.
pub fn one_from_canonical(response: &EmbeddingResponse) -> Option<EmbedContentResponse> {
    let EmbeddingResponse { origin: _, model: _, vectors, input_tokens } = response;
    let [values] = vectors.as_slice() else { return None };
    Some(EmbedContentResponse {
        embedding: ContentEmbedding { values: values.clone(), extra: Extra::new() },
        usage_metadata: input_tokens.map(input_usage),
        extra: Extra::new(),
    })
}

fn input_usage(tokens: u64) -> UsageMetadata {
    UsageMetadata {
        prompt_token_count: Some(tokens),
        total_token_count: Some(tokens),
        ..UsageMetadata::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto_json::parse;
    use super::*;

    fn batch(text: &str) -> Result<EmbeddingRequest, Unreadable> {
        batch_to_canonical(parse(text.as_bytes())?, "m")
    }

    #[test]
    fn a_batch_is_one_request_and_comes_back() {
        let text = r#"{"requests": [
            {"model": "models/m", "content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY", "output_dimensionality": 8},
            {"model": "models/m", "content": {"parts": {"text": "b"}}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8.0}]}"#;
        let request = batch(text).expect("reads");
        assert_eq!(request.input, EmbeddingInput::Texts(vec!["a".into(), "b".into()]));
        assert_eq!((request.dimensions, request.purpose.as_deref()), (Some(8), Some("RETRIEVAL_QUERY")));
        let written = from_canonical(&request, Unsupported::Refuse).expect("writes").message;
        let written = serde_json::to_value(written).expect("JSON");
        assert_eq!(written["requests"][1]["model"], "models/m");
        assert_eq!(written["requests"][1]["content"]["parts"][0]["text"], "b");
    }

    #[test]
    fn bad_batches_name_the_field() {
        for (text, field) in [
            (r#"{"requests": []}"#, "requests"),
            (r#"{"requests": [{"content": {}}]}"#, "requests[0].content"),
            (
                r#"{"requests": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}]}"#,
                "requests[0].content.parts[0]",
            ),
            (
                r#"{"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "a"}]}, "taskType": "X"}]}"#,
                "requests[1]",
            ),
        ] {
            assert_eq!(batch(text).expect_err(text).field, field);
        }
    }

    #[test]
    fn token_ids_and_truncation_are_refused_by_name() {
        let mut request =
            batch(r#"{"requests": [{"content": {"parts": [{"text": "a"}]}, "autoTruncate": true}]}"#)
                .expect("reads");
        let refused = from_canonical(&request, Unsupported::Refuse).expect_err("refused");
        assert_eq!(refused.field, "truncate");
        request.input = EmbeddingInput::Tokens(vec![vec![1]]);
        let refused = from_canonical(&request, Unsupported::Drop).expect_err("refused");
        assert_eq!(refused.field, "input");
    }

    #[test]
    fn vectors_come_back() {
        let response = EmbeddingResponse {
            origin: Dialect::Gemini,
            model: "m".into(),
            vectors: vec![vec![0.25, -1.5]],
            input_tokens: Some(3),
        };
        assert_eq!(response_to_canonical(batch_from_canonical(&response), "m"), response);
        let one = one_from_canonical(&response).expect("one vector");
        assert_eq!(one.embedding.values, [0.25, -1.5]);
        assert!(one_from_canonical(&EmbeddingResponse { vectors: Vec::new(), ..response }).is_none());
    }
}
