//! A request's path, as the provider writes it.

use super::{Kind, Paths};
use crate::gemini::{Framing, parse_path};

const GEMINI_MODELS: &str = "/v1beta/models/";

impl Kind {
    /// What `path` and `query` of a caller come to at the provider, to be written after the base URL; `None` where
    /// the provider has no such path. A query is left behind, but for Gemini's `alt=sse`, which frames the answer.
    pub fn forwarded(self, path: &str, query: Option<&str>) -> Option<String> {
        match self.profile().paths {
            Paths::Listed(listed) => {
                listed.iter().find(|(ours, _)| *ours == path).map(|(_, theirs)| (*theirs).to_owned())
            }
            Paths::Gemini => gemini(path, query),
        }
    }
}

fn gemini(path: &str, query: Option<&str>) -> Option<String> {
    let (model, method) = parse_path(path)?;
    // `parse_path` knows other prefixes too, such as Vertex's: only this one is Gemini's own.
    let whole = format!("{GEMINI_MODELS}{model}:{}", method.as_str());
    if whole != path || !model.split('/').all(is_segment) {
        return None;
    }
    let framing = match Framing::from_query(query) {
        Framing::Sse => "?alt=sse",
        Framing::Array => "",
    };
    Some(format!("{whole}{framing}"))
}

/// A piece of a path that leads neither up nor anywhere by being decoded: nothing percent-encoded, no dots alone.
fn is_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every path that the gateway serves.
    const SERVED: [&str; 7] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/messages",
        "/v1/messages/count_tokens",
    ];

    #[test]
    fn each_kind_has_its_paths_and_no_other() {
        for kind in Kind::ALL {
            let there: Vec<_> = SERVED.iter().filter_map(|path| kind.forwarded(path, Some("x=1"))).collect();
            let expected: &[&str] = match kind {
                Kind::OpenAi | Kind::AzureOpenAi => {
                    &["/chat/completions", "/completions", "/responses", "/embeddings"]
                }
                Kind::OpenAiCompatible => {
                    &["/chat/completions", "/completions", "/responses", "/embeddings", "/rerank"]
                }
                Kind::Anthropic | Kind::AnthropicCompatible => &["/v1/messages", "/v1/messages/count_tokens"],
                Kind::Gemini => &[],
            };
            assert_eq!(there, expected, "{kind}");
            for path in
                ["/v1/files", "/v1/messages/", "/v1/messages/batches", "/v1/models", "/", "", "//v1/messages"]
            {
                assert_eq!(kind.forwarded(path, None), None, "{kind} {path}");
            }
        }
    }

    #[test]
    fn a_gemini_path_is_forwarded_with_its_framing_and_no_other_query() {
        let there = |path: &str, query| Kind::Gemini.forwarded(path, query);
        for method in
            ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]
        {
            let path = format!("/v1beta/models/gemini-2.5-pro:{method}");
            assert_eq!(there(&path, None).as_deref(), Some(path.as_str()));
            assert_eq!(
                there(&path, Some("key=caller&alt=sse&$userProject=x")),
                Some(format!("{path}?alt=sse"))
            );
            assert_eq!(there(&path, Some("key=caller&alt=json")).as_deref(), Some(path.as_str()));
        }
        assert_eq!(
            there("/v1beta/models/team/llama:countTokens", None).as_deref(),
            Some("/v1beta/models/team/llama:countTokens")
        );
        assert_eq!(Kind::OpenAi.forwarded("/v1beta/models/m:countTokens", None), None);
    }

    #[test]
    fn a_models_name_does_not_lead_elsewhere() {
        for path in [
            "/v1beta/models/../files:countTokens",
            "/v1beta/models/..:countTokens",
            "/v1beta/models/./m:countTokens",
            "/v1beta/models/a/../../../v1/files:generateContent",
            "/v1beta/models/a//b:countTokens",
            "/v1beta/models//m:countTokens",
            "/v1beta/models/a%2f..%2fb:countTokens",
            "/v1beta/models/%2e%2e/files:countTokens",
            "/v1beta/models/a\\..\\b:countTokens",
            "/v1beta/models/a?b:countTokens",
            "/v1beta/models/a#b:countTokens",
            "/v1beta/models/a;b:countTokens",
            "/v1beta/models/a b:countTokens",
            "/v1beta/models/é:countTokens",
            "/v1beta/models/m:predict",
            "/v1beta/models/m",
            "/v1beta/tunedModels/m:countTokens",
            "/v1/models/m:countTokens",
            "/x/models/m:countTokens",
            "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
        ] {
            assert_eq!(Kind::Gemini.forwarded(path, None), None, "{path}");
        }
    }
}
