//! Writing a request for Bedrock.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConverseRequest, InferenceConfig, Message, SystemBlock};
use crate::bedrock::content::ContentBlock;
use crate::bedrock::part::{NO_CUSTOM_TOOLS, PartWriter, Receiver, cache_point};
use crate::bedrock::{ModelProfile, output, tool};
use crate::canonical::{
    Dialect, Extra, Field, Inexpressible, Instruction, Joining, Losses, Part, Place, Request, Role, Sampling,
    Text, Translated, Turn, Unsupported,
};

/// Writes a request for the model that it names. The model itself and the wish for a stream go into the path. Neighbours of one
/// role become one message, and in a user's message the tool results come first.
///
/// # Errors
/// Names what Bedrock can't say, unless `policy` drops it; and, whatever the caller said, what no request can be made of, such as
/// a call whose arguments are no object.
pub fn from_canonical(
    request: &Request,
    policy: Unsupported,
) -> Result<Translated<ConverseRequest>, Inexpressible> {
    let mut losses = Losses::new(policy, request.origin, Dialect::Converse);
    let Request {
        origin,
        model,
        system,
        turns: _,
        // Read by `tool::from_canonical`.
        tools: _,
        tool_choice: _,
        parallel_tool_calls,
        sampling,
        choices,
        logprobs,
        output_format,
        thinking,
        verbosity,
        stream: _,
        // Its streams always end with it.
        include_usage: _,
        user,
        metadata,
        foreign,
        remarks,
    } = request;
    let profile = ModelProfile::of(model);
    let messages = write_turns(request, profile, &mut losses)?;
    let tool_config = tool::from_canonical(request, profile, &mut losses)?;
    if messages.is_empty() {
        let fix = "Bedrock needs a message to answer besides its instructions";
        return Err(losses.refuse(Place::Message(0).path(*origin), fix));
    }
    let lost = [
        (Field::Choices, choices.is_some_and(|choices| choices > 1)),
        (Field::Logprobs, logprobs.is_some()),
        (Field::Verbosity, verbosity.is_some()),
        (Field::ParallelToolCalls, *parallel_tool_calls == Some(false)),
    ];
    for (field, _) in lost.into_iter().filter(|(_, said)| *said) {
        losses.lose(field.name(*origin), "Bedrock has no such thing: leave it out")?;
    }
    if user.is_some() {
        losses.waive(Field::User.name(*origin));
    }
    let request_metadata = labels(metadata).unwrap_or_else(|| {
        losses.waive(Field::Metadata.name(*origin));
        BTreeMap::new()
    });
    let message = ConverseRequest {
        messages,
        system: write_system(system, profile, &mut losses),
        inference_config: write_sampling(sampling, &mut losses)?,
        tool_config,
        output_config: output::from_canonical(output_format.as_ref(), *thinking, &mut losses)?,
        request_metadata,
        extra: losses.foreign(foreign, |origin, _| origin == Dialect::Converse)?,
    };
    losses.waive_all(remarks);
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// The labels, where Bedrock would take them all.
fn labels(metadata: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let takes = |c: char| c.is_ascii_alphanumeric() || c == ' ' || ":_@$#=/+,-.".contains(c);
    let small = |text: &str| text.chars().count() <= 256 && text.chars().all(takes);
    let all = metadata.len() <= 16
        && metadata.iter().all(|(name, value)| !name.is_empty() && small(name) && small(value));
    all.then(|| metadata.clone())
}

fn write_sampling(
    sampling: &Sampling,
    losses: &mut Losses,
) -> Result<Option<InferenceConfig>, Inexpressible> {
    let Sampling {
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        stop,
        presence_penalty,
        frequency_penalty,
    } = sampling;
    let origin = losses.origin();
    // Each at the value that changes nothing is as good as absent.
    let said = |value: &Option<f32>| value.is_some_and(|value| value != 0.0);
    let lost = [
        (Field::TopK, top_k.is_some()),
        (Field::Seed, seed.is_some()),
        (Field::PresencePenalty, said(presence_penalty)),
        (Field::FrequencyPenalty, said(frequency_penalty)),
    ];
    for (field, _) in lost.into_iter().filter(|(_, said)| *said) {
        losses.lose(field.name(origin), "Bedrock has no such thing for all models: leave it out")?;
    }
    let mut temperature = *temperature;
    if temperature.take_if(|temperature| *temperature > 1.0).is_some() {
        losses.lose(Field::Temperature.name(origin), "Bedrock takes up to 1")?;
    }
    let (kept, empty): (Vec<&String>, Vec<&String>) = stop.iter().partition(|stop| !stop.is_empty());
    if !empty.is_empty() {
        losses.lose(Field::Stop.name(origin), "each must have a character")?;
    }
    let config = InferenceConfig {
        max_tokens: *max_output_tokens,
        temperature,
        top_p: *top_p,
        stop_sequences: kept.into_iter().cloned().collect(),
        extra: Extra::new(),
    };
    Ok((config != InferenceConfig::default()).then_some(config))
}

fn write_system(system: &[Instruction], profile: ModelProfile, losses: &mut Losses) -> Vec<SystemBlock> {
    let path = Place::System.path(losses.origin());
    let mut blocks = Vec::new();
    // Bedrock has one word for OpenAI's two, and reads the texts in their order.
    for Instruction { role: _, texts } in system {
        for Text { text, citations: _, signature: _, cache } in texts {
            // A blank one is refused, and says nothing.
            if text.trim().is_empty() {
                continue;
            }
            blocks.push(SystemBlock { text: Some(text.clone()), ..SystemBlock::default() });
            let point = cache_point(*cache, profile, &path, losses);
            let point = point.map(|point| SystemBlock { cache_point: Some(point), ..SystemBlock::default() });
            blocks.extend(point);
        }
    }
    blocks
}

fn write_turns(
    request: &Request,
    profile: ModelProfile,
    losses: &mut Losses,
) -> Result<Vec<Message>, Inexpressible> {
    let origin = losses.origin();
    let custom_calls: BTreeSet<&str> = request.custom_calls();
    for Turn { role: _, parts: _, name, place } in &request.turns {
        if name.is_some() {
            let message = Place::Message(*place).path(origin);
            losses.lose(format!("{message}.name"), "Bedrock does not tell speakers apart: leave it out")?;
        }
    }
    let mut messages: Vec<Message> = Vec::new();
    for joined in request.joined(Joining::Alternate) {
        let role = match joined.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => {
                let place = joined.parts.first().map_or(Place::System, |(place, _)| *place);
                losses.lose(
                    place.path(origin),
                    "this model takes instructions before the conversation only: move them there",
                )?;
                continue;
            }
        };
        let mut content: Vec<ContentBlock> = Vec::with_capacity(joined.parts.len());
        for (place, part) in joined.parts {
            let path = place.path(origin);
            if matches!(part, Part::ToolResult(result) if custom_calls.contains(result.call_id.as_str())) {
                losses.lose(path, NO_CUSTOM_TOOLS)?;
                continue;
            }
            let mut writer = PartWriter { receiver: Receiver::Upstream(joined.role, profile), losses };
            content.append(&mut writer.blocks(part, &path)?);
        }
        // A message of nothing is refused, and says nothing.
        if content.is_empty() {
            continue;
        }
        match messages.last_mut() {
            // What stood between them is gone.
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => messages.push(Message { role: role.to_owned(), content, extra: Extra::new() }),
        }
    }
    Ok(messages)
}
