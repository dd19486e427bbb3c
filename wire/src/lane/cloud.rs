//! The clouds that serve others' dialects: where their paths lie, what their bodies say and lack, and how they frame a
//! stream.
//!
//! What goes to a cloud goes by way of its proxy, which knows the account's project or region and writes it before the paths.

use super::{Operation, Speaks};
use crate::canonical::Failure;
use crate::edit::{Object, Wanted, quoted, splice};
use crate::gemini::Framing;
use crate::percent;
use crate::provider::Kind;
use crate::{anthropic, bedrock, gemini};

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    /// Google's Vertex AI.
    Vertex,
    /// Amazon Bedrock.
    Bedrock,
}

/// What a client of Anthropic's says in headers, and a cloud wants in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// `anthropic-version`.
    pub(super) version: Option<String>,
    /// `anthropic-beta`, of all such headers.
    pub(super) betas: Vec<String>,
}

/// The version that Anthropic's dialect had before there were clouds; each has its own name for it.
const FIRST_VERSION: &str = "2023-06-01";

impl Said {
    pub(super) fn read<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("anthropic-version") {
                said.version = Some(value.trim().to_owned());
            } else if name.eq_ignore_ascii_case("anthropic-beta") {
                let betas = value.split(',').map(str::trim).filter(|beta| !beta.is_empty());
                said.betas.extend(betas.map(str::to_owned));
            }
        }
        said
    }
}

impl Cloud {
    /// The cloud that a provider of this kind is.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Vertex => Some(Self::Vertex),
            Kind::Bedrock => Some(Self::Bedrock),
            Kind::OpenAi
            | Kind::AzureOpenAi
            | Kind::Anthropic
            | Kind::Gemini
            | Kind::OpenAiCompatible
            | Kind::AnthropicCompatible => None,
        }
    }

    /// Path and query of a request for `model`.
    pub(super) fn path(self, operation: Operation, model: &str, stream: bool) -> String {
        match self {
            Self::Vertex => vertex_path(operation, model, stream),
            Self::Bedrock => bedrock_path(operation, model, stream),
        }
    }

    /// The body for this cloud, of one that is whole.
    pub(super) fn finished(self, operation: Operation, said: &Said, body: String) -> Result<String, Failure> {
        let wanted = self.fields(operation, said);
        if wanted.is_empty() {
            return Ok(body);
        }
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let object = Object::read(&body, &names).map_err(|error| super::request::unfit(&error))?;
        let wanted: Vec<Wanted> = wanted.into_iter().map(|(_, wanted)| wanted).collect();
        let edited = splice(&body, &object.set(&wanted));
        // It was text, and so is what went in.
        Ok(String::from_utf8_lossy(&edited).into_owned())
    }

    /// What becomes of a body's fields. A client may say the version itself, as Anthropic's own clients of clouds do.
    pub(super) fn fields(self, operation: Operation, said: &Said) -> Vec<(&'static str, Wanted)> {
        let own = match self {
            Self::Vertex => "vertex-2023-10-16",
            Self::Bedrock => "bedrock-2023-05-31",
        };
        let version = said.version.as_deref().filter(|version| *version != FIRST_VERSION).unwrap_or(own);
        let version = ("anthropic_version", Wanted::Default(quoted(version)));
        match (self, operation) {
            (Self::Vertex, Operation::Messages) => vec![("model", Wanted::Gone), version],
            (Self::Vertex, Operation::CountMessageTokens) => vec![version],
            (Self::Bedrock, Operation::Messages) => {
                let mut fields = vec![("model", Wanted::Gone), ("stream", Wanted::Gone), version];
                if !said.betas.is_empty() {
                    let betas = serde_json::Value::from(said.betas.clone()).to_string();
                    fields.push(("anthropic_beta", Wanted::Default(betas)));
                }
                fields
            }
            _ => Vec::new(),
        }
    }

    /// The question of how many tokens a message has that is written for Anthropic.
    pub(super) fn counted(self, body: String) -> Result<String, Failure> {
        match self {
            Self::Vertex => self.finished(Operation::CountMessageTokens, &Said::default(), body),
            Self::Bedrock => {
                let inner = self.finished(Operation::Messages, &Said::default(), body)?;
                // What is counted is a request that could be made.
                let object =
                    Object::read(&inner, &["max_tokens"]).map_err(|error| super::request::unfit(&error))?;
                let inner = splice(&inner, &object.set(&[Wanted::Default("1".to_owned())]));
                Ok(bedrock::count_tokens::invoked(&inner))
            }
        }
    }
}

fn vertex_path(operation: Operation, model: &str, stream: bool) -> String {
    let (publisher, model, method) = match operation {
        Operation::Messages if stream => ("anthropic", model, "streamRawPredict"),
        Operation::Messages => ("anthropic", model, "rawPredict"),
        Operation::CountMessageTokens => ("anthropic", "count-tokens", "rawPredict"),
        _ => ("google", model, operation.as_str()),
    };
    let model = percent::encode(model.strip_prefix("models/").unwrap_or(model)).replace("%40", "@");
    let query = match operation {
        Operation::StreamGenerateContent { framing: Framing::Sse } => "?alt=sse",
        _ => "",
    };
    format!("/publishers/{publisher}/models/{model}:{method}{query}")
}

fn bedrock_path(operation: Operation, model: &str, stream: bool) -> String {
    let verb = match operation {
        Operation::Messages if stream => "invoke-with-response-stream",
        Operation::Messages => "invoke",
        Operation::CountConverseTokens => {
            // Counting takes the model's own id alone.
            return operation.path(bedrock::profiled(model).unwrap_or(model));
        }
        _ => return operation.path(model),
    };
    format!("/model/{}/{verb}", percent::encode(model))
}

impl Speaks {
    /// Google's Vertex AI: Claude in Anthropic's dialect, and every other model in Gemini's.
    pub fn vertex(model: &str) -> Self {
        let cloud = Some(Cloud::Vertex);
        if anthropic::is_claude(model) {
            return Self { cloud, ..Self::anthropic(anthropic::ModelProfile::of(model)) };
        }
        let upstream = gemini::Upstream { service: gemini::Service::Vertex, ..gemini::Upstream::default() };
        // Google's older embedders are asked as any model of Vertex AI's is.
        let predicts = !model.contains("gemini");
        Self { cloud, ..Self::google(upstream, predicts) }
    }

    /// Amazon Bedrock: Claude in Anthropic's dialect, and every other model by Converse. What does not say in its name that it
    /// is Claude, such as an ARN of one's own, is asked by Converse, which Claude understands too.
    pub fn bedrock(model: &str) -> Self {
        let cloud = Some(Cloud::Bedrock);
        if anthropic::is_claude(model) {
            Self { cloud, ..Self::anthropic(anthropic::ModelProfile::of(model)) }
        } else {
            Self { cloud, ..Self::converse() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    #[test]
    fn a_bodys_fields_are_as_the_cloud_wants_them() {
        let body = r#"{"model":"m","max_tokens":9,"messages":[],"stream":true}"#;
        let said = |version: &str, betas: &[&str]| {
            let headers = betas.iter().map(|beta| ("Anthropic-Beta", *beta));
            Said::read(headers.chain([("anthropic-version", version)]))
        };
        let finished = |cloud: Cloud, body: &str, said: &Said| {
            cloud.finished(Operation::Messages, said, body.to_owned()).expect("an object")
        };
        assert_eq!(
            finished(Cloud::Vertex, body, &said("2023-06-01", &["x"])),
            r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[],"stream":true}"#
        );
        assert_eq!(
            finished(Cloud::Bedrock, body, &said("2026-10-21", &["a, b", "c"])),
            r#"{"anthropic_version":"2026-10-21","anthropic_beta":["a","b","c"],"max_tokens":9,"messages":[]}"#
        );
        let own = r#"{"anthropic_version":"x","anthropic_beta":["y"],"model":"m"}"#;
        assert_eq!(
            finished(Cloud::Bedrock, own, &said("2023-06-01", &["a"])),
            r#"{"anthropic_version":"x","anthropic_beta":["y"]}"#
        );
        assert!(
            Cloud::Bedrock
                .finished(Operation::Messages, &Said::default(), "{\"model\":1,\"model\":2}".into())
                .is_err()
        );
    }

    #[test]
    fn paths_are_the_clouds_and_no_name_leaves_its_segment() {
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.x.y-v1:0";
        let escaped = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x.y-v1%3A0";
        for (cloud, operation, model, stream, path) in [
            (
                Cloud::Bedrock,
                Operation::Messages,
                arn,
                true,
                format!("/model/{escaped}/invoke-with-response-stream"),
            ),
            (Cloud::Bedrock, Operation::Messages, "a/../b", false, "/model/a%2F..%2Fb/invoke".to_owned()),
            (
                Cloud::Bedrock,
                Operation::ConverseStream,
                "x.y-v1:0",
                true,
                "/model/x.y-v1%3A0/converse-stream".to_owned(),
            ),
            (
                Cloud::Bedrock,
                Operation::CountConverseTokens,
                "us.anthropic.claude-x",
                false,
                "/model/anthropic.claude-x/count-tokens".to_owned(),
            ),
            (
                Cloud::Vertex,
                Operation::Messages,
                "claude-x@1",
                true,
                "/publishers/anthropic/models/claude-x@1:streamRawPredict".to_owned(),
            ),
            (
                Cloud::Vertex,
                Operation::CountMessageTokens,
                "claude-x@1",
                false,
                "/publishers/anthropic/models/count-tokens:rawPredict".to_owned(),
            ),
            (
                Cloud::Vertex,
                Operation::StreamGenerateContent { framing: Framing::Sse },
                "models/a/b",
                true,
                "/publishers/google/models/a%2Fb:streamGenerateContent?alt=sse".to_owned(),
            ),
            (
                Cloud::Vertex,
                Operation::Predict,
                "text-embedding-005",
                false,
                "/publishers/google/models/text-embedding-005:predict".to_owned(),
            ),
        ] {
            assert_eq!(cloud.path(operation, model, stream), path);
        }
    }

    #[test]
    fn the_proxy_forwards_what_is_written_here() {
        use Operation::{
            BatchEmbedContents, Converse, ConverseStream, CountConverseTokens, CountMessageTokens,
            CountTokens, GenerateContent, Messages, Predict, StreamGenerateContent,
        };
        let streamed = StreamGenerateContent { framing: Framing::Sse };
        let googles = [GenerateContent, streamed, CountTokens, BatchEmbedContents, Predict];
        let claudes = [Messages, CountMessageTokens];
        let amazons = [Messages, Converse, ConverseStream, CountConverseTokens];
        let clouds = [
            (Cloud::Vertex, provider::Kind::Vertex, "gemini-2.5-pro", googles.as_slice()),
            (Cloud::Vertex, provider::Kind::Vertex, "claude-sonnet-4-5@20250929", &claudes),
            (Cloud::Bedrock, provider::Kind::Bedrock, "us.amazon.nova-pro-v1:0", &amazons),
            (Cloud::Bedrock, provider::Kind::Bedrock, "arn:aws:bedrock:r:1:inference-profile/x", &amazons),
        ];
        for (cloud, kind, model, operations) in clouds {
            for (operation, stream) in operations.iter().flat_map(|each| [(*each, false), (*each, true)]) {
                let whole = cloud.path(operation, model, stream);
                let (path, query) =
                    whole.split_once('?').map_or((whole.as_str(), None), |(p, q)| (p, Some(q)));
                assert_eq!(kind.forwarded(path, query).as_deref(), Some(whole.as_str()), "{kind}");
            }
        }
    }
}
