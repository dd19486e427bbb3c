//! `POST /v1/rerank`: a question and documents in, how well each answers it out. Not OpenAI's: the shape that Cohere
//! and Jina share.

use serde::{Deserialize, Serialize};

use super::{Extra, InputUsage, field};

/// A rerank request. Destructure it without `..`, as the chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RerankRequest {
    /// The model's public name.
    pub model: String,
    /// What is asked.
    pub query: String,
    /// What may answer it.
    pub documents: Vec<RerankDocument>,
    /// How many of the best to return; all when absent. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub top_n: Option<u32>,
    /// Whether each result repeats its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_documents: Option<bool>,
    /// Cut what is longer than the context, where it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A document: its text, or an object that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RerankDocument {
    /// The text.
    pub text: String,
}

impl<'de> Deserialize<'de> for RerankDocument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

/// Written out because `#[serde(untagged)]` loses what was wrong, and why.
impl<'de> serde::de::Visitor<'de> for DocumentVisitor {
    type Value = RerankDocument;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#"a string or {"text": "…"}"#)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RerankDocument, E> {
        Ok(RerankDocument { text: text.to_owned() })
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<RerankDocument, E> {
        Ok(RerankDocument { text })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RerankDocument, A::Error> {
        let DocumentText { text } =
            Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(RerankDocument { text })
    }
}

/// A document with further fields would be scored without them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentText {
    text: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RerankResponse {
    /// Unique name of the answer.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// The best first.
    pub results: Vec<RerankResult>,
    /// What it used.
    pub usage: InputUsage,
}

/// How well one document answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RerankResult {
    /// Which document of the request, from 0.
    pub index: u32,
    /// From 0 to 1.
    pub relevance_score: f32,
    /// The document, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<RankedDocument>,
}

/// A document in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankedDocument {
    /// Its text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn documents_are_texts_or_objects() {
        let body = br#"{"model":"m","query":"q","documents":["a",{"text":"b"}]}"#;
        let request: RerankRequest = parse(body).expect("a request");
        let texts: Vec<&str> = request.documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn a_bad_field_is_named() {
        for (fields, param, words) in [
            (r#""documents":["a"]"#, "query", "missing"),
            (r#""query":"q""#, "documents", "missing"),
            (r#""query":"q","documents":"a""#, "documents", "expected a sequence"),
            (r#""query":"q","documents":["a",3]"#, "documents[1]", "expected a string or"),
            (r#""query":"q","documents":[{"title":"a"}]"#, "documents[0].title", "unknown field `title`"),
            (r#""query":"q","documents":[{}]"#, "documents[0].text", "missing"),
            (r#""query":"q","documents":["a"],"top_n":0"#, "top_n", "from 1"),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            let error = parse::<RerankRequest>(body.as_bytes()).expect_err(fields).body.error;
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
            assert!(error.message.contains(words), "{}", error.message);
        }
    }
}
