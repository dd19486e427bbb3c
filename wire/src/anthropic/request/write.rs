//! Writing a request for Anthropic.

use std::collections::BTreeSet;

use super::open_turn;
use super::{Content, Message, MessagesRequest, Metadata, OutputConfig, SystemBlock, ThinkingConfig};
use crate::anthropic::block::{Block, PlainBlock, TextBlock};
use crate::anthropic::part::{NO_CUSTOM_TOOLS, PartWriter, Receiver};
use crate::anthropic::{ModelProfile, thinking, tool};
use crate::canonical::{
    Dialect, Extra, Field, Inexpressible, Instruction, Losses, Part, Place, Request, Role, Sampling,
    Translated, Turn, Unsupported,
};

/// The least `top_p` that goes with thinking.
const LEAST_TOP_P: f32 = 0.95;

/// Writes a request. Neighbours of one role become one message, and in a user's message the tool results come first:
/// Anthropic refuses a text before them.
///
/// # Errors
/// Names what Anthropic can't say, unless `policy` drops it. Where neither the request nor `profile` says
/// `max_tokens`, and where a call's arguments are no object, there is no request to send under either policy.
pub fn from_canonical(
    request: &Request,
    policy: Unsupported,
    profile: &ModelProfile,
) -> Result<Translated<MessagesRequest>, Inexpressible> {
    write(request, policy, profile, Fields::All)
}

/// Which fields are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::anthropic) enum Fields {
    /// All.
    All,
    /// Those that decide how many tokens the prompt has.
    Prompt,
}

pub(in crate::anthropic) fn write(
    request: &Request,
    policy: Unsupported,
    profile: &ModelProfile,
    fields: Fields,
) -> Result<Translated<MessagesRequest>, Inexpressible> {
    let mut losses = Losses::new(policy, request.origin, Dialect::Anthropic);
    let Request {
        origin,
        model,
        system,
        turns,
        // Read by `tool::from_canonical`, which weighs the three against one another.
        tools: _,
        tool_choice: _,
        parallel_tool_calls: _,
        sampling,
        choices,
        logprobs,
        output_format,
        thinking,
        verbosity,
        stream,
        // Anthropic's streams always end with it.
        include_usage: _,
        user,
        metadata,
        foreign,
        remarks,
    } = request;
    let (tools, tool_choice) = tool::from_canonical(request, &mut losses)?;
    let max_tokens = match fields {
        Fields::All => Some(max_tokens(sampling, profile, &losses)?),
        Fields::Prompt => None,
    };
    let (mut thinking, effort) =
        thinking::thinking_from_canonical(*thinking, max_tokens, profile, &mut losses)?;
    let mut turns = write_turns(turns, &request.custom_calls(), profile, &mut losses)?;
    open_turn::settle(&mut turns, &mut thinking, profile, &mut losses);
    thinking::lose_if_forced(&mut thinking, tool_choice.as_ref(), &mut losses)?;
    let mut written = MessagesRequest {
        model: model.clone(),
        messages: turns.into_iter().map(write_message).collect(),
        system: write_system(system, &mut losses)?,
        max_tokens,
        tools: (!tools.is_empty()).then_some(tools),
        tool_choice,
        thinking,
        ..MessagesRequest::default()
    };
    if fields == Fields::All {
        let lost = [
            (Field::Choices, choices.is_some_and(|choices| choices > 1)),
            (Field::Logprobs, logprobs.is_some()),
            (Field::Verbosity, verbosity.is_some()),
            (Field::Metadata, !metadata.is_empty()),
        ];
        for (field, _) in lost.into_iter().filter(|(_, said)| *said) {
            losses.lose(field.name(*origin), "Anthropic has no such thing: leave it out")?;
        }
        write_sampling(sampling, profile, &mut written, &mut losses)?;
        written.stream = stream.then_some(true);
        written.metadata = user.clone().map(|user| Metadata { user_id: Some(user), ..Metadata::default() });
    }
    let format = thinking::format_from_canonical(output_format.as_ref(), &mut losses)?;
    if effort.is_some() || format.is_some() {
        written.output_config = Some(OutputConfig { effort, format, extra: Extra::new() });
    }
    written.extra = match fields {
        Fields::All => {
            losses.waive_all(remarks);
            losses.foreign(foreign, |origin, _| origin == Dialect::Anthropic)?
        }
        Fields::Prompt => Extra::new(),
    };
    Ok(Translated { message: written, dropped: losses.into_dropped() })
}

fn max_tokens(sampling: &Sampling, profile: &ModelProfile, losses: &Losses) -> Result<u32, Inexpressible> {
    sampling.max_output_tokens.or(profile.default_max_tokens).ok_or_else(|| {
        losses.refuse(
            Field::MaxOutputTokens.name(losses.origin()),
            "it is not given, and Anthropic demands it: say how many tokens the answer may have at most",
        )
    })
}

fn write_sampling(
    sampling: &Sampling,
    profile: &ModelProfile,
    written: &mut MessagesRequest,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    let Sampling {
        max_output_tokens: _,
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
    let said = |value: &Option<f32>, nothing: f32| value.filter(|value| *value != nothing);
    let lost = [
        (Field::Seed, seed.is_some()),
        (Field::PresencePenalty, said(presence_penalty, 0.0).is_some()),
        (Field::FrequencyPenalty, said(frequency_penalty, 0.0).is_some()),
        (Field::Temperature, !profile.sampling && said(temperature, 1.0).is_some()),
        (Field::TopP, !profile.sampling && said(top_p, 1.0).is_some()),
        (Field::TopK, !profile.sampling && top_k.is_some()),
    ];
    for (field, _) in lost.into_iter().filter(|(_, said)| *said) {
        losses.lose(field.name(origin), "this model does not take it: leave it out")?;
    }
    if profile.sampling {
        if temperature.is_some_and(|temperature| temperature > 1.0) {
            losses.lose(Field::Temperature.name(origin), "Anthropic takes up to 1")?;
        } else {
            written.temperature = *temperature;
        }
        (written.top_p, written.top_k) = (*top_p, *top_k);
        if written.thinking.as_ref().is_some_and(ThinkingConfig::is_on) {
            lose_beside_thinking(written, losses)?;
        }
    }
    // Anthropic refuses a request with a stop string of white space.
    let (kept, blank): (Vec<&String>, Vec<&String>) = stop.iter().partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        losses.lose(Field::Stop.name(origin), "each must have a character that is no white space")?;
    }
    written.stop_sequences = (!kept.is_empty()).then(|| kept.into_iter().cloned().collect());
    Ok(())
}

/// A model that thinks draws its tokens its own way.
fn lose_beside_thinking(written: &mut MessagesRequest, losses: &mut Losses) -> Result<(), Inexpressible> {
    let lost = [
        (Field::Temperature, written.temperature.take_if(|value| *value != 1.0).is_some()),
        (Field::TopP, written.top_p.take_if(|value| *value < LEAST_TOP_P).is_some()),
        (Field::TopK, written.top_k.take().is_some()),
    ];
    for (field, _) in lost.into_iter().filter(|(_, said)| *said) {
        losses.lose(field.name(losses.origin()), "it can't go with thinking: leave one of the two out")?;
    }
    Ok(())
}

fn write_system(
    system: &[Instruction],
    losses: &mut Losses,
) -> Result<Option<Content<SystemBlock>>, Inexpressible> {
    let path = Place::System.path(losses.origin());
    let mut writer = PartWriter { receiver: Receiver::Upstream(Role::System), losses };
    let mut blocks = Vec::new();
    // Anthropic has one word for OpenAI's two, and reads the texts in their order.
    for Instruction { role: _, texts } in system {
        for text in texts {
            blocks.extend(writer.text(text, &path)?);
        }
    }
    Ok(match blocks.as_slice() {
        [] => None,
        [TextBlock { text, citations: _, cache_control: None, extra: _ }] => {
            Some(Content::Text(text.clone()))
        }
        _ => {
            let block = |block| SystemBlock { kind: "text".to_owned(), block };
            Some(Content::Blocks(blocks.into_iter().map(block).collect()))
        }
    })
}

/// A message under way.
pub(super) struct Joined {
    pub(super) role: Role,
    /// Each with the path that its sender knows it by.
    pub(super) blocks: Vec<(String, Block)>,
}

fn write_turns(
    turns: &[Turn],
    custom_calls: &BTreeSet<&str>,
    profile: &ModelProfile,
    losses: &mut Losses,
) -> Result<Vec<Joined>, Inexpressible> {
    let origin = losses.origin();
    let mut joined: Vec<Joined> = Vec::new();
    for turn in turns {
        let Turn { role, parts, name, place } = turn;
        let role = match role {
            Role::System | Role::Developer => Role::System,
            Role::User | Role::Assistant => *role,
        };
        if role == Role::System && !profile.system_turns {
            losses.lose(
                Place::Message(*place).path(origin),
                "this model takes instructions before the conversation only: move them there",
            )?;
            continue;
        }
        if name.is_some() {
            let message = Place::Message(*place).path(origin);
            losses.lose(format!("{message}.name"), "Anthropic does not tell speakers apart: leave it out")?;
        }
        let mut blocks = Vec::with_capacity(parts.len());
        for (part, value) in parts.iter().enumerate() {
            let path = turn.place_of(part, origin).path(origin);
            if matches!(value, Part::ToolResult(result) if custom_calls.contains(result.call_id.as_str())) {
                losses.lose(path, NO_CUSTOM_TOOLS)?;
                continue;
            }
            let mut writer = PartWriter { receiver: Receiver::Upstream(role), losses };
            blocks.extend(writer.block(value, &path)?.map(|block| (path, block)));
        }
        // A message of nothing is refused, and says nothing.
        if blocks.is_empty() {
            continue;
        }
        match joined.last_mut() {
            Some(last) if last.role == role => last.blocks.append(&mut blocks),
            _ => joined.push(Joined { role, blocks }),
        }
    }
    Ok(joined)
}

fn write_message(Joined { role, blocks }: Joined) -> Message {
    let mut blocks: Vec<Block> = blocks.into_iter().map(|(_, block)| block).collect();
    let role = match role {
        Role::User => {
            blocks.sort_by_key(|block| !matches!(block, Block::ToolResult(_)));
            "user"
        }
        Role::Assistant => "assistant",
        Role::System | Role::Developer => "system",
    };
    let content = match blocks.as_slice() {
        [
            Block::Plain(PlainBlock::Text(TextBlock {
                text,
                citations: None,
                cache_control: None,
                extra: _,
            })),
        ] => Content::Text(text.clone()),
        _ => Content::Blocks(blocks),
    };
    Message { role: role.to_owned(), content, extra: Extra::new() }
}
