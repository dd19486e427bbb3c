//! `POST /v1/messages/count_tokens`: the question is a request that need not say `max_tokens`.

use serde::{Deserialize, Serialize};

use super::ModelProfile;
use super::request::{self, Fields, MessagesRequest};
use crate::canonical::{Extra, Inexpressible, Request, TokenCount, Translated, Unreadable, Unsupported};

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CountTokensResponse {
    /// Tokens of the whole prompt.
    pub input_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads a client's question.
///
/// # Errors
/// Names the field that makes no sense.
pub fn request_to_canonical(request: MessagesRequest) -> Result<Request, Unreadable> {
    request::conversation_to_canonical(request)
}

/// Writes a question for Anthropic. What does not count, such as `max_tokens`, is left out: Anthropic refuses it here.
///
/// # Errors
/// Names what Anthropic can't say, unless `policy` drops it.
pub fn request_from_canonical(
    request: &Request,
    policy: Unsupported,
    profile: &ModelProfile,
) -> Result<Translated<MessagesRequest>, Inexpressible> {
    request::write(request, policy, profile, Fields::Prompt)
}

/// Reads Anthropic's answer.
pub fn to_canonical(response: &CountTokensResponse) -> TokenCount {
    TokenCount { input: response.input_tokens, cached: None }
}

/// Writes an answer for a client. Anthropic does not say how many of them were cached.
pub fn from_canonical(count: TokenCount) -> CountTokensResponse {
    let TokenCount { input, cached: _ } = count;
    CountTokensResponse { input_tokens: input, extra: Extra::new() }
}

#[cfg(test)]
mod tests {
    use super::super::{ThinkingForm, parse};
    use super::*;

    const PROFILE: ModelProfile = ModelProfile {
        default_max_tokens: None,
        thinking: ThinkingForm::Adaptive,
        sampling: true,
        system_turns: true,
    };

    #[test]
    fn a_question_needs_no_max_tokens_and_says_only_what_counts() {
        let question = r#"{"model":"m","system":"s","messages":[{"role":"user","content":"a"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#;
        let request = request_to_canonical(parse(question.as_bytes()).expect("parses")).expect("reads");
        let mut fuller = request.clone();
        fuller.sampling.max_output_tokens = Some(9);
        fuller.sampling.seed = Some(1);
        fuller.stream = true;
        fuller.user = Some("u".into());
        let written =
            request_from_canonical(&fuller, Unsupported::Refuse, &PROFILE).expect("written").message;
        let json: serde_json::Value = serde_json::to_value(written).expect("writes");
        let names: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(names, ["model", "messages", "system", "tools"]);
    }

    #[test]
    fn an_answer_goes_both_ways() {
        let answer: CountTokensResponse = parse(br#"{"input_tokens":2095}"#).expect("parses");
        let count = to_canonical(&answer);
        assert_eq!(count, TokenCount { input: 2095, cached: None });
        assert_eq!(
            serde_json::to_string(&from_canonical(count)).expect("writes"),
            r#"{"input_tokens":2095}"#
        );
    }
}
