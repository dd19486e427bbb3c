//! Answers, written for a client. A call's signature travels in its id, which every client sends back.

use serde_json::{Value, json};

use super::super::super::chat::{ChatChoice, ChatCompletion, ReasoningDetail, ResponseMessage, Role};
use super::super::super::{Extra, FinishReason};
use super::super::shared::takes_foreign;
use super::super::{finish, logprobs, usage};
use super::remarks::GivenBack;
use super::{annotations, calls, reasoning};
use crate::canonical::{
    Choice, Dialect, Envelope, Inexpressible, Losses, Part, Place, Response, Span, Text, Thinking,
    Translated, Unsupported, seal,
};

const TARGET: Dialect = Dialect::OpenAiChat;

/// Writes an answer.
///
/// # Errors
/// Where OpenAI has no words for a part and the caller did not say to drop.
pub fn from_canonical(
    response: &Response,
    envelope: &Envelope,
    policy: Unsupported,
) -> Result<Translated<ChatCompletion>, Inexpressible> {
    let Response { origin, id: _, created: _, model: _, choices, usage, foreign } = response;
    let mut losses = Losses::of_answer(policy, *origin, TARGET);
    let mut extra = losses.remarks(foreign, |origin, name| takes_foreign(TARGET, origin, name));
    let fingerprint = take_fingerprint(&mut extra);
    let choices = choices
        .iter()
        .map(|choice| write_choice(choice, *origin, &mut extra, &mut losses))
        .collect::<Result<_, _>>()?;
    let message = ChatCompletion {
        id: envelope.id.clone(),
        object: ChatCompletion::OBJECT.to_owned(),
        created: envelope.created,
        model: envelope.model.clone(),
        choices,
        usage: usage.as_ref().map(usage::from_canonical),
        system_fingerprint: fingerprint,
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// `system_fingerprint` is a foreign field like others on its way, and has its place in the answer's type.
pub(super) fn take_fingerprint(extra: &mut Extra) -> Option<String> {
    extra.shift_remove("system_fingerprint").and_then(|value| value.as_str().map(str::to_owned))
}

fn write_choice(
    choice: &Choice,
    origin: Dialect,
    of_answer: &mut Extra,
    losses: &mut Losses,
) -> Result<ChatChoice, Inexpressible> {
    let Choice { index, parts, stop, logprobs } = choice;
    let mut said = Said::default();
    for (position, part) in parts.iter().enumerate() {
        said.add(part, Place::Answer { choice: *index, part: position }, position, losses)?;
    }
    let finish_reason =
        stop.as_ref().map_or(FinishReason::Stop, |stop| finish::from_canonical(&stop.reason, origin));
    let back = stop.as_ref().map(|stop| GivenBack::of(stop, *index, losses)).unwrap_or_default();
    let GivenBack { answer, choice, message, calls } = back;
    of_answer.extend(answer);
    for (call, fields) in calls {
        if let Some(Value::Object(call)) = said.tool_calls.get_mut(call) {
            call.extend(fields);
        }
    }
    let mut written = said.into_message();
    written.extra.extend(message);
    Ok(ChatChoice {
        index: *index,
        message: written,
        logprobs: logprobs.as_ref().map(logprobs::from_canonical),
        finish_reason: Some(finish_reason),
        extra: choice,
    })
}

/// What a message says so far.
#[derive(Default)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Vec<Value>,
    reasoning: String,
    details: Vec<ReasoningDetail>,
    annotations: Vec<Value>,
}

impl Said {
    fn add(
        &mut self,
        part: &Part,
        place: Place,
        position: usize,
        losses: &mut Losses,
    ) -> Result<(), Inexpressible> {
        let path = place.path(losses.origin());
        self.details.extend(reasoning::detail(part, position));
        match part {
            Part::Text(Text { text, citations, signature: _, cache: _ }) => {
                // A text may be there for its signature alone.
                if text.is_empty() && citations.is_empty() {
                    return Ok(());
                }
                let content = self.content.get_or_insert_default();
                let start = characters(content);
                content.push_str(text);
                let block = Span { start, end: start.saturating_add(characters(text)) };
                for citation in citations {
                    self.annotations.extend(annotations::annotation(citation, block, &path, losses));
                }
            }
            Part::Refusal(refusal) => self.refusal.get_or_insert_default().push_str(refusal),
            Part::ToolCall(call) => {
                let id = seal::seal_call_id(&call.id, call.signature.as_ref());
                self.tool_calls.push(calls::entry(call, &id));
            }
            Part::CustomCall(call) => self.tool_calls.push(calls::custom_entry(call)),
            Part::Thinking(Thinking { text, signature: _, id: _ }) => self.reasoning.push_str(text),
            Part::RedactedThinking(_) => {}
            Part::Foreign(part) if part.dialect == TARGET => self.tool_calls.push(part.value.clone()),
            Part::Foreign(foreign) => losses.lose_foreign_part(path, foreign, unspeakable(part))?,
            Part::Image(_) | Part::Audio(_) | Part::Document(_) | Part::ToolResult(_) => {
                losses.lose(path, unspeakable(part))?;
            }
        }
        Ok(())
    }

    fn into_message(self) -> ResponseMessage {
        let Self { content, refusal, tool_calls, reasoning, details, annotations } = self;
        let silent = content.is_none() && refusal.is_none() && tool_calls.is_empty();
        let mut extra = Extra::new();
        let mut put = |name: &str, value: Value, there: bool| {
            if there {
                extra.insert(name.to_owned(), value);
            }
        };
        put("reasoning_content", json!(reasoning), !reasoning.is_empty());
        put("reasoning_details", json!(details), !details.is_empty());
        put("annotations", json!(annotations), !annotations.is_empty());
        put("tool_calls", json!(tool_calls), !tool_calls.is_empty());
        let content = if silent { Some(String::new()) } else { content };
        ResponseMessage { role: Role::Assistant, content, refusal, extra }
    }
}

/// Why a part has no place in an answer, for whoever asked.
pub(super) fn unspeakable(part: &Part) -> String {
    format!("an answer there holds text and calls, and no {}: ask in the provider's own dialect", part.kind())
}

/// The length that OpenAI's offsets count in.
pub(super) fn characters(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}
