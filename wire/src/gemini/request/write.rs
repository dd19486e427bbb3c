//! The canonical request into an upstream's.

use std::collections::BTreeMap;

use super::super::content::{Content, Part as WirePart};
use super::super::foreign::ForeignFields;
use super::super::service::{Generation, Upstream};
use super::contents::Contents;
use super::{GenerateContentRequest, config, tools};
use crate::canonical::{
    Dialect, Extra, Field, Inexpressible, Instruction, Losses, Place, Request, Text, Translated, Unsupported,
};

/// Writes a request for `upstream`. The model and the wish for a stream go into the path.
///
/// # Errors
/// Names what this dialect can't say, unless the caller said to drop it; and, whatever the caller said, what no request
/// can be made of, such as a tool's result without its call.
pub fn from_canonical(
    request: &Request,
    upstream: Upstream,
    policy: Unsupported,
) -> Result<Translated<GenerateContentRequest>, Inexpressible> {
    let mut losses = Losses::new(policy, request.origin, Dialect::Gemini);
    let mut foreign = ForeignFields::of(request);
    let Upstream { service, schemas } = upstream;
    let generation = Generation::of(&request.model);
    let Request {
        origin,
        model: _,
        system,
        turns: _,
        tools,
        tool_choice,
        parallel_tool_calls,
        sampling,
        choices,
        logprobs,
        output_format,
        thinking,
        verbosity,
        stream: _,
        // Gemini's streams always say their usage.
        include_usage: _,
        user,
        metadata,
        foreign: _,
        remarks: _,
    } = request;
    let name = |field: Field| field.name(*origin);
    let contents = Contents { request, service, generation, custom_calls: request.custom_calls() }
        .write(&mut foreign, &mut losses)?;
    if contents.is_empty() {
        let fix = "Gemini needs a message to answer besides its instructions";
        return Err(losses.refuse(Place::Message(0).path(*origin), fix));
    }
    if *parallel_tool_calls == Some(false) {
        losses.lose(name(Field::ParallelToolCalls), "Gemini may always call several tools")?;
    }
    if verbosity.is_some() {
        losses.lose(name(Field::Verbosity), "ask for a short or long answer in the instructions")?;
    }
    if user.is_some() {
        losses.waive(name(Field::User));
    }
    let labels = labels(metadata);
    if labels.is_none() && !metadata.is_empty() {
        losses.waive(name(Field::Metadata));
    }
    let parts = config::Parts {
        sampling,
        choices: *choices,
        logprobs: *logprobs,
        output_format: output_format.as_ref(),
        thinking: *thinking,
    };
    let generation_config = config::write(&parts, generation, schemas, &mut foreign, &mut losses)?;
    let tool_config = tools::write_choice(tool_choice.as_ref(), tools, &mut foreign, &mut losses)?;
    let tools = tools::write(tools, schemas, &mut foreign, &mut losses)?;
    let system_instruction = instruction(system, &mut foreign, &mut losses);
    let mut extra: Extra = foreign.take("");
    let message = GenerateContentRequest {
        model: None,
        system_instruction,
        contents,
        tools,
        tool_config,
        generation_config,
        labels,
        safety_settings: extra.shift_remove("safetySettings"),
        cached_content: extra.shift_remove("cachedContent").and_then(|name| name.as_str().map(str::to_owned)),
        extra,
    };
    foreign.lose_rest(&mut losses)?;
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// All instructions as the one that Gemini takes.
fn instruction(
    system: &[Instruction],
    foreign: &mut ForeignFields<'_>,
    losses: &mut Losses,
) -> Option<Content> {
    let mut parts = Vec::new();
    // Gemini does not tell `system` from `developer`.
    for Instruction { role: _, texts } in system {
        for Text { text, citations: _, signature: _, cache } in texts {
            if cache.is_some() {
                losses.waive(format!("{}.cache_control", Place::System.path(losses.origin())));
            }
            if !text.is_empty() {
                let extra = foreign.take(&format!("systemInstruction.parts[{}]", parts.len()));
                parts.push(WirePart { extra, ..WirePart::text(text) });
            }
        }
    }
    let extra = foreign.take("systemInstruction");
    (!parts.is_empty()).then_some(Content { role: None, parts, extra })
}

/// The labels, where Google would take them all.
fn labels(metadata: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let small = |text: &str| {
        text.chars().count() <= 63
            && text.chars().all(|c| c.is_lowercase() || c.is_numeric() || matches!(c, '_' | '-'))
    };
    let key = |text: &str| small(text) && text.starts_with(char::is_lowercase);
    let taken = !metadata.is_empty() && metadata.iter().all(|(name, value)| key(name) && small(value));
    taken.then(|| metadata.clone())
}
