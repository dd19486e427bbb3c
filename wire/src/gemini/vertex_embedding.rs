//! Embeddings at Vertex AI: Gemini's embedders by `batchEmbedContents`, with their settings in a field of their own, and the older
//! ones by `predict`, as any model there.

use serde::{Deserialize, Serialize};

use super::content::{Content, Part};
use super::embedding::texts;
use super::proto_json::integer;
use crate::canonical::{
    Dialect, EmbeddingRequest, EmbeddingResponse, Extra, Inexpressible, Losses, Translated, Unsupported,
};

/// Several texts, for Gemini's embedders.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VertexBatchRequest {
    /// The texts.
    pub requests: Vec<VertexEmbedRequest>,
}

/// One text of them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VertexEmbedRequest {
    /// The text.
    pub content: Content,
    /// How it is embedded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed_content_config: Option<EmbedContentConfig>,
}

/// How a text is embedded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmbedContentConfig {
    /// What the vector is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// The text's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Elements of the vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_dimensionality: Option<u32>,
    /// Cut what is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_truncate: Option<bool>,
}

/// Several texts, for the older embedders.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PredictRequest {
    /// The texts.
    pub instances: Vec<Instance>,
    /// Settings of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

/// One text of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Instance {
    /// The text.
    pub content: String,
    /// What the vector is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// The text's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Settings of all texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Cut what is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_truncate: Option<bool>,
    /// Elements of a vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_dimensionality: Option<u32>,
}

/// The answer of the older embedders.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PredictResponse {
    /// The vectors, in the order of the texts.
    #[serde(default)]
    pub predictions: Vec<Prediction>,
}

/// One of the vectors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Prediction {
    /// The vector.
    #[serde(default)]
    pub embeddings: PredictedEmbedding,
}

/// A vector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PredictedEmbedding {
    /// Its elements.
    pub values: Vec<f32>,
    /// What was read for it.
    pub statistics: Option<Statistics>,
}

/// What was read for a vector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Tokens of the text; it is said as a number with a fraction.
    #[serde(deserialize_with = "integer")]
    pub token_count: Option<u64>,
}

/// Writes a question for Gemini's embedders.
///
/// # Errors
/// Names what this dialect can't say, unless the caller said to drop it; and token ids, whatever the caller said.
pub fn batch_from_canonical(
    request: &EmbeddingRequest,
    policy: Unsupported,
) -> Result<Translated<VertexBatchRequest>, Inexpressible> {
    let (texts, dropped) = written(request, policy)?;
    let config = EmbedContentConfig {
        task_type: request.purpose.clone(),
        title: request.title.clone(),
        output_dimensionality: request.dimensions,
        auto_truncate: request.truncate,
    };
    let config = (config != EmbedContentConfig::default()).then_some(config);
    let one = |text: &String| VertexEmbedRequest {
        // Without the role that a message has.
        content: Content { parts: vec![Part::text(text)], ..Content::default() },
        embed_content_config: config.clone(),
    };
    Ok(Translated { message: VertexBatchRequest { requests: texts.iter().map(one).collect() }, dropped })
}

/// Writes a question for the older embedders.
///
/// # Errors
/// As [`batch_from_canonical`].
pub fn predict_from_canonical(
    request: &EmbeddingRequest,
    policy: Unsupported,
) -> Result<Translated<PredictRequest>, Inexpressible> {
    let (texts, dropped) = written(request, policy)?;
    let parameters =
        Parameters { auto_truncate: request.truncate, output_dimensionality: request.dimensions };
    let one = |text: &String| Instance {
        content: text.clone(),
        task_type: request.purpose.clone(),
        title: request.title.clone(),
    };
    let message = PredictRequest {
        instances: texts.iter().map(one).collect(),
        parameters: (parameters != Parameters::default()).then_some(parameters),
    };
    Ok(Translated { message, dropped })
}

/// The texts, and what is left out of the question.
fn written(
    request: &EmbeddingRequest,
    policy: Unsupported,
) -> Result<(&[String], Vec<String>), Inexpressible> {
    let EmbeddingRequest {
        origin,
        model: _,
        input,
        dimensions: _,
        truncate: _,
        purpose: _,
        title: _,
        user,
        foreign,
    } = request;
    let mut losses = Losses::new(policy, *origin, Dialect::Gemini);
    let texts = texts(input, &losses)?;
    if user.is_some() {
        losses.waive("user");
    }
    let _: Extra = losses.foreign(foreign, |_, _| false)?;
    Ok((texts, losses.into_dropped()))
}

/// Reads the answer of the older embedders. `model` is the one that was asked, since the answer does not say.
pub fn predictions_to_canonical(wire: PredictResponse, model: &str) -> EmbeddingResponse {
    let tokens = |prediction: &Prediction| prediction.embeddings.statistics.as_ref()?.token_count;
    let counts: Vec<u64> = wire.predictions.iter().filter_map(tokens).collect();
    EmbeddingResponse {
        origin: Dialect::Gemini,
        model: model.to_owned(),
        input_tokens: (!counts.is_empty()).then(|| counts.iter().sum()),
        vectors: wire.predictions.into_iter().map(|prediction| prediction.embeddings.values).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::proto_json::parse;
    use super::*;
    use crate::canonical::EmbeddingInput;

    fn request() -> EmbeddingRequest {
        EmbeddingRequest {
            origin: Dialect::OpenAiChat,
            model: "m".into(),
            input: EmbeddingInput::Texts(vec!["a".into(), "b".into()]),
            dimensions: Some(8),
            truncate: Some(true),
            purpose: Some("RETRIEVAL_QUERY".into()),
            title: None,
            user: Some("u".into()),
            foreign: Vec::new(),
        }
    }

    #[test]
    fn each_embedder_is_asked_in_its_way() {
        let batch = batch_from_canonical(&request(), Unsupported::Refuse).expect("expressible");
        assert_eq!(batch.dropped, ["user"]);
        let config = json!({"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8, "autoTruncate": true});
        assert_eq!(
            json!(batch.message),
            json!({"requests": [
                {"content": {"parts": [{"text": "a"}]}, "embedContentConfig": config},
                {"content": {"parts": [{"text": "b"}]}, "embedContentConfig": config},
            ]})
        );
        let predict = predict_from_canonical(&request(), Unsupported::Refuse).expect("expressible");
        assert_eq!(
            json!(predict.message),
            json!({
                "instances": [
                    {"content": "a", "task_type": "RETRIEVAL_QUERY"}, {"content": "b", "task_type": "RETRIEVAL_QUERY"},
                ],
                "parameters": {"outputDimensionality": 8, "autoTruncate": true},
            })
        );
        let tokens = EmbeddingRequest { input: EmbeddingInput::Tokens(vec![vec![1]]), ..request() };
        let refused = predict_from_canonical(&tokens, Unsupported::Drop).expect_err("no texts");
        assert_eq!(refused.field, "input");
    }

    #[test]
    fn predictions_are_read_with_their_counts() {
        let body = br#"{"predictions": [
            {"embeddings": {"values": [0.25], "statistics": {"truncated": false, "token_count": 4.0}}},
            {"embeddings": {"values": [-1.5], "statistics": {"truncated": false, "token_count": 2}}}],
            "metadata": {"billableCharacterCount": 2}}"#;
        let response = predictions_to_canonical(parse(body).expect("parses"), "m");
        assert_eq!((response.vectors, response.input_tokens), (vec![vec![0.25], vec![-1.5]], Some(6)));
    }
}
