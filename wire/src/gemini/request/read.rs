//! A client's request into the canonical one.

use super::super::content::Content;
use super::super::part::read_plain;
use super::turns::Conversation;
use super::{GenerateContentRequest, config, tools};
use crate::canonical::{
    Dialect, ForeignField, Instruction, InstructionRole, Part, Request, Text, Unreadable, keep_foreign,
};

/// Reads a request; `model` and `stream` are what its path says ([`super::super::parse_path`]).
///
/// # Errors
/// Names the field that makes no sense.
pub fn to_canonical(wire: GenerateContentRequest, model: &str, stream: bool) -> Result<Request, Unreadable> {
    let GenerateContentRequest {
        // The path's word is the one that was routed and allowed.
        model: _,
        system_instruction,
        contents,
        tools,
        tool_config,
        generation_config,
        labels,
        safety_settings,
        cached_content,
        extra,
    } = wire;
    let mut request = Request::new(Dialect::Gemini, model);
    request.stream = stream;
    request.include_usage = stream;
    if contents.is_empty() {
        let problem = "is missing: give the conversation, such as [{\"role\": \"user\", \"parts\": [{\"text\": \"Hello\"}]}]";
        return Err(Unreadable::new("contents", problem));
    }
    if let Some(content) = system_instruction {
        request.system.extend(read_instruction(content, &mut request.foreign)?);
    }
    let mut conversation = Conversation::new();
    for (place, content) in (0u32..).zip(contents) {
        conversation.read(place, content)?;
    }
    conversation.finish(&mut request);
    request.tools = tools::read(tools, &mut request.foreign)?;
    if let Some(config) = tool_config {
        request.tool_choice = tools::read_choice(config, &mut request.tools, &mut request.foreign)?;
    }
    if let Some(config) = generation_config {
        config::read(config, &mut request)?;
    }
    request.metadata = labels.unwrap_or_default();
    let mut top = extra;
    for (name, value) in
        [("safetySettings", safety_settings), ("cachedContent", cached_content.map(Into::into))]
    {
        if let Some(value) = value {
            top.insert(name.to_owned(), value);
        }
    }
    keep_foreign("", top, &mut request.foreign);
    Ok(request)
}

fn read_instruction(
    content: Content,
    foreign: &mut Vec<ForeignField>,
) -> Result<Option<Instruction>, Unreadable> {
    // Its role says nothing: some clients write `system`, some `user`.
    let Content { role: _, parts, extra } = content;
    keep_foreign("systemInstruction", extra, foreign);
    let mut texts = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let path = format!("systemInstruction.parts[{index}]");
        match read_plain(part, &path, foreign) {
            Some(Part::Text(text)) => texts.push(text),
            None => {}
            Some(
                Part::Image(_)
                | Part::Audio(_)
                | Part::Document(_)
                | Part::ToolCall(_)
                | Part::CustomCall(_)
                | Part::ToolResult(_)
                | Part::Thinking(_)
                | Part::RedactedThinking(_)
                | Part::Refusal(_)
                | Part::Foreign(_),
            ) => return Err(Unreadable::new(path, "instructions are text")),
        }
    }
    let said = texts.iter().any(|Text { text, .. }| !text.is_empty());
    Ok(said.then_some(Instruction { role: InstructionRole::System, texts }))
}
