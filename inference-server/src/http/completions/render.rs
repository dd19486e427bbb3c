//! Completions: whole, and as chunks, which have one shape here.

use std::collections::HashMap;

use serde_json::Map;
use weighbridge_wire::openai::completion::{Completion, CompletionChoice};
use weighbridge_wire::openai::{CompletionLogprobs, Extra, FinishReason, Usage};

use super::super::answer::{finish_reason, json_logprob, logprob_value, token_text};
use super::super::choices::Collected;
use super::super::stream::Dialect;
use super::request::{Completing, Echo};
use crate::engine::{Finished, TokenEvent};
use crate::sampling::TokenLogprobs;
use crate::tokenizer::Tokenizer;

/// Builds the parallel lists of log probabilities.
struct Lists<'t> {
    tokenizer: &'t Tokenizer,
    lists: CompletionLogprobs,
    /// Characters before the next token.
    offset: u64,
}

impl<'t> Lists<'t> {
    fn new(tokenizer: &'t Tokenizer, offset: u64) -> Self {
        let lists = CompletionLogprobs { top_logprobs: Some(Vec::new()), ..CompletionLogprobs::default() };
        Self { tokenizer, lists, offset }
    }

    fn push(&mut self, id: u32, logprobs: Option<&TokenLogprobs>) {
        let text = token_text(self.tokenizer, id);
        let top = logprobs.map(|logprobs| {
            let entry =
                |(id, logprob): &(u32, f32)| (token_text(self.tokenizer, *id), logprob_value(*logprob));
            logprobs.top.iter().map(entry).collect::<Map<_, _>>()
        });
        self.lists.token_logprobs.push(logprobs.map(|logprobs| json_logprob(logprobs.logprob)));
        if let Some(tops) = &mut self.lists.top_logprobs {
            tops.push(top);
        }
        self.lists.text_offset.push(self.offset);
        self.offset += text.chars().count() as u64;
        self.lists.tokens.push(text);
    }

    fn push_prompt(&mut self, echo: &Echo, rows: &[Option<TokenLogprobs>]) {
        for (id, row) in echo.tokens.iter().zip(rows) {
            self.push(*id, row.as_ref());
        }
    }
}

/// The whole answer.
pub(super) fn whole(
    request: Completing,
    prompt_tokens: usize,
    choices: Vec<(Collected, Finished)>,
) -> Completion {
    let Completing { head, logprobs, echoes, tokenizer } = request;
    let written = choices.iter().map(|(_, finished)| finished.completion_tokens as u64).sum();
    let choices = (0..).zip(choices).map(|(index, (choice, finished))| {
        let echo = echoes.get(index as usize);
        let logprobs = logprobs.then(|| {
            let mut lists = Lists::new(&tokenizer, 0);
            if let (Some(echo), Some(rows)) = (echo, &choice.prompt_logprobs) {
                lists.push_prompt(echo, rows);
            }
            for (id, token) in &choice.tokens {
                lists.push(*id, Some(token));
            }
            lists.lists
        });
        CompletionChoice {
            index,
            text: echo.map_or("", |echo| echo.text.as_str()).to_owned() + &choice.text,
            logprobs,
            finish_reason: Some(finish_reason(&finished.cause)),
            extra: Extra::new(),
        }
    });
    Completion {
        id: head.id,
        object: Completion::OBJECT.to_owned(),
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: Some(Some(Usage::new(prompt_tokens as u64, written))),
        system_fingerprint: Some(head.fingerprint),
        extra: Extra::new(),
    }
}

/// The chunks of a streamed answer.
pub(super) struct Chunks {
    request: Completing,
    include_usage: bool,
    /// Characters of each choice so far.
    offsets: HashMap<usize, u64>,
}

impl Chunks {
    pub(super) fn new(request: Completing, include_usage: bool) -> Self {
        Self { request, include_usage, offsets: HashMap::new() }
    }

    fn chunk(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> String {
        let head = self.request.head.clone();
        let chunk = Completion {
            id: head.id,
            object: Completion::OBJECT.to_owned(),
            created: head.created,
            model: head.model,
            choices,
            usage: self.include_usage.then_some(usage),
            system_fingerprint: Some(head.fingerprint),
            extra: Extra::new(),
        };
        serde_json::to_string(&chunk).unwrap_or_default()
    }

    fn choice(
        &self,
        index: usize,
        text: &str,
        end: Option<FinishReason>,
        logprobs: Option<CompletionLogprobs>,
    ) -> String {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let text = text.to_owned();
        let choice = CompletionChoice { index, text, logprobs, finish_reason: end, extra: Extra::new() };
        self.chunk(vec![choice], None)
    }

    /// The lists of one chunk, with offsets that go on from the choice's last.
    fn lists(&mut self, choice: usize, fill: impl FnOnce(&mut Lists<'_>)) -> CompletionLogprobs {
        let so_far = self.offsets.entry(choice).or_default();
        let mut lists = Lists::new(&self.request.tokenizer, *so_far);
        fill(&mut lists);
        let Lists { lists, offset, .. } = lists;
        *so_far = offset;
        lists
    }
}

impl Dialect for Chunks {
    fn begin(&mut self, choice: usize, prompt: Option<Vec<Option<TokenLogprobs>>>) -> Option<String> {
        let echo = self.request.echoes.get(choice).cloned()?;
        let rows = prompt.filter(|_| self.request.logprobs);
        let logprobs = rows.map(|rows| self.lists(choice, |lists| lists.push_prompt(&echo, &rows)));
        Some(self.choice(choice, &echo.text, None, logprobs))
    }

    fn token(&mut self, choice: usize, token: &TokenEvent) -> Option<String> {
        let logprobs = token.logprobs.as_ref().filter(|_| self.request.logprobs);
        if token.text.is_empty() && logprobs.is_none() {
            return None;
        }
        let logprobs = logprobs.map(|one| self.lists(choice, |lists| lists.push(token.id, Some(one))));
        Some(self.choice(choice, &token.text, None, logprobs))
    }

    fn finish(&mut self, choice: usize, finished: &Finished) -> Vec<String> {
        vec![self.choice(choice, &finished.tail, Some(finish_reason(&finished.cause)), None)]
    }

    fn usage(&mut self, usage: Usage) -> String {
        self.chunk(Vec::new(), Some(usage))
    }
}
