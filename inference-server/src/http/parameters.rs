//! From the request fields that both endpoints share to the engine's parameters. Every field is enforced,
//! known to be harmless, or refused by name.

use serde_json::Value;
use weighbridge_wire::openai::{ApiError, Extra, StreamOptions};

use crate::engine::GenerateRequest;
use crate::sampling::SamplingParams;

/// Most answers to one request, as at OpenAI: each is a sequence, and all have to find a place at once.
pub(super) const MAX_CHOICES: usize = 128;

/// Fields that change nothing about an answer and need no enforcing: who asks, and where to file it.
const HARMLESS: [&str; 5] =
    ["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Bytes of a stop string: each is compared with the answer's end after every token, on the engine's thread.
const MAX_STOP: usize = 512;

/// The typed sampling fields of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampling {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) seed: Option<i64>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) top_logprobs: Option<u32>,
}

/// Fields beyond OpenAI's that engines commonly take, under the names that vLLM gave them.
#[derive(Debug, Default)]
pub(super) struct Extension {
    top_k: u32,
    min_p: f32,
    repetition_penalty: Option<f32>,
    logit_bias: Vec<(u32, f32)>,
    pub(super) ignore_eos: bool,
}

impl Sampling {
    /// The engine's parameters; without a seed, one is drawn.
    pub(super) fn params(self, extension: &Extension) -> SamplingParams {
        let default = SamplingParams::default();
        SamplingParams {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k: extension.top_k,
            min_p: extension.min_p,
            seed: self.seed.map_or_else(rand::random, i64::cast_unsigned),
            repetition_penalty: extension.repetition_penalty.unwrap_or(default.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            logit_bias: extension.logit_bias.clone(),
            top_logprobs: self.top_logprobs,
        }
    }
}

impl Extension {
    /// Reads what the wire types do not know. `no_effect` are the endpoint's own fields, with the values
    /// at which they ask for nothing that is not done anyway.
    pub(super) fn read(
        extra: &Extra,
        vocabulary: usize,
        no_effect: &[(&str, Vec<Value>)],
    ) -> Result<Self, ApiError> {
        let mut extension = Self::default();
        for (name, value) in extra {
            match name.as_str() {
                _ if value.is_null() => {}
                "top_k" => extension.top_k = top_k(value)?,
                "min_p" => extension.min_p = number(name, value, 0.0, 1.0)?,
                "repetition_penalty" => extension.repetition_penalty = Some(number(name, value, 0.01, 10.0)?),
                "logit_bias" => extension.logit_bias = logit_bias(value, vocabulary)?,
                "ignore_eos" => {
                    let wrong =
                        || ApiError::invalid_request(Some(name), "`ignore_eos` must be true or false");
                    extension.ignore_eos = value.as_bool().ok_or_else(wrong)?;
                }
                "service_tier" if *value == "auto" || *value == "default" => {}
                "store" if *value == Value::Bool(false) => {}
                name if HARMLESS.contains(&name) => {}
                name if no_effect.iter().any(|(known, values)| *known == name && values.contains(value)) => {}
                name => return Err(unsupported(name)),
            }
        }
        Ok(extension)
    }
}

/// Refuses what neither the wire types nor we know, of an endpoint that draws nothing.
pub(super) fn refuse_unknown(extra: &Extra) -> Result<(), ApiError> {
    let known = |name: &str| HARMLESS.contains(&name);
    match extra.iter().find(|(name, value)| !value.is_null() && !known(name)) {
        Some((name, _)) => Err(unsupported(name)),
        None => Ok(()),
    }
}

/// `count` sequences that differ in their seeds only.
pub(super) fn with_own_seeds(one: GenerateRequest, count: usize) -> Vec<GenerateRequest> {
    let mut group = vec![one; count];
    for (choice, request) in (0..).zip(&mut group) {
        request.sampling.seed = request.sampling.seed.wrapping_add(choice);
    }
    group
}

/// A field that we do not serve, or that nobody knows.
pub(super) fn unsupported(name: &str) -> ApiError {
    let message = format!("`{name}` is not supported by this server. Leave it out.");
    ApiError::unsupported_parameter(name, &message)
}

/// Stop strings, within bounds.
pub(super) fn stops(stop: Vec<String>) -> Result<Vec<String>, ApiError> {
    match stop.iter().map(String::len).max() {
        Some(longest) if longest > MAX_STOP => {
            let message = format!("`stop` must hold strings of at most {MAX_STOP} bytes, got {longest}");
            Err(ApiError::invalid_request(Some("stop"), &message))
        }
        _ => Ok(stop),
    }
}

/// The number of answers, within bounds.
pub(super) fn choices(n: Option<u32>, prompts: usize) -> Result<usize, ApiError> {
    let n = n.unwrap_or(1) as usize;
    match n.checked_mul(prompts) {
        Some(all) if all <= MAX_CHOICES => Ok(n),
        _ if prompts == 1 => {
            let message = format!("`n` must be from 1 to {MAX_CHOICES}, got {n}");
            Err(ApiError::invalid_request(Some("n"), &message))
        }
        _ => {
            let message = format!("{prompts} prompts with `n` {n} are more than {MAX_CHOICES} answers");
            Err(ApiError::invalid_request(Some("n"), &message))
        }
    }
}

/// Whether a stream ends with a usage chunk. Options without a stream are an error, as at OpenAI.
pub(super) fn include_usage(stream: bool, options: Option<&StreamOptions>) -> Result<bool, ApiError> {
    let Some(StreamOptions { include_usage, extra }) = options else { return Ok(false) };
    if !stream {
        let message = "`stream_options` is only allowed when `stream` is true";
        return Err(ApiError::invalid_request(Some("stream_options"), message));
    }
    for (name, value) in extra {
        // Random padding against traffic analysis: never added here, so only its absence can be asked for.
        let off = name == "include_obfuscation" && *value == Value::Bool(false);
        if !off && !value.is_null() {
            return Err(unsupported(&format!("stream_options.{name}")));
        }
    }
    Ok(include_usage.unwrap_or(false))
}

fn top_k(value: &Value) -> Result<u32, ApiError> {
    // -1 is vLLM's word for "all".
    if value.as_i64() == Some(-1) {
        return Ok(0);
    }
    value.as_u64().and_then(|k| u32::try_from(k).ok()).ok_or_else(|| {
        let message = format!("`top_k` must be -1 or 0 (all), or an integer up to {}, got {value}", u32::MAX);
        ApiError::invalid_request(Some("top_k"), &message)
    })
}

fn number(name: &str, value: &Value, least: f64, most: f64) -> Result<f32, ApiError> {
    match value.as_f64() {
        Some(number) if (least..=most).contains(&number) => Ok(number as f32),
        _ => {
            let message = format!("`{name}` must be a number from {least} to {most}, got {value}");
            Err(ApiError::invalid_request(Some(name), &message))
        }
    }
}

/// Most entries of `logit_bias`: each is work in every step.
const MAX_BIASES: usize = 1024;

fn logit_bias(value: &Value, vocabulary: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let refused = |message: String| ApiError::invalid_request(Some("logit_bias"), &message);
    let map = value.as_object().filter(|map| map.len() <= MAX_BIASES).ok_or_else(|| {
        refused(format!("`logit_bias` must be an object of at most {MAX_BIASES} token ids with numbers"))
    })?;
    map.iter()
        .map(|(token, bias)| {
            let id = token.parse::<u32>().ok().filter(|id| (*id as usize) < vocabulary);
            let id = id.ok_or_else(|| {
                refused(format!("`logit_bias` has the token {token:?}; ids are from 0 to {}", vocabulary - 1))
            })?;
            Ok((id, number("logit_bias", bias, -100.0, 100.0)?))
        })
        .collect()
}
