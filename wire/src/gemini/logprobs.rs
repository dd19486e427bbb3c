//! `logprobsResult`.

use serde::{Deserialize, Serialize};

use super::proto_json::integer;
use crate::canonical::{Alternative, Extra, Logprobs, TokenLogprob};

/// Log probabilities of an answer, or of a piece of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogprobsResult {
    /// The tokens that were drawn.
    #[serde(alias = "chosen_candidates", skip_serializing_if = "Vec::is_empty")]
    pub chosen_candidates: Vec<LogprobsCandidate>,
    /// For each of them, the likeliest ones.
    #[serde(alias = "top_candidates", skip_serializing_if = "Vec::is_empty")]
    pub top_candidates: Vec<TopCandidates>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogprobsCandidate {
    /// Its text.
    pub token: String,
    /// Its id in the vocabulary.
    #[serde(alias = "token_id", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub token_id: Option<u32>,
    /// Natural logarithm of its probability.
    #[serde(alias = "log_probability")]
    pub log_probability: f32,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The likeliest tokens at one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopCandidates {
    /// Best first.
    pub candidates: Vec<LogprobsCandidate>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

pub(super) fn to_canonical(wire: LogprobsResult) -> Logprobs {
    let LogprobsResult { chosen_candidates, top_candidates, extra: _ } = wire;
    let mut tops = top_candidates.into_iter();
    let content = chosen_candidates.into_iter().map(|chosen| {
        let LogprobsCandidate { token, token_id, log_probability, extra: _ } = chosen;
        let alternatives = tops.next().map(|top| top.candidates).unwrap_or_default();
        TokenLogprob {
            bytes: Some(token.as_bytes().to_vec()),
            token,
            logprob: log_probability,
            id: token_id,
            alternatives: alternatives.into_iter().map(alternative).collect(),
        }
    });
    Logprobs { content: content.collect(), refusal: Vec::new() }
}

fn alternative(candidate: LogprobsCandidate) -> Alternative {
    let LogprobsCandidate { token, token_id, log_probability, extra: _ } = candidate;
    Alternative { bytes: Some(token.as_bytes().to_vec()), token, logprob: log_probability, id: token_id }
}

pub(super) fn from_canonical(logprobs: &Logprobs) -> LogprobsResult {
    let Logprobs { content, refusal } = logprobs;
    let mut wire = LogprobsResult::default();
    for TokenLogprob { token, logprob, bytes: _, id, alternatives } in content.iter().chain(refusal) {
        wire.chosen_candidates.push(candidate(token, *logprob, *id));
        let candidates = alternatives
            .iter()
            .map(|Alternative { token, logprob, bytes: _, id }| candidate(token, *logprob, *id));
        wire.top_candidates.push(TopCandidates { candidates: candidates.collect(), extra: Extra::new() });
    }
    if wire.top_candidates.iter().all(|top| top.candidates.is_empty()) {
        wire.top_candidates.clear();
    }
    wire
}

fn candidate(token: &str, log_probability: f32, token_id: Option<u32>) -> LogprobsCandidate {
    LogprobsCandidate { token: token.to_owned(), token_id, log_probability, extra: Extra::new() }
}

#[cfg(test)]
mod tests {
    use super::super::proto_json::parse;
    use super::*;

    #[test]
    fn tokens_and_their_rivals_come_back() {
        let text = r#"{"chosenCandidates":[{"token":"a","tokenId":7,"logProbability":-0.25}],
            "topCandidates":[{"candidates":[{"token":"a","tokenId":7,"logProbability":-0.25},{"token":"é","logProbability":-2.0}]}]}"#;
        let wire: LogprobsResult = parse(text.as_bytes()).expect("reads");
        let logprobs = to_canonical(wire.clone());
        assert_eq!(logprobs.content[0].alternatives[1].bytes.as_deref(), Some("é".as_bytes()));
        assert_eq!(logprobs.content[0].id, Some(7));
        assert_eq!(from_canonical(&logprobs), wire);
    }
}
