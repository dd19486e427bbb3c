//! Chat answers: whole, and as chunks.

use weighbridge_wire::openai::chat::{
    ChatChoice, ChatCompletion, ChatCompletionChunk, ChunkChoice, Delta, ResponseMessage,
};
use weighbridge_wire::openai::{ChatLogprobs, Extra, FinishReason, TokenLogprob, Usage};

use super::super::answer::{chat_logprob, finish_reason};
use super::super::choices::Collected;
use super::super::stream::Dialect;
use super::request::Chat;
use crate::engine::{Finished, TokenEvent};
use crate::sampling::TokenLogprobs;

/// The whole answer.
pub(super) fn whole(chat: Chat, prompt_tokens: usize, choices: Vec<(Collected, Finished)>) -> ChatCompletion {
    let Chat { head, logprobs, tokenizer } = chat;
    let written = choices.iter().map(|(_, finished)| finished.completion_tokens as u64).sum();
    let choices = (0..).zip(choices).map(|(index, (choice, finished))| {
        let content =
            || choice.tokens.iter().map(|(id, token)| chat_logprob(&tokenizer, *id, token)).collect();
        ChatChoice {
            index,
            message: ResponseMessage::text(choice.text.clone()),
            logprobs: logprobs.then(|| ChatLogprobs { content: Some(content()), refusal: None }),
            finish_reason: Some(finish_reason(&finished.cause)),
            extra: Extra::new(),
        }
    });
    ChatCompletion {
        id: head.id,
        object: ChatCompletion::OBJECT.to_owned(),
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: Some(Usage::new(prompt_tokens as u64, written)),
        system_fingerprint: Some(head.fingerprint),
        extra: Extra::new(),
    }
}

/// The chunks of a streamed answer.
pub(super) struct Chunks {
    chat: Chat,
    include_usage: bool,
}

impl Chunks {
    pub(super) fn new(chat: Chat, include_usage: bool) -> Self {
        Self { chat, include_usage }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> String {
        let head = self.chat.head.clone();
        let chunk = ChatCompletionChunk {
            id: head.id,
            object: ChatCompletionChunk::OBJECT.to_owned(),
            created: head.created,
            model: head.model,
            choices,
            // With `include_usage` every chunk carries the field, null but in the last.
            usage: self.include_usage.then_some(usage),
            system_fingerprint: Some(head.fingerprint),
            extra: Extra::new(),
        };
        serde_json::to_string(&chunk).unwrap_or_default()
    }

    fn choice(
        &self,
        index: usize,
        delta: Delta,
        end: Option<FinishReason>,
        logprobs: Option<TokenLogprob>,
    ) -> String {
        let logprobs = logprobs.map(|one| ChatLogprobs { content: Some(vec![one]), refusal: None });
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.chunk(
            vec![ChunkChoice { index, delta, logprobs, finish_reason: end, extra: Extra::new() }],
            None,
        )
    }
}

impl Dialect for Chunks {
    fn begin(&mut self, choice: usize, _: Option<Vec<Option<TokenLogprobs>>>) -> Option<String> {
        Some(self.choice(choice, Delta::opening(), None, None))
    }

    fn token(&mut self, choice: usize, token: &TokenEvent) -> Option<String> {
        let logprobs = token.logprobs.as_ref().filter(|_| self.chat.logprobs);
        if token.text.is_empty() && logprobs.is_none() {
            return None;
        }
        let logprobs = logprobs.map(|logprobs| chat_logprob(&self.chat.tokenizer, token.id, logprobs));
        Some(self.choice(choice, Delta::text(token.text.clone()), None, logprobs))
    }

    fn finish(&mut self, choice: usize, finished: &Finished) -> Vec<String> {
        let tail = (!finished.tail.is_empty()).then(|| Delta::text(finished.tail.clone()));
        let tail = tail.map(|delta| self.choice(choice, delta, None, None));
        let end = self.choice(choice, Delta::default(), Some(finish_reason(&finished.cause)), None);
        tail.into_iter().chain([end]).collect()
    }

    fn usage(&mut self, usage: Usage) -> String {
        self.chunk(Vec::new(), Some(usage))
    }
}
