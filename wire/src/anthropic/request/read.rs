//! Reading a client's request.

use super::{Content, MessagesRequest, Metadata, OutputConfig, SystemBlock};
use crate::anthropic::block::Block;
use crate::anthropic::part::{PartReader, Sender};
use crate::anthropic::{CacheControl, thinking, tool};
use crate::canonical::{
    CacheMark, Dialect, Extra, ForeignField, Instruction, InstructionRole, Part, Request, Role, Sampling,
    Text, Turn, Unreadable, keep_foreign,
};

/// Reads a request.
///
/// # Errors
/// Names the field that makes no sense, or that is missing.
pub fn to_canonical(request: MessagesRequest) -> Result<Request, Unreadable> {
    if request.max_tokens.is_none() {
        return Err(Unreadable::new("max_tokens", "say how many tokens the answer may have at most"));
    }
    conversation_to_canonical(request)
}

/// Reads a request that need not say `max_tokens`.
pub(in crate::anthropic) fn conversation_to_canonical(
    request: MessagesRequest,
) -> Result<Request, Unreadable> {
    let MessagesRequest {
        model,
        messages,
        system,
        max_tokens,
        metadata,
        stop_sequences,
        stream,
        temperature,
        top_k,
        top_p,
        tools,
        tool_choice,
        thinking,
        output_config,
        output_format,
        extra: mut unknown,
    } = request;
    let mut canonical = Request::new(Dialect::Anthropic, model);
    let mut foreign = Vec::new();
    let whole_prompt = take_cache_control(&mut unknown);
    keep_foreign("", unknown, &mut foreign);

    canonical.system.extend(system.map(|system| read_system(system, &mut foreign)).transpose()?);
    read_messages(messages, &mut canonical, &mut foreign)?;
    if let Some(mark) = whole_prompt {
        mark_last(&mut canonical, mark);
    }
    for (index, tool) in tools.unwrap_or_default().into_iter().enumerate() {
        canonical.tools.push(tool::tool_to_canonical(tool, index, &mut foreign)?);
    }
    if let Some(choice) = tool_choice {
        let (choice, parallel) = tool::choice_to_canonical(choice, &mut foreign)?;
        canonical.tool_choice = Some(choice);
        canonical.parallel_tool_calls = parallel;
    }
    let OutputConfig { effort, format, extra } = output_config.unwrap_or_default();
    keep_foreign("output_config", extra, &mut foreign);
    canonical.thinking = thinking::thinking_to_canonical(thinking, effort, &mut foreign)?;
    canonical.output_format = thinking::format_to_canonical(format, output_format, &mut foreign)?;
    let Metadata { user_id, extra } = metadata.unwrap_or_default();
    keep_foreign("metadata", extra, &mut foreign);
    canonical.user = user_id;
    canonical.sampling = Sampling {
        max_output_tokens: max_tokens,
        temperature,
        top_p,
        top_k,
        stop: stop_sequences.unwrap_or_default(),
        ..Sampling::default()
    };
    canonical.stream = stream.unwrap_or_default();
    canonical.include_usage = true;
    canonical.foreign = foreign;
    Ok(canonical)
}

fn read_system(
    system: Content<SystemBlock>,
    foreign: &mut Vec<ForeignField>,
) -> Result<Instruction, Unreadable> {
    let texts = match system {
        Content::Text(text) => vec![Text::new(text)],
        Content::Blocks(blocks) => {
            let mut reader = PartReader { sender: Sender::Client, foreign };
            let mut texts = Vec::with_capacity(blocks.len());
            for (index, SystemBlock { kind, block }) in blocks.into_iter().enumerate() {
                if kind != "text" {
                    return Err(Unreadable::new(format!("system[{index}].type"), "instructions are `text`"));
                }
                texts.push(reader.text(block, &format!("system[{index}]")));
            }
            texts
        }
    };
    Ok(Instruction { role: InstructionRole::System, texts })
}

fn read_messages(
    messages: Vec<super::Message>,
    request: &mut Request,
    foreign: &mut Vec<ForeignField>,
) -> Result<(), Unreadable> {
    for (place, super::Message { role, content, extra }) in (0u32..).zip(messages) {
        let path = format!("messages[{place}]");
        let role = match role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => {
                return Err(Unreadable::new(format!("{path}.role"), "it is `user`, `assistant` or `system`"));
            }
        };
        let unknown = if role == Role::Assistant { &mut request.remarks } else { &mut *foreign };
        keep_foreign(&path, extra, unknown);
        let mut reader = PartReader { sender: Sender::Client, foreign: unknown };
        let content_path = format!("{path}.content");
        if role == Role::System {
            check_instructions(&content, &content_path)?;
        }
        let parts = reader.content(content, &content_path)?;
        if role == Role::System && request.turns.is_empty() {
            let texts = parts.into_iter().filter_map(|part| match part {
                Part::Text(text) => Some(text),
                _ => None,
            });
            let instruction = Instruction { role: InstructionRole::System, texts: texts.collect() };
            request.system.push(instruction);
        } else {
            request.turns.push(Turn { role, parts, name: None, place });
        }
    }
    Ok(())
}

fn check_instructions(content: &Content<Block>, path: &str) -> Result<(), Unreadable> {
    use crate::anthropic::block::PlainBlock;
    let Content::Blocks(blocks) = content else { return Ok(()) };
    let is_text = |block: &Block| matches!(block, Block::Plain(PlainBlock::Text(_)));
    match blocks.iter().position(|block| !is_text(block)) {
        None => Ok(()),
        Some(index) => {
            Err(Unreadable::new(format!("{path}[{index}].type"), "a `system` message holds `text` only"))
        }
    }
}

/// `cache_control` of the whole request stands for a mark on the last block that can have one.
fn take_cache_control(unknown: &mut Extra) -> Option<CacheMark> {
    let value = unknown.shift_remove("cache_control")?;
    serde_json::from_value::<CacheControl>(value).ok().map(|control| control.to_mark())
}

fn mark_last(request: &mut Request, mark: CacheMark) {
    let parts = request.turns.iter_mut().rev().flat_map(|turn| turn.parts.iter_mut().rev());
    let slot = parts.into_iter().find_map(|part| match part {
        Part::Text(text) => Some(&mut text.cache),
        Part::Image(image) => Some(&mut image.cache),
        Part::Document(document) => Some(&mut document.cache),
        Part::ToolCall(call) => Some(&mut call.cache),
        Part::ToolResult(result) => Some(&mut result.cache),
        Part::Audio(_)
        | Part::CustomCall(_)
        | Part::Thinking(_)
        | Part::RedactedThinking(_)
        | Part::Refusal(_)
        | Part::Foreign(_) => None,
    });
    if let Some(slot) = slot {
        slot.get_or_insert(mark);
    }
}
