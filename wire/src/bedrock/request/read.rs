//! Reading a client's request.

use super::{ConverseRequest, InferenceConfig, Message, SystemBlock};
use crate::bedrock::part::{PartReader, Sender, mark};
use crate::bedrock::{output, tool};
use crate::canonical::{
    Dialect, ForeignField, Instruction, InstructionRole, Part, Request, Role, Sampling, Text, Turn,
    Unreadable, keep_foreign,
};

/// Reads a request for `model`.
///
/// # Errors
/// Names the field that makes no sense, or that is missing.
pub fn to_canonical(request: ConverseRequest, model: &str, stream: bool) -> Result<Request, Unreadable> {
    let ConverseRequest {
        messages,
        system,
        inference_config,
        tool_config,
        output_config,
        request_metadata,
        extra,
    } = request;
    let mut canonical = Request::new(Dialect::Converse, model);
    let mut foreign = Vec::new();
    keep_foreign("", extra, &mut foreign);
    canonical.system.extend(read_system(system, &mut foreign)?);
    read_messages(messages, &mut canonical, &mut foreign)?;
    if let Some(config) = tool_config {
        tool::to_canonical(config, &mut canonical, &mut foreign)?;
    }
    if let Some(config) = output_config {
        let output::Wishes { format, thinking } = output::to_canonical(config, &mut foreign)?;
        (canonical.output_format, canonical.thinking) = (format, thinking);
    }
    let InferenceConfig { max_tokens, temperature, top_p, stop_sequences, extra } =
        inference_config.unwrap_or_default();
    keep_foreign("inferenceConfig", extra, &mut foreign);
    canonical.sampling = Sampling {
        max_output_tokens: max_tokens,
        temperature,
        top_p,
        stop: stop_sequences,
        ..Sampling::default()
    };
    canonical.metadata = request_metadata;
    canonical.stream = stream;
    canonical.include_usage = true;
    canonical.foreign = foreign;
    Ok(canonical)
}

fn read_system(
    blocks: Vec<SystemBlock>,
    foreign: &mut Vec<ForeignField>,
) -> Result<Option<Instruction>, Unreadable> {
    let mut texts: Vec<Text> = Vec::with_capacity(blocks.len());
    for (index, SystemBlock { text, cache_point, extra }) in blocks.into_iter().enumerate() {
        let path = format!("system[{index}]");
        match (text, cache_point) {
            (Some(text), None) => texts.push(Text::new(text)),
            (None, Some(point)) => {
                if let Some(last) = texts.last_mut() {
                    last.cache.get_or_insert(mark(&point));
                }
            }
            // What only Bedrock has, such as `guardContent`, is kept below.
            (None, None) if !extra.is_empty() => {}
            (None, None) | (Some(_), Some(_)) => {
                return Err(Unreadable::new(path, "it has one field: `text` or `cachePoint`"));
            }
        }
        keep_foreign(&path, extra, foreign);
    }
    Ok((!texts.is_empty()).then_some(Instruction { role: InstructionRole::System, texts }))
}

fn read_messages(
    messages: Vec<Message>,
    request: &mut Request,
    foreign: &mut Vec<ForeignField>,
) -> Result<(), Unreadable> {
    if messages.is_empty() {
        return Err(Unreadable::new("messages", "give at least one message"));
    }
    for (place, Message { role, content, extra }) in (0u32..).zip(messages) {
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
        let parts = reader.content(content, &format!("{path}.content"))?;
        if role == Role::System && !parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Err(Unreadable::new(format!("{path}.content"), "a `system` message holds `text` only"));
        }
        request.turns.push(Turn { role, parts, name: None, place });
    }
    Ok(())
}
