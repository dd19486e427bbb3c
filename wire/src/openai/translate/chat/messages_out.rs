//! Messages of a request, written for an upstream. Calls go by the ids that their provider knows.

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::chat::{Content, ContentPart, Message, Role as WireRole};
use super::super::Server;
use super::super::shared::detail_word;
use super::calls;
use crate::canonical::{
    Audio, Dialect, Document, Image, Inexpressible, Instruction, InstructionRole, Joined, Losses,
    MediaSource, Part, Place, Provider, RedactedThinking, Role, Text, Thinking, ToolCall, ToolResult,
};

/// Writes the instructions and the conversation.
pub(super) fn write(
    system: &[Instruction],
    turns: &[Joined<'_>],
    server: Server,
    losses: &mut Losses,
) -> Result<Vec<Message>, Inexpressible> {
    let mut messages = Vec::with_capacity(system.len() + turns.len());
    for Instruction { role, texts } in system {
        let role = match role {
            InstructionRole::System => WireRole::System,
            InstructionRole::Developer => developer(server),
        };
        let place = Place::System.path(losses.origin());
        let parts = texts.iter().map(|text| text_part(text, &place, losses)).collect();
        messages.push(message(role, content(parts), None));
    }
    for turn in turns {
        let writer = TurnWriter { turn, server, losses: &mut *losses };
        match turn.role {
            Role::User => writer.user(&mut messages)?,
            Role::Assistant => messages.push(writer.assistant()?),
            Role::System => messages.push(writer.instruction(WireRole::System)?),
            Role::Developer => messages.push(writer.instruction(developer(server))?),
        }
    }
    Ok(messages)
}

/// OpenAI's newer word for instructions, which the chat templates of other servers' models don't know.
fn developer(server: Server) -> WireRole {
    match server {
        Server::OpenAi => WireRole::Developer,
        Server::Compatible => WireRole::System,
    }
}

struct TurnWriter<'a> {
    turn: &'a Joined<'a>,
    server: Server,
    losses: &'a mut Losses,
}

impl TurnWriter<'_> {
    /// A tool's result is a message of its own; what stands between results is a user's.
    fn user(mut self, messages: &mut Vec<Message>) -> Result<(), Inexpressible> {
        let turn = self.turn;
        let mut said = Vec::new();
        let before = messages.len();
        for (place, part) in &turn.parts {
            let Part::ToolResult(result) = part else {
                said.extend(self.said(part, *place)?);
                continue;
            };
            if !said.is_empty() {
                messages.push(message(WireRole::User, content(std::mem::take(&mut said)), self.name()));
            }
            messages.push(self.tool(result, *place)?);
        }
        if !said.is_empty() || messages.len() == before {
            messages.push(message(WireRole::User, content(said), self.name()));
        }
        Ok(())
    }

    fn tool(&mut self, result: &ToolResult, place: Place) -> Result<Message, Inexpressible> {
        let ToolResult { call_id, name: _, parts, is_error, cache } = result;
        let path = self.path(place);
        self.cache(cache.is_some(), &path);
        // The result's text says that it is an error; there is no flag for it.
        if *is_error == Some(true) {
            self.losses.waive(format!("{path}.is_error"));
        }
        let mut texts = Vec::with_capacity(parts.len());
        for (inner, part) in parts.iter().enumerate() {
            let path = format!("{path}.content[{inner}]");
            match part {
                Part::Text(text) => texts.push(text_part(text, &path, self.losses)),
                _ => self
                    .losses
                    .lose(path, "a tool can only answer in text there: send it in a user's message")?,
            }
        }
        let mut tool = message(WireRole::Tool, content(texts), self.name());
        tool.extra.insert("tool_call_id".into(), json!(call_id));
        Ok(tool)
    }

    fn instruction(mut self, role: WireRole) -> Result<Message, Inexpressible> {
        let mut parts = Vec::new();
        for (place, part) in &self.turn.parts {
            parts.extend(self.said(part, *place)?);
        }
        Ok(message(role, content(parts), self.name()))
    }

    /// Text, refusal and calls have each their field, so the order between them is OpenAI's.
    fn assistant(mut self) -> Result<Message, Inexpressible> {
        let (mut parts, mut tool_calls, mut reasoning) = (Vec::new(), Vec::new(), String::new());
        for (place, part) in &self.turn.parts {
            match part {
                Part::ToolCall(call) => tool_calls.push(self.call(call, *place)),
                Part::CustomCall(call) => tool_calls.push(calls::custom_entry(call)),
                Part::Thinking(Thinking { text, signature: _, id: _ }) => match self.server {
                    // Signatures mean nothing to a server that gives none.
                    Server::Compatible => reasoning.push_str(text),
                    // It takes none back, and what it led to is there.
                    Server::OpenAi => self.losses.waive(place.path(self.losses.origin())),
                },
                Part::RedactedThinking(RedactedThinking { .. }) => {
                    self.losses.waive(place.path(self.losses.origin()));
                }
                Part::Foreign(foreign)
                    if foreign.dialect == Dialect::OpenAiChat && foreign.value.get("id").is_some() =>
                {
                    tool_calls.push(foreign.value.clone());
                }
                part => parts.extend(self.said(part, *place)?),
            }
        }
        let mut extra = Extra::new();
        if !reasoning.is_empty() {
            extra.insert("reasoning_content".into(), json!(reasoning));
        }
        if !tool_calls.is_empty() {
            extra.insert("tool_calls".into(), Value::Array(tool_calls));
        }
        let said = if parts.is_empty() && !extra.is_empty() { None } else { content(parts) };
        Ok(Message { extra, ..message(WireRole::Assistant, said, self.name()) })
    }

    fn call(&mut self, call: &ToolCall, place: Place) -> Value {
        let path = self.path(place);
        self.cache(call.cache.is_some(), &path);
        if call.signature.is_some() {
            self.losses.waive(format!("{path}.signature"));
        }
        calls::entry(call, &call.id)
    }

    /// A part that stands in `content`; `None` where it is dropped.
    fn said(&mut self, part: &Part, place: Place) -> Result<Option<ContentPart>, Inexpressible> {
        let path = self.path(place);
        let part = match part {
            // A text that was only there for its signature says nothing.
            Part::Text(Text { text, citations: _, signature: Some(_), cache: _ }) if text.is_empty() => {
                self.losses.waive(format!("{path}.signature"));
                return Ok(None);
            }
            Part::Text(text) => text_part(text, &path, self.losses),
            Part::Refusal(refusal) => with("refusal", "refusal", json!(refusal)),
            Part::Image(image) => match self.image(image, &path) {
                Some(part) => part,
                None => return self.dropped(place, "send the image as a `data:` URL"),
            },
            Part::Audio(Audio { source }) => match audio(source) {
                Some(part) => part,
                None => return self.dropped(place, "send the sound in the message, as wav or mp3"),
            },
            Part::Document(document) => return self.document(document, place),
            Part::Foreign(foreign) if foreign.dialect == Dialect::OpenAiChat => {
                match serde_json::from_value(foreign.value.clone()) {
                    Ok(part) => part,
                    Err(_) => return self.dropped(place, "leave the part out"),
                }
            }
            Part::Foreign(_) => return self.dropped(place, "leave the part out"),
            Part::Thinking(_) | Part::RedactedThinking(_) => {
                return self.dropped(place, "thinking stands in the model's messages only");
            }
            Part::ToolCall(_) | Part::CustomCall(_) => {
                return self.dropped(place, "calls stand in the model's messages only");
            }
            Part::ToolResult(_) => return self.dropped(place, "results stand in the user's messages only"),
        };
        Ok(Some(part))
    }

    fn image(&mut self, image: &Image, path: &str) -> Option<ContentPart> {
        let Image { source, detail, cache } = image;
        let mut inner = Extra::new();
        inner.insert("url".into(), json!(source.to_url()?));
        inner.extend(detail.map(|detail| ("detail".to_owned(), json!(detail_word(detail)))));
        self.cache(cache.is_some(), path);
        Some(with("image_url", "image_url", Value::Object(inner)))
    }

    fn document(&mut self, document: &Document, place: Place) -> Result<Option<ContentPart>, Inexpressible> {
        let Document { source, title, context, citations, cache } = document;
        let path = self.path(place);
        if context.is_some() {
            self.losses.lose(format!("{path}.context"), "say it in a text beside the document")?;
        }
        if *citations == Some(true) {
            self.losses.lose(format!("{path}.citations"), "documents can't be cited there: leave it out")?;
        }
        self.cache(cache.is_some(), &path);
        let mut inner = Extra::new();
        match source {
            MediaSource::Inline { .. } => inner.insert("file_data".into(), json!(source.to_url())),
            MediaSource::File { provider: Provider::OpenAi, id } => inner.insert("file_id".into(), json!(id)),
            // A plain text needs no file.
            MediaSource::Text(text) => return Ok(Some(text_part(&Text::new(text), &path, self.losses))),
            MediaSource::File { .. } | MediaSource::Url(_) => {
                return self.dropped(place, "send the document in the message, in base64");
            }
        };
        inner.extend(title.as_ref().map(|title| ("filename".to_owned(), json!(title))));
        Ok(Some(with("file", "file", Value::Object(inner))))
    }

    fn dropped(&mut self, place: Place, fix: &'static str) -> Result<Option<ContentPart>, Inexpressible> {
        self.lose(place, fix).map(|()| None)
    }

    fn lose(&mut self, place: Place, fix: &'static str) -> Result<(), Inexpressible> {
        let path = self.path(place);
        self.losses.lose(path, fix)
    }

    fn cache(&mut self, marked: bool, path: &str) {
        if marked {
            self.losses.waive(format!("{path}.cache_control"));
        }
    }

    fn name(&self) -> Option<String> {
        self.turn.name.map(str::to_owned)
    }

    fn path(&self, place: Place) -> String {
        place.path(self.losses.origin())
    }
}

fn message(role: WireRole, content: Option<Content>, name: Option<String>) -> Message {
    Message { role, content, name, extra: Extra::new() }
}

/// One text is said as a string, as most clients and all servers do.
fn content(mut parts: Vec<ContentPart>) -> Option<Content> {
    match parts.as_mut_slice() {
        [] => Some(Content::Text(String::new())),
        [ContentPart { kind, text: Some(text), extra }] if kind == "text" && extra.is_empty() => {
            Some(Content::Text(std::mem::take(text)))
        }
        _ => Some(Content::Parts(parts)),
    }
}

fn text_part(text: &Text, path: &str, losses: &mut Losses) -> ContentPart {
    // Citations and signatures of an earlier answer are not asked back by any server of this dialect.
    let Text { text, citations: _, signature, cache } = text;
    if signature.is_some() {
        losses.waive(format!("{path}.signature"));
    }
    if cache.is_some() {
        losses.waive(format!("{path}.cache_control"));
    }
    ContentPart { kind: "text".to_owned(), text: Some(text.clone()), extra: Extra::new() }
}

fn audio(source: &MediaSource) -> Option<ContentPart> {
    let MediaSource::Inline { media_type, data } = source else { return None };
    let format = match media_type.strip_prefix("audio/")? {
        "mpeg" | "mp3" => "mp3",
        "x-wav" => "wav",
        other => other,
    };
    Some(with("input_audio", "input_audio", json!({"data": data, "format": format})))
}

fn with(kind: &str, name: &str, value: Value) -> ContentPart {
    ContentPart { kind: kind.to_owned(), text: None, extra: Extra::from_iter([(name.to_owned(), value)]) }
}
