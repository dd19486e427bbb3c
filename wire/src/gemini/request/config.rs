//! `generationConfig`, from and to the canonical request's fields.

use super::super::foreign::ForeignFields;
use super::super::generation_config::{GenerationConfig, ThinkingConfig};
use super::super::service::{Generation, SchemaForm};
use super::{output, thinking};
use crate::canonical::{
    Field, Inexpressible, LogprobsRequest, Losses, OutputFormat, Request, Sampling, ThinkingRequest,
    Unreadable, keep_foreign,
};

const PATH: &str = "generationConfig";
const THINKING: &str = "generationConfig.thinkingConfig";

/// Reads `config` into `request`.
pub(super) fn read(config: GenerationConfig, request: &mut Request) -> Result<(), Unreadable> {
    let GenerationConfig {
        candidate_count,
        stop_sequences,
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        response_logprobs,
        logprobs,
        response_mime_type,
        response_schema,
        response_json_schema,
        thinking_config,
        extra,
    } = config;
    request.choices = candidate_count;
    request.sampling = Sampling {
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        seed: seed.map(i64::from),
        stop: stop_sequences.unwrap_or_default(),
        presence_penalty,
        frequency_penalty,
    };
    request.logprobs = match (response_logprobs, logprobs) {
        (Some(true), top) => Some(LogprobsRequest { top }),
        (None | Some(false), None) => None,
        (None | Some(false), Some(_)) => {
            return Err(Unreadable::new(
                "generationConfig.logprobs",
                "set `responseLogprobs` to true as well",
            ));
        }
    };
    request.output_format =
        output::read(response_mime_type, response_schema, response_json_schema, &mut request.foreign);
    if let Some(config) = thinking_config {
        let (read, extra) = thinking::read(config)?;
        request.thinking = Some(read).filter(|read| *read != ThinkingRequest::default());
        keep_foreign(THINKING, extra, &mut request.foreign);
    }
    keep_foreign(PATH, extra, &mut request.foreign);
    Ok(())
}

/// What of a request stands in `generationConfig`.
pub(super) struct Parts<'a> {
    pub(super) sampling: &'a Sampling,
    pub(super) choices: Option<u32>,
    pub(super) logprobs: Option<LogprobsRequest>,
    pub(super) output_format: Option<&'a OutputFormat>,
    pub(super) thinking: Option<ThinkingRequest>,
}

/// Writes them, or nothing where the caller said nothing.
pub(super) fn write(
    parts: &Parts<'_>,
    generation: Generation,
    form: SchemaForm,
    foreign: &mut ForeignFields<'_>,
    losses: &mut Losses,
) -> Result<Option<GenerationConfig>, Inexpressible> {
    let Parts { sampling, choices, logprobs, output_format, thinking } = *parts;
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
    let small_seed = seed.and_then(|seed| i32::try_from(seed).ok());
    if seed.is_some() && small_seed.is_none() {
        losses.lose(Field::Seed.name(losses.origin()), "give a seed of 32 bits")?;
    }
    let mut config = GenerationConfig {
        candidate_count: choices,
        stop_sequences: Some(stop.clone()).filter(|stop| !stop.is_empty()),
        max_output_tokens: *max_output_tokens,
        temperature: *temperature,
        top_p: *top_p,
        top_k: *top_k,
        seed: small_seed,
        presence_penalty: *presence_penalty,
        frequency_penalty: *frequency_penalty,
        response_logprobs: logprobs.map(|_| true),
        // Gemini refuses to report no alternatives at all, which is what saying nothing means.
        logprobs: logprobs.and_then(|wanted| wanted.top).filter(|top| *top > 0),
        extra: foreign.take(PATH),
        ..GenerationConfig::default()
    };
    if let Some(format) = output_format {
        output::write(format, form, &mut config, losses)?;
    }
    let mut thoughts = match thinking {
        Some(wanted) => thinking::write(wanted, generation, losses)?,
        None => ThinkingConfig::default(),
    };
    thoughts.extra = foreign.take(THINKING);
    config.thinking_config = Some(thoughts).filter(|thoughts| *thoughts != ThinkingConfig::default());
    Ok(Some(config).filter(|config| *config != GenerationConfig::default()))
}
