//! The table: one entry a kind of provider.

use crate::bedrock::error;
use crate::canonical::Dialect;

/// What is particular to a kind of provider. Header names are lower case, as HTTP/2 has them.
#[derive(Debug)]
pub struct Profile {
    /// Where the API is; `None` where only the owner of the account can say, or where its place does
    /// ([`super::Place::base_url`]).
    pub default_base_url: Option<&'static str>,
    /// What it speaks.
    pub dialects: &'static [Dialect],
    /// Which of the gateway's paths it has, and where.
    pub paths: Paths,
    /// Path of the list of models, after the base URL, or after [`super::Place::models_base_url`].
    pub models_path: &'static str,
    /// What a key is, and how it is sent.
    pub credential: Credential,
    /// Headers that every request needs, where the caller sent no such header.
    pub default_headers: &'static [(&'static str, &'static str)],
    /// Headers that every request has, whatever the caller sent.
    pub fixed_headers: &'static [(&'static str, &'static str)],
    /// Headers of a request that only this kind reads.
    pub request_headers: &'static [&'static str],
    /// Headers of an answer that only this kind writes and callers read.
    pub response_headers: &'static [&'static str],
}

/// How a request's path is written at the provider. What is not here is not forwarded.
#[derive(Clone, Copy, Debug)]
pub enum Paths {
    /// As listed: the gateway's path, and the provider's after the base URL.
    Listed(&'static [(&'static str, &'static str)]),
    /// Gemini's: model and method stand in the path, which is the same at both.
    Gemini,
    /// Vertex AI's: publisher, model and method stand in the path, and a [`super::Place`]'s own path before them.
    Vertex,
    /// Bedrock's: model and verb stand in the path.
    Bedrock,
}

/// What a key is, and how a request shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A text that goes in a header.
    Header(KeyHeader),
    /// The key file of a Google service account, for which Google gives an access token that goes as a bearer's.
    ServiceAccount,
    /// An access key of AWS, which signs each request, or an API key that goes as a bearer's.
    Aws {
        /// What the signature is for.
        service: &'static str,
    },
}

impl Credential {
    /// The headers that show it.
    pub fn headers(&self) -> &[&'static str] {
        match self {
            Self::Header(header) => std::slice::from_ref(&header.name),
            Self::ServiceAccount => &["authorization"],
            Self::Aws { service: _ } => &["authorization", "x-amz-date", "x-amz-security-token"],
        }
    }
}

/// The header of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHeader {
    /// Its name.
    pub name: &'static str,
    /// What stands before the key in its value.
    pub prefix: &'static str,
}

impl KeyHeader {
    /// `Authorization: Bearer …` (RFC 6750).
    pub const BEARER: Self = Self { name: "authorization", prefix: "Bearer " };
}

const OPENAI_DIALECTS: &[Dialect] =
    &[Dialect::OpenAiChat, Dialect::OpenAiCompletions, Dialect::OpenAiResponses];
/// OpenAI's base URLs end in `/v1`, and reranking is none of its paths.
const OPENAI_PATHS: &[(&str, &str)] = &[
    ("/v1/chat/completions", "/chat/completions"),
    ("/v1/completions", "/completions"),
    ("/v1/responses", "/responses"),
    ("/v1/embeddings", "/embeddings"),
];
const OPENAI_RESPONSE_HEADERS: &[&str] = &[
    "openai-processing-ms",
    "openai-version",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
];
const OPENAI_REQUEST_HEADERS: &[&str] = &["openai-beta"];

pub(super) static OPENAI: Profile = Profile {
    default_base_url: Some("https://api.openai.com/v1"),
    dialects: OPENAI_DIALECTS,
    paths: Paths::Listed(OPENAI_PATHS),
    models_path: "/models",
    credential: Credential::Header(KeyHeader::BEARER),
    default_headers: &[],
    fixed_headers: &[],
    request_headers: OPENAI_REQUEST_HEADERS,
    response_headers: OPENAI_RESPONSE_HEADERS,
};

/// Azure's v1 API: `https://NAME.openai.azure.com/openai/v1` is the base, no `api-version` is asked for, and the
/// body's `model` is the deployment's name.
pub(super) static AZURE_OPENAI: Profile = Profile {
    default_base_url: None,
    dialects: OPENAI_DIALECTS,
    paths: Paths::Listed(OPENAI_PATHS),
    models_path: "/models",
    credential: Credential::Header(KeyHeader { name: "api-key", prefix: "" }),
    default_headers: &[],
    fixed_headers: &[],
    request_headers: OPENAI_REQUEST_HEADERS,
    response_headers: &[
        // Azure's name of the request, for its support, and the region that answered.
        "apim-request-id",
        "x-ms-region",
        "openai-processing-ms",
        "openai-version",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
    ],
};

pub(super) static OPENAI_COMPATIBLE: Profile = Profile {
    default_base_url: None,
    dialects: OPENAI_DIALECTS,
    paths: Paths::Listed(&[
        ("/v1/chat/completions", "/chat/completions"),
        ("/v1/completions", "/completions"),
        ("/v1/responses", "/responses"),
        ("/v1/embeddings", "/embeddings"),
        ("/v1/rerank", "/rerank"),
    ]),
    models_path: "/models",
    credential: Credential::Header(KeyHeader::BEARER),
    default_headers: &[],
    fixed_headers: &[],
    request_headers: OPENAI_REQUEST_HEADERS,
    response_headers: OPENAI_RESPONSE_HEADERS,
};

/// The base has no version: clients of the dialect write `/v1` themselves, and so do those who serve it.
const ANTHROPIC_PATHS: Paths = Paths::Listed(&[
    ("/v1/messages", "/v1/messages"),
    ("/v1/messages/count_tokens", "/v1/messages/count_tokens"),
]);
const ANTHROPIC_KEY: KeyHeader = KeyHeader { name: "x-api-key", prefix: "" };
/// The only version there is, and without the header Anthropic answers 400.
const ANTHROPIC_VERSION: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];
const ANTHROPIC_REQUEST_HEADERS: &[&str] = &["anthropic-beta", "anthropic-version"];
const ANTHROPIC_RESPONSE_HEADERS: &[&str] = &[
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "request-id",
];

pub(super) static ANTHROPIC: Profile = Profile {
    default_base_url: Some("https://api.anthropic.com"),
    dialects: &[Dialect::Anthropic],
    paths: ANTHROPIC_PATHS,
    models_path: "/v1/models",
    credential: Credential::Header(ANTHROPIC_KEY),
    default_headers: ANTHROPIC_VERSION,
    fixed_headers: &[],
    request_headers: ANTHROPIC_REQUEST_HEADERS,
    response_headers: ANTHROPIC_RESPONSE_HEADERS,
};

pub(super) static ANTHROPIC_COMPATIBLE: Profile = Profile {
    default_base_url: None,
    dialects: &[Dialect::Anthropic],
    paths: ANTHROPIC_PATHS,
    models_path: "/v1/models",
    credential: Credential::Header(ANTHROPIC_KEY),
    default_headers: ANTHROPIC_VERSION,
    fixed_headers: &[],
    request_headers: ANTHROPIC_REQUEST_HEADERS,
    response_headers: ANTHROPIC_RESPONSE_HEADERS,
};

pub(super) static GEMINI: Profile = Profile {
    default_base_url: Some("https://generativelanguage.googleapis.com"),
    dialects: &[Dialect::Gemini],
    paths: Paths::Gemini,
    models_path: "/v1beta/models",
    // Never the query's `key`: URLs end up in logs.
    credential: Credential::Header(KeyHeader { name: "x-goog-api-key", prefix: "" }),
    default_headers: &[],
    fixed_headers: &[],
    request_headers: &[],
    response_headers: &[],
};

/// What Vertex AI has are Google's models and Claude; a caller's version of Anthropic's dialect is in the body.
pub(super) static VERTEX: Profile = Profile {
    default_base_url: None,
    dialects: &[Dialect::Gemini, Dialect::Anthropic],
    paths: Paths::Vertex,
    // Google's alone: Claude is in another publisher's.
    models_path: "/v1beta1/publishers/google/models",
    credential: Credential::ServiceAccount,
    default_headers: &[],
    fixed_headers: &[],
    request_headers: &["anthropic-beta"],
    response_headers: &["request-id"],
};

/// What goes to Bedrock is JSON, and so is what it is to answer with; the stream's framing goes without saying.
pub(super) static BEDROCK: Profile = Profile {
    default_base_url: None,
    dialects: &[Dialect::Anthropic, Dialect::Converse],
    paths: Paths::Bedrock,
    models_path: "/foundation-models",
    credential: Credential::Aws { service: "bedrock" },
    default_headers: &[],
    fixed_headers: &[("accept", "application/json"), ("content-type", "application/json")],
    request_headers: &[],
    response_headers: &[error::TYPE_HEADER, "x-amzn-requestid"],
};

#[cfg(test)]
mod tests {
    use super::super::Kind;

    #[test]
    fn header_names_are_lower_case_and_no_key_may_come_from_a_caller() {
        for kind in Kind::ALL {
            let profile = kind.profile();
            let ours = profile.default_headers.iter().chain(profile.fixed_headers);
            let ours = ours.map(|(name, _)| *name);
            let crossing: Vec<&str> =
                profile.request_headers.iter().chain(profile.response_headers).copied().chain(ours).collect();
            for name in crossing.iter().chain(profile.credential.headers()) {
                assert_eq!(*name, name.to_ascii_lowercase(), "{kind}");
            }
            for other in Kind::ALL {
                for name in other.profile().credential.headers() {
                    assert!(!crossing.contains(name), "{kind} takes {name}");
                }
            }
        }
    }

    #[test]
    fn bases_and_paths_fit_together() {
        for kind in Kind::ALL {
            let profile = kind.profile();
            let models_path = profile.models_path;
            assert!(models_path.starts_with('/'), "{kind}");
            let Some(base) = profile.default_base_url else { continue };
            assert!(base.starts_with("https://") && !base.ends_with('/'), "{kind}");
            let versions = format!("{base}{models_path}").matches("/v1").count();
            assert_eq!(versions, 1, "{kind}: the version stands in the base or in the path, once");
        }
    }
}
