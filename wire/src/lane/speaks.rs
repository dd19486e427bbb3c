//! What an upstream understands, and what a request that it does not understand is made into for it.

use super::Operation;
use super::operation::Kind;
use crate::anthropic::ModelProfile;
use crate::canonical::{Failure, FailureClass};
use crate::gemini::{Framing, Upstream};

/// An upstream: what it takes as it comes, and what its writers must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaks {
    pub(super) tongue: Tongue,
    /// Whether it counts tokens beside what its dialect has.
    tokenizes: bool,
}

/// The four ways that upstreams speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tongue {
    /// OpenAI itself, which refuses what it does not know.
    OpenAi,
    /// Our engine, and others that imitate OpenAI's older endpoints.
    Compatible,
    Anthropic(ModelProfile),
    Gemini(Upstream),
}

impl Speaks {
    /// Our engine: chat completions, completions, embeddings, reranking, and tokens counted.
    pub fn engine() -> Self {
        Self { tongue: Tongue::Compatible, tokenizes: true }
    }

    /// A server that imitates OpenAI's older endpoints, as our engine does.
    pub fn openai_compatible() -> Self {
        Self { tongue: Tongue::Compatible, tokenizes: false }
    }

    /// OpenAI: chat completions, completions, Responses and embeddings. Other dialects' conversations become
    /// Responses.
    pub fn openai() -> Self {
        Self { tongue: Tongue::OpenAi, tokenizes: false }
    }

    /// Anthropic, or a server that imitates it: messages, and their tokens counted.
    pub fn anthropic(profile: ModelProfile) -> Self {
        Self { tongue: Tongue::Anthropic(profile), tokenizes: false }
    }

    /// Google: content generated, tokens counted, texts embedded.
    pub fn gemini(upstream: Upstream) -> Self {
        Self { tongue: Tongue::Gemini(upstream), tokenizes: false }
    }

    /// Whether it takes the operation as it comes.
    pub fn takes(&self, operation: Operation) -> bool {
        use Operation as O;
        match self.tongue {
            Tongue::OpenAi => {
                matches!(operation, O::ChatCompletions | O::Completions | O::Responses | O::Embeddings)
            }
            Tongue::Compatible => {
                matches!(operation, O::ChatCompletions | O::Completions | O::Embeddings | O::Rerank)
                    || (self.tokenizes && operation == O::Tokenize)
            }
            Tongue::Anthropic(_) => matches!(operation, O::Messages | O::CountMessageTokens),
            Tongue::Gemini(_) => matches!(
                operation,
                O::GenerateContent
                    | O::StreamGenerateContent { .. }
                    | O::CountTokens
                    | O::EmbedContent
                    | O::BatchEmbedContents
            ),
        }
    }

    /// What it is asked where a client asks for `door`, streamed or not.
    ///
    /// # Errors
    /// Where there is neither the operation nor a translation; the failure says what would work.
    pub fn asked(&self, door: Operation, stream: bool) -> Result<Operation, Failure> {
        if self.takes(door) {
            return Ok(door);
        }
        let there = match (door.kind(), self.tongue) {
            (Kind::Conversation, Tongue::OpenAi) => Operation::Responses,
            (Kind::Conversation, Tongue::Compatible) => Operation::ChatCompletions,
            (Kind::Conversation, Tongue::Anthropic(_)) => Operation::Messages,
            (Kind::Conversation, Tongue::Gemini(_)) if stream => {
                Operation::StreamGenerateContent { framing: Framing::Sse }
            }
            (Kind::Conversation, Tongue::Gemini(_)) => Operation::GenerateContent,
            (Kind::Counting, Tongue::Anthropic(_)) => Operation::CountMessageTokens,
            (Kind::Counting, Tongue::Gemini(_)) => Operation::CountTokens,
            (Kind::Counting, Tongue::Compatible) if self.tokenizes => Operation::Tokenize,
            (Kind::Embedding, Tongue::OpenAi | Tongue::Compatible) => Operation::Embeddings,
            (Kind::Embedding, Tongue::Gemini(_)) => Operation::BatchEmbedContents,
            (Kind::Counting, Tongue::OpenAi | Tongue::Compatible)
            | (Kind::Embedding, Tongue::Anthropic(_))
            | (Kind::Reranking, Tongue::OpenAi | Tongue::Anthropic(_) | Tongue::Gemini(_))
            // It reranks as it comes.
            | (Kind::Reranking, Tongue::Compatible) => return Err(self.refusal(door)),
        };
        Ok(there)
    }

    /// The failure for what has no translation.
    pub(super) fn refusal(&self, door: Operation) -> Failure {
        let (what, works) = match door.kind() {
            Kind::Conversation => ("converse", "ask another model"),
            Kind::Counting => (
                "count tokens",
                "ask a model of open weights, at Anthropic or at Google, or read the usage of an answer",
            ),
            Kind::Embedding => {
                ("embed", "ask an embedding model at OpenAI or Google, or one of open weights")
            }
            Kind::Reranking => ("rerank", "ask a reranker of open weights"),
        };
        let mut failure = Failure::new(
            FailureClass::BadRequest,
            format!("`{door}`: this model's upstream is {}, which does not {what}: {works}", self.who()),
        );
        failure.code = Some("unsupported_operation".to_owned());
        failure
    }

    fn who(&self) -> &'static str {
        match self.tongue {
            Tongue::OpenAi => "OpenAI",
            Tongue::Compatible => "a server that speaks OpenAI's dialect",
            Tongue::Anthropic(_) => "Anthropic",
            Tongue::Gemini(_) => "Google",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROFILE, upstreams};
    use super::*;

    #[test]
    fn a_conversation_finds_its_way_to_every_upstream() {
        let doors = [
            Operation::ChatCompletions,
            Operation::Completions,
            Operation::Responses,
            Operation::Messages,
            Operation::GenerateContent,
            Operation::StreamGenerateContent { framing: Framing::Array },
        ];
        for speaks in upstreams() {
            for door in doors {
                for stream in [true, false] {
                    let there = speaks.asked(door, stream).expect("a way");
                    assert!(speaks.takes(there));
                    assert!(there == door || !speaks.takes(door), "what it takes is not translated");
                }
            }
        }
        assert_eq!(Speaks::openai().asked(Operation::Messages, true).ok(), Some(Operation::Responses));
        assert_eq!(Speaks::engine().asked(Operation::Responses, true).ok(), Some(Operation::ChatCompletions));
        let sse = Operation::StreamGenerateContent { framing: Framing::Sse };
        let google = Speaks::gemini(Upstream::default());
        assert_eq!(google.asked(Operation::ChatCompletions, true).ok(), Some(sse));
        assert_eq!(google.asked(Operation::ChatCompletions, false).ok(), Some(Operation::GenerateContent));
    }

    #[test]
    fn what_has_no_translation_is_refused_with_what_would_work() {
        let anthropic = Speaks::anthropic(PROFILE);
        for (speaks, door, works) in [
            (Speaks::openai(), Operation::CountMessageTokens, "read the usage"),
            (Speaks::openai_compatible(), Operation::CountTokens, "read the usage"),
            (anthropic, Operation::Rerank, "reranker"),
            (Speaks::openai(), Operation::Rerank, "reranker"),
            (anthropic, Operation::Embeddings, "embedding model"),
            (anthropic, Operation::EmbedContent, "embedding model"),
        ] {
            let failure = speaks.asked(door, false).expect_err("refused");
            assert_eq!(failure.class, FailureClass::BadRequest);
            assert!(failure.message.contains(works) && failure.message.contains(door.as_str()), "{failure}");
        }
        let google = Speaks::gemini(Upstream::default());
        assert_eq!(Speaks::engine().asked(Operation::CountTokens, false).ok(), Some(Operation::Tokenize));
        assert_eq!(google.asked(Operation::CountMessageTokens, false).ok(), Some(Operation::CountTokens));
        assert_eq!(anthropic.asked(Operation::CountTokens, false).ok(), Some(Operation::CountMessageTokens));
        assert_eq!(google.asked(Operation::Embeddings, false).ok(), Some(Operation::BatchEmbedContents));
        assert_eq!(Speaks::openai().asked(Operation::EmbedContent, false).ok(), Some(Operation::Embeddings));
    }
}
