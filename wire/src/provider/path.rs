//! A request's path, as the provider writes it.

use super::{Kind, Paths};
use crate::gemini::{Framing, parse_path};
use crate::percent;

/// What Vertex AI's publishers are asked here. Claude's tokens are counted by a model of their own, `count-tokens`.
const PUBLISHERS: [(&str, &[&str]); 2] = [
    ("google", &["generateContent", "streamGenerateContent", "countTokens", "batchEmbedContents", "predict"]),
    ("anthropic", &["rawPredict", "streamRawPredict"]),
];
const BEDROCK_VERBS: [&str; 5] =
    ["invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens"];

const GEMINI_MODELS: &str = "/v1beta/models/";

impl Kind {
    /// What `path` and `query` of a caller come to at the provider, to be written after the base URL; `None` where
    /// the provider has no such path. A query is left behind, but for Google's `alt=sse`, which frames the answer.
    pub fn forwarded(self, path: &str, query: Option<&str>) -> Option<String> {
        match self.profile().paths {
            Paths::Listed(listed) => {
                listed.iter().find(|(ours, _)| *ours == path).map(|(_, theirs)| (*theirs).to_owned())
            }
            Paths::Gemini => gemini(path, query),
            Paths::Vertex => vertex(path, query),
            Paths::Bedrock => bedrock(path),
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
    Some(whole + framing(query))
}

fn vertex(path: &str, query: Option<&str>) -> Option<String> {
    let (publisher, rest) = path.strip_prefix("/publishers/")?.split_once("/models/")?;
    let (_, methods) = PUBLISHERS.into_iter().find(|(known, _)| *known == publisher)?;
    let (model, method) = rest.split_once(':')?;
    let known = is_segment(model) && methods.contains(&method);
    known.then(|| path.to_owned() + framing(query))
}

/// A model's id may be an ARN, with slashes in it. It is read and written anew, so that what is signed is what is sent.
fn bedrock(path: &str) -> Option<String> {
    let (model, verb) = path.strip_prefix("/model/")?.split_once('/')?;
    let model = percent::decode(model)?;
    let known = model.split('/').all(is_segment) && BEDROCK_VERBS.contains(&verb);
    known.then(|| format!("/model/{}/{verb}", percent::encode(&model)))
}

fn framing(query: Option<&str>) -> &'static str {
    match Framing::from_query(query) {
        Framing::Sse => "?alt=sse",
        Framing::Array => "",
    }
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
                Kind::Gemini | Kind::Vertex | Kind::Bedrock => &[],
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
    fn vertex_has_the_methods_of_each_publisher() {
        let there = |path: &str, query| Kind::Vertex.forwarded(path, query);
        for path in [
            "/publishers/google/models/gemini-2.5-pro:generateContent",
            "/publishers/google/models/text-embedding-005:predict",
            "/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
            "/publishers/anthropic/models/count-tokens:rawPredict",
        ] {
            assert_eq!(there(path, Some("key=caller")).as_deref(), Some(path));
        }
        let stream = "/publishers/google/models/m:streamGenerateContent";
        assert_eq!(there(stream, Some("alt=sse&key=caller")), Some(format!("{stream}?alt=sse")));
        for path in [
            "/publishers/google/models/m:rawPredict",
            "/publishers/anthropic/models/m:generateContent",
            "/publishers/meta/models/m:rawPredict",
            "/publishers/google/models/m:predictLongRunning",
            "/publishers/google/models/m",
            "/publishers/google/models/m:predict:predict",
            "/publishers/google/models/../endpoints/1:predict",
            "/publishers/google/models/..:predict",
            "/publishers/google/models/:predict",
            "/publishers/google/models/%2e%2e:predict",
            "/publishers/google/models/a%2fb:predict",
            "/publishers/google/models/a/b:predict",
            "/v1/projects/p/locations/l/publishers/google/models/m:predict",
            "/v1beta/models/m:generateContent",
            "/endpoints/1:predict",
        ] {
            assert_eq!(there(path, None), None, "{path}");
        }
    }

    #[test]
    fn bedrocks_path_is_written_anew_and_leads_nowhere_else() {
        let there = |path: &str| Kind::Bedrock.forwarded(path, Some("x=1"));
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        let encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc";
        assert_eq!(arn, percent::decode(encoded).expect("escaped"));
        for verb in BEDROCK_VERBS {
            for (model, expected) in [
                ("us.amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1%3A0"),
                ("us.amazon.nova-pro-v1%3a0", "us.amazon.nova-pro-v1%3A0"),
                (encoded, encoded),
            ] {
                let path = format!("/model/{model}/{verb}");
                assert_eq!(there(&path), Some(format!("/model/{expected}/{verb}")), "{path}");
            }
        }
        for path in [
            "/model/m/invoke-with-bidirectional-stream",
            "/model/m/",
            "/model/m",
            "/model//invoke",
            "/model/../invoke",
            "/model/a/b/invoke",
            "/model/%2e%2e/invoke",
            "/model/a%2f..%2fb/invoke",
            "/model/a%2f%2fb/invoke",
            "/model/a%252fb/invoke",
            "/model/a%00b/invoke",
            "/model/a%3fb/invoke",
            "/model/%ff/invoke",
            "/async-invoke",
            "/guardrail/g/version/1/apply",
        ] {
            assert_eq!(there(path), None, "{path}");
        }
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
