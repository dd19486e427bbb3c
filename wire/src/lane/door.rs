//! From a path to what is asked, and of which model.

use std::borrow::Cow;

use super::Operation;
use crate::gemini::{Framing, Method, parse_path};
use crate::percent;

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door<'a> {
    /// What is asked.
    pub operation: Operation,
    /// The model, in the dialect that has it in the path.
    pub model_in_path: Option<Cow<'a, str>>,
}

/// What `path` and `query` ask for; `None` where no dialect has such a path.
pub fn door<'a>(path: &'a str, query: Option<&str>) -> Option<Door<'a>> {
    if let Some(operation) = Operation::FIXED.into_iter().find(|operation| operation.as_str() == path) {
        return Some(Door { operation, model_in_path: None });
    }
    if let Some((model, verb)) = path.strip_prefix("/model/").and_then(|rest| rest.rsplit_once('/')) {
        let verbs = [Operation::Converse, Operation::ConverseStream, Operation::CountConverseTokens];
        let operation = verbs.into_iter().find(|operation| operation.as_str() == verb)?;
        let model = Some(percent::decode(model)?).filter(|model| !model.is_empty())?;
        return Some(Door { operation, model_in_path: Some(model) });
    }
    let versioned = path.starts_with("/v1beta/") || path.starts_with("/v1/");
    let (model, method) = parse_path(path).filter(|_| versioned)?;
    let operation = match method {
        Method::GenerateContent => Operation::GenerateContent,
        Method::StreamGenerateContent => {
            Operation::StreamGenerateContent { framing: Framing::from_query(query) }
        }
        Method::CountTokens => Operation::CountTokens,
        Method::EmbedContent => Operation::EmbedContent,
        Method::BatchEmbedContents => Operation::BatchEmbedContents,
        Method::Predict => return None,
    };
    Some(Door { operation, model_in_path: Some(percent::decode(model)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, query: Option<&str>) -> Option<(Operation, Option<String>)> {
        door(path, query).map(|door| (door.operation, door.model_in_path.map(Cow::into_owned)))
    }

    #[test]
    fn every_path_has_its_operation() {
        for operation in Operation::FIXED {
            assert_eq!(at(operation.as_str(), None), Some((operation, None)));
        }
        let named = |operation, name: &str| Some((operation, Some(name.to_owned())));
        assert_eq!(at("/v1beta/models/m:generateContent", None), named(Operation::GenerateContent, "m"));
        assert_eq!(at("/v1/models/ns%2Fm:countTokens", None), named(Operation::CountTokens, "ns/m"));
        assert_eq!(at("/v1beta/models/ns/m:embedContent", None), named(Operation::EmbedContent, "ns/m"));
        for (query, framing) in [(Some("alt=sse"), Framing::Sse), (None, Framing::Array)] {
            let stream = Operation::StreamGenerateContent { framing };
            assert_eq!(at("/v1beta/models/m:streamGenerateContent", query), named(stream, "m"));
        }
        for (path, operation) in [
            ("/model/ns%2Fm/converse", Operation::Converse),
            ("/model/ns/m/converse-stream", Operation::ConverseStream),
            ("/model/ns%2Fm/count-tokens", Operation::CountConverseTokens),
        ] {
            assert_eq!(at(path, None), named(operation, "ns/m"));
        }
        for none in [
            "/v1/chat",
            "/v1/messages/",
            "/v2/models/m:countTokens",
            "/v1beta/models/%zz:countTokens",
            "/v1beta/models/m:predict",
            "/model/m/invoke",
            "/model//converse",
            "/model/%zz/converse",
        ] {
            assert_eq!(at(none, None), None, "{none}");
        }
    }

    #[test]
    fn an_upstreams_path_leads_back_to_the_operation() {
        for operation in [
            Operation::GenerateContent,
            Operation::StreamGenerateContent { framing: Framing::Sse },
            Operation::StreamGenerateContent { framing: Framing::Array },
            Operation::CountTokens,
            Operation::EmbedContent,
            Operation::BatchEmbedContents,
            Operation::Messages,
            Operation::Converse,
            Operation::ConverseStream,
            Operation::CountConverseTokens,
        ] {
            let path = operation.path("a/../b:c?alt=json");
            let (path, query) =
                path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
            let there = door(path, query).expect("a door");
            assert_eq!(there.operation, operation);
            assert!(there.model_in_path.is_none_or(|model| model == "a/../b:c?alt=json"));
        }
        assert_eq!(
            Operation::GenerateContent.path("models/gemini-3-pro"),
            "/v1beta/models/gemini-3-pro:generateContent"
        );
    }
}
