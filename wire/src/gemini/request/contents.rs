//! Turns into `contents`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::content::{
    Content, FunctionCall, FunctionResponse, FunctionResponsePart, Part as WirePart,
};
use super::super::foreign::ForeignFields;
use super::super::media::Written;
use super::super::service::{Generation, Service};
use super::super::{media, result};
use super::UNSIGNED_CALL;
use super::tools::NO_CUSTOM_TOOLS;
use crate::canonical::{
    Audio, Dialect, Document, ForeignPart, Image, Inexpressible, Losses, MediaSource, Part, Place, Provider,
    RedactedThinking, Request, Role, Signature, Text, Thinking, ToolCall, ToolResult,
};

/// What is known while the contents are written.
pub(super) struct Contents<'a> {
    pub(super) request: &'a Request,
    pub(super) service: Service,
    pub(super) generation: Generation,
    /// Calls with free text, whose results go with them.
    pub(super) custom_calls: BTreeSet<&'a str>,
}

/// A part, and where the caller wrote it.
struct Placed<'a> {
    path: String,
    part: &'a Part,
}

/// Neighbours of one role, which Gemini wants in one content.
struct Speech<'a> {
    role: Role,
    place: u32,
    parts: Vec<Placed<'a>>,
}

impl<'a> Contents<'a> {
    /// Writes the conversation.
    pub(super) fn write(
        &self,
        foreign: &mut ForeignFields<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<Content>, Inexpressible> {
        let mut contents = Vec::new();
        for Speech { role, place, parts: placed } in self.speeches(losses)? {
            let mut parts = Vec::new();
            for Placed { path, part } in placed {
                if let Some(mut written) = self.part(part, &path, foreign, losses)? {
                    written.extra.extend(foreign.take(&path));
                    if let Some(data) = written.extra.shift_remove("thoughtSignature") {
                        written.thought_signature = data.as_str().map(str::to_owned);
                    }
                    parts.push(written);
                }
            }
            if role == Role::Assistant {
                self.mark_unsigned(&mut parts);
            }
            let extra = foreign.take(&Place::Message(place).path(losses.origin()));
            if parts.is_empty() {
                continue;
            }
            let role = if role == Role::Assistant { "model" } else { "user" };
            contents.push(Content { role: Some(role.to_owned()), parts, extra });
        }
        Ok(contents)
    }

    fn speeches(&self, losses: &mut Losses) -> Result<Vec<Speech<'a>>, Inexpressible> {
        let origin = losses.origin();
        let mut speeches: Vec<Speech<'a>> = Vec::new();
        for turn in &self.request.turns {
            match turn.role {
                Role::User | Role::Assistant => {}
                Role::System | Role::Developer => {
                    let fix = "put instructions before the conversation: Gemini has none in its midst";
                    losses.lose(Place::Message(turn.place).path(origin), fix)?;
                    continue;
                }
            }
            if turn.name.is_some() {
                let field = format!("{}.name", Place::Message(turn.place).path(origin));
                losses.lose(field, "say in the text who speaks")?;
            }
            let placed = turn
                .parts
                .iter()
                .enumerate()
                .map(|(index, part)| Placed { path: turn.place_of(index, origin).path(origin), part });
            match speeches.last_mut() {
                Some(last) if last.role == turn.role => last.parts.extend(placed),
                _ => speeches.push(Speech { role: turn.role, place: turn.place, parts: placed.collect() }),
            }
        }
        let order = self.call_order();
        for speech in speeches.iter_mut().filter(|speech| speech.role == Role::User) {
            // Results come first, and in the order of their calls: where there are no ids, that is all that tells
            // which call each answers.
            speech.parts.sort_by_key(|placed| match placed.part {
                Part::ToolResult(result) => {
                    (0, order.get(result.call_id.as_str()).copied().unwrap_or(usize::MAX))
                }
                Part::Text(_)
                | Part::Image(_)
                | Part::Audio(_)
                | Part::Document(_)
                | Part::ToolCall(_)
                | Part::CustomCall(_)
                | Part::Thinking(_)
                | Part::RedactedThinking(_)
                | Part::Refusal(_)
                | Part::Foreign(_) => (1, 0),
            });
        }
        Ok(speeches)
    }

    fn call_order(&self) -> BTreeMap<&str, usize> {
        let parts = self.request.turns.iter().flat_map(|turn| &turn.parts);
        let calls = parts.filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None });
        calls.enumerate().map(|(index, call)| (call.id.as_str(), index)).collect()
    }

    fn part(
        &self,
        part: &Part,
        path: &str,
        foreign: &mut ForeignFields<'_>,
        losses: &mut Losses,
    ) -> Result<Option<WirePart>, Inexpressible> {
        match part {
            Part::Text(text) => Ok(self::text(text, path, losses)),
            // Of a refusal only the words are left, which is what the model said.
            Part::Refusal(refusal) => {
                Ok(Some(refusal.as_str()).filter(|words| !words.is_empty()).map(WirePart::text))
            }
            Part::Image(Image { source, detail, cache }) => {
                if detail.is_some() {
                    losses.waive(format!("{path}.detail"));
                }
                if cache.is_some() {
                    losses.waive(format!("{path}.cache_control"));
                }
                self.medium(source, None, path, losses)
            }
            Part::Audio(Audio { source }) => self.medium(source, None, path, losses),
            Part::Document(document) => self.document(document, path, losses),
            Part::ToolCall(call) => self.call(call, path, losses).map(Some),
            Part::CustomCall(_) => losses.lose(path, NO_CUSTOM_TOOLS).map(|()| None),
            Part::ToolResult(result) if self.custom_calls.contains(result.call_id.as_str()) => {
                losses.lose(path, NO_CUSTOM_TOOLS).map(|()| None)
            }
            Part::ToolResult(result) => self.result(result, path, foreign, losses).map(Some),
            Part::Thinking(thinking) => Ok(self::thinking(thinking, path, losses)),
            // Only its provider can read it, and what it led to is there.
            Part::RedactedThinking(RedactedThinking { provider: _, data: _ }) => {
                losses.waive(path);
                Ok(None)
            }
            Part::Foreign(ForeignPart { dialect: Dialect::Gemini, kind, value }) => {
                // By way of text, since raw JSON can't be read out of a value.
                let part = serde_json::from_str::<WirePart>(&value.to_string());
                part.map(Some).map_err(|_| losses.refuse(path, format!("the `{kind}` part is broken")))
            }
            Part::Foreign(ForeignPart { dialect: _, kind, value: _ }) => {
                losses.lose(path, format!("Gemini has no `{kind}` part"))?;
                Ok(None)
            }
        }
    }

    fn medium(
        &self,
        source: &MediaSource,
        title: Option<&str>,
        path: &str,
        losses: &mut Losses,
    ) -> Result<Option<WirePart>, Inexpressible> {
        match media::write(source, title, self.service) {
            Ok(Written::Inline(blob)) => {
                Ok(Some(WirePart { inline_data: Some(blob), ..WirePart::default() }))
            }
            Ok(Written::File(file)) => Ok(Some(WirePart { file_data: Some(file), ..WirePart::default() })),
            Err(fix) => {
                losses.lose(path, fix)?;
                Ok(None)
            }
        }
    }

    fn document(
        &self,
        document: &Document,
        path: &str,
        losses: &mut Losses,
    ) -> Result<Option<WirePart>, Inexpressible> {
        let Document { source, title, context, citations, cache } = document;
        if title.is_some() && !self.service.takes_display_names() {
            losses.waive(format!("{path}.title"));
        }
        if context.is_some() {
            losses.lose(format!("{path}.context"), "write it as a text before the document")?;
        }
        if *citations == Some(true) {
            losses.lose(format!("{path}.citations"), "Gemini does not cite documents of the request")?;
        }
        if cache.is_some() {
            losses.waive(format!("{path}.cache_control"));
        }
        self.medium(source, title.as_deref(), path, losses)
    }

    fn call(&self, call: &ToolCall, path: &str, losses: &mut Losses) -> Result<WirePart, Inexpressible> {
        let ToolCall { id, name, arguments: _, signature, cache } = call;
        if cache.is_some() {
            losses.waive(format!("{path}.cache_control"));
        }
        let args = call.arguments_object().map_err(|why| losses.refuse(path, why))?;
        Ok(WirePart {
            function_call: Some(FunctionCall {
                id: Some(id.clone()).filter(|_| self.service.takes_call_ids()),
                name: Some(name.clone()),
                args: Some(args),
                ..FunctionCall::default()
            }),
            thought_signature: own_signature(signature.as_ref(), path, losses),
            ..WirePart::default()
        })
    }

    fn result(
        &self,
        answer: &ToolResult,
        path: &str,
        foreign: &mut ForeignFields<'_>,
        losses: &mut Losses,
    ) -> Result<WirePart, Inexpressible> {
        let ToolResult { call_id, name, parts, is_error, cache } = answer;
        if cache.is_some() {
            losses.waive(format!("{path}.cache_control"));
        }
        let named =
            name.as_deref().filter(|name| !name.is_empty()).or_else(|| self.request.tool_name(call_id));
        let name = named.ok_or_else(|| {
            losses.refuse(path, format!("send the call `{call_id}` too, since Gemini wants its name"))
        })?;
        let path = match losses.origin() {
            Dialect::Gemini => format!("{path}.functionResponse"),
            Dialect::Converse => format!("{path}.toolResult"),
            Dialect::OpenAiChat
            | Dialect::OpenAiCompletions
            | Dialect::OpenAiResponses
            | Dialect::Anthropic => path.to_owned(),
        };
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let path = match losses.origin() {
                Dialect::Gemini => format!("{path}.parts[{index}]"),
                Dialect::OpenAiChat
                | Dialect::OpenAiCompletions
                | Dialect::OpenAiResponses
                | Dialect::Anthropic
                | Dialect::Converse => format!("{path}.content[{index}]"),
            };
            let Some(WirePart {
                text, inline_data, file_data, function_call, function_response, extra, ..
            }) = self.part(part, &path, foreign, losses)?
            else {
                continue;
            };
            match text {
                Some(text) => texts.push(text),
                None if function_call.is_none() && function_response.is_none() => {
                    media.push(FunctionResponsePart { inline_data, file_data, extra });
                }
                None => losses.lose(path, "a result holds text and media only")?,
            }
        }
        let response = result::write(&texts.join("\n"), *is_error == Some(true))
            .map_err(|error| losses.refuse(&path, error.to_string()))?;
        Ok(WirePart {
            function_response: Some(FunctionResponse {
                id: Some(call_id.clone()).filter(|_| self.service.takes_call_ids()),
                name: Some(name.to_owned()),
                response: Some(response),
                parts: media,
                extra: foreign.take(&path),
            }),
            ..WirePart::default()
        })
    }

    /// Gemini 3 wants the first call of each step signed, or told that Gemini did not make it.
    fn mark_unsigned(&self, parts: &mut [WirePart]) {
        match self.generation {
            Generation::Levelled => {}
            Generation::Budgeted | Generation::Unknown => return,
        }
        let first = parts.iter_mut().find(|part| part.function_call.is_some());
        if let Some(first) = first.filter(|part| part.thought_signature.is_none()) {
            first.thought_signature = Some(UNSIGNED_CALL.to_owned());
        }
    }
}

fn text(text: &Text, path: &str, losses: &mut Losses) -> Option<WirePart> {
    let Text { text, citations, signature, cache } = text;
    // What an earlier answer rested on changes no later one.
    if !citations.is_empty() {
        losses.waive(format!("{path}.citations"));
    }
    if cache.is_some() {
        losses.waive(format!("{path}.cache_control"));
    }
    let thought_signature = own_signature(signature.as_ref(), path, losses);
    // An empty text is refused, unless it is there for its signature.
    if text.is_empty() && thought_signature.is_none() {
        return None;
    }
    Some(WirePart { thought_signature, ..WirePart::text(text) })
}

fn thinking(thinking: &Thinking, path: &str, losses: &mut Losses) -> Option<WirePart> {
    let Thinking { text, signature, id: _ } = thinking;
    let foreign = signature.as_ref().is_some_and(|signature| signature.provider != Provider::Gemini);
    let thought_signature = own_signature(signature.as_ref(), path, losses);
    // Another model's thinking goes as a whole: without its proof it is not even that model's.
    if foreign || (text.is_empty() && thought_signature.is_none()) {
        return None;
    }
    Some(WirePart { thought: Some(true), thought_signature, ..WirePart::text(text) })
}

/// Gemini's own signature. Another provider's is left out without being refused: a conversation goes on at another
/// provider, and what was asked is the same without.
fn own_signature(signature: Option<&Signature>, path: &str, losses: &mut Losses) -> Option<String> {
    match signature {
        None => None,
        Some(Signature { provider: Provider::Gemini, data }) => Some(data.clone()),
        Some(Signature { provider: Provider::OpenAi | Provider::Anthropic | Provider::Bedrock, data: _ }) => {
            losses.waive(format!("{path}.signature"));
            None
        }
    }
}
