//! Messages of a request, read.

use serde_json::Value;

use super::super::super::Extra;
use super::super::super::chat::{
    Content, ContentPart, File, ImageUrl, InputAudio, Message, Role as WireRole,
};
use super::super::shared::read_detail;
use super::super::view::{join, take, take_cache_mark};
use super::{annotations, calls, reasoning};
use crate::canonical::{
    Audio, Dialect, Document, ForeignField, ForeignPart, Image, Instruction, InstructionRole, MediaSource,
    Part, Provider, Request, Role, Text, ToolResult, Turn, Unreadable, keep_foreign, seal,
};

/// Fields of the model's messages that mean something: content that can't be translated, and the wish that the model
/// goes on with the message.
const WISHES: [&str; 4] = ["audio", "function_call", "prefix", "partial"];

/// Reads all messages into `request`. Instructions that come first are its system; the others are turns.
pub(super) fn read(messages: Vec<Message>, request: &mut Request) -> Result<(), Unreadable> {
    for (place, message) in (0u32..).zip(messages) {
        let path = format!("messages[{place}]");
        let Message { role, content, name, mut extra } = message;
        let (role, parts) = match role {
            WireRole::System | WireRole::Developer => {
                let role = instruction_role(role);
                let parts = parts(content, &path, &mut request.foreign)?;
                if request.turns.is_empty() && name.is_none() {
                    let texts = texts(parts, &path)?;
                    request.system.push(Instruction { role, texts });
                    keep_foreign(&path, extra, &mut request.foreign);
                    continue;
                }
                let role = match role {
                    InstructionRole::System => Role::System,
                    InstructionRole::Developer => Role::Developer,
                };
                (role, parts)
            }
            WireRole::User => (Role::User, parts(content, &path, &mut request.foreign)?),
            WireRole::Assistant => {
                let parts = assistant(content, &mut extra, &path, &mut request.remarks)?;
                let (wishes, said) = extra.into_iter().partition(|(name, _)| WISHES.contains(&name.as_str()));
                keep_foreign(&path, said, &mut request.remarks);
                extra = wishes;
                (Role::Assistant, parts)
            }
            WireRole::Tool => {
                let said = parts(content, &path, &mut request.foreign)?;
                (Role::User, vec![tool_result(said, &mut extra, &path)?])
            }
        };
        keep_foreign(&path, extra, &mut request.foreign);
        request.turns.push(Turn { role, parts, name, place });
    }
    Ok(())
}

fn instruction_role(role: WireRole) -> InstructionRole {
    match role {
        WireRole::Developer => InstructionRole::Developer,
        WireRole::System | WireRole::User | WireRole::Assistant | WireRole::Tool => InstructionRole::System,
    }
}

fn texts(parts: Vec<Part>, path: &str) -> Result<Vec<Text>, Unreadable> {
    let text = |(index, part)| match part {
        Part::Text(text) => Ok(text),
        other => {
            let problem = format!("is a part of type {}; instructions are text", Part::kind(&other));
            Err(Unreadable::new(format!("{path}.content[{index}]"), problem))
        }
    };
    parts.into_iter().enumerate().map(text).collect()
}

fn assistant(
    content: Option<Content>,
    extra: &mut Extra,
    path: &str,
    foreign: &mut Vec<ForeignField>,
) -> Result<Vec<Part>, Unreadable> {
    // Clients send an answer back as they got it, and there a text that only accompanies calls is empty.
    let content = content.filter(|content| *content != Content::Text(String::new()));
    let mut parts = parts(content, path, foreign)?;
    annotations::attach(annotations::take_annotations(extra, path)?, &mut parts);
    parts.extend(take(extra, path, "refusal")?.map(Part::Refusal));
    let reasoning = reasoning::take_reasoning(extra, path)?;
    parts.extend(calls::take_calls(extra, path, None, foreign)?);
    reasoning.place(&mut parts);
    Ok(parts)
}

fn tool_result(parts: Vec<Part>, extra: &mut Extra, path: &str) -> Result<Part, Unreadable> {
    let id: Option<String> = take(extra, path, "tool_call_id")?;
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| {
        Unreadable::new(join(path, "tool_call_id"), "is missing: give the id of the call that this answers")
    })?;
    let (call_id, _) = seal::open_call_id(&id);
    Ok(Part::ToolResult(ToolResult { call_id, parts, ..ToolResult::default() }))
}

fn parts(
    content: Option<Content>,
    path: &str,
    foreign: &mut Vec<ForeignField>,
) -> Result<Vec<Part>, Unreadable> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Content::Parts(given)) => {
            let one = |(index, given)| part(given, &format!("{path}.content[{index}]"), foreign);
            given.into_iter().enumerate().map(one).collect()
        }
    }
}

fn part(given: ContentPart, path: &str, foreign: &mut Vec<ForeignField>) -> Result<Part, Unreadable> {
    let ContentPart { kind, text, mut extra } = given;
    let missing = |name: &str| Unreadable::new(join(path, name), "is missing");
    let part = match kind.as_str() {
        "text" => {
            let text = text.ok_or_else(|| missing("text"))?;
            Part::Text(Text { cache: take_cache_mark(&mut extra, path)?, ..Text::new(text) })
        }
        "refusal" => Part::Refusal(take(&mut extra, path, "refusal")?.ok_or_else(|| missing("refusal"))?),
        "image_url" => {
            let image = take(&mut extra, path, "image_url")?.ok_or_else(|| missing("image_url"))?;
            let mut image = image_part(image, &join(path, "image_url"), foreign)?;
            image.cache = take_cache_mark(&mut extra, path)?;
            Part::Image(image)
        }
        "input_audio" => {
            let InputAudio { data, format, extra: inner } =
                take(&mut extra, path, "input_audio")?.ok_or_else(|| missing("input_audio"))?;
            keep_foreign(&join(path, "input_audio"), inner, foreign);
            let media_type = format!("audio/{}", if format == "mp3" { "mpeg" } else { &format });
            Part::Audio(Audio { source: MediaSource::Inline { media_type, data } })
        }
        "file" => {
            let file = take(&mut extra, path, "file")?.ok_or_else(|| missing("file"))?;
            Part::Document(document(file, &join(path, "file"), foreign)?)
        }
        _ => {
            let mut value = Extra::new();
            value.insert("type".into(), Value::String(kind.clone()));
            value.extend(text.map(|text| ("text".to_owned(), Value::String(text))));
            value.extend(std::mem::take(&mut extra));
            Part::Foreign(ForeignPart { dialect: Dialect::OpenAiChat, kind, value: Value::Object(value) })
        }
    };
    keep_foreign(path, extra, foreign);
    Ok(part)
}

fn image_part(image: ImageUrl, path: &str, foreign: &mut Vec<ForeignField>) -> Result<Image, Unreadable> {
    let ImageUrl { url, detail: word, mut extra } = image;
    let source = MediaSource::from_url(&url).map_err(|why| Unreadable::new(join(path, "url"), why))?;
    let detail = word.as_deref().and_then(read_detail);
    if let (None, Some(word)) = (detail, word) {
        extra.insert("detail".into(), Value::String(word));
    }
    keep_foreign(path, extra, foreign);
    Ok(Image { source, detail, cache: None })
}

fn document(file: File, path: &str, foreign: &mut Vec<ForeignField>) -> Result<Document, Unreadable> {
    let File { file_data, file_id, filename, extra } = file;
    keep_foreign(path, extra, foreign);
    let source = match (file_data, file_id) {
        (Some(data), None) => {
            MediaSource::from_url(&data).map_err(|why| Unreadable::new(join(path, "file_data"), why))?
        }
        (None, Some(id)) => MediaSource::File { provider: Provider::OpenAi, id },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Unreadable::new(path, "must hold either `file_data` or `file_id`"));
        }
    };
    Ok(Document { source, title: filename, context: None, citations: None, cache: None })
}
