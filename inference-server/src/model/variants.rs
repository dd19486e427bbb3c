//! Settings that no forward pass here honours, and the values under which they change nothing.
//!
//! A file that has one at another value is refused: its numbers would be wrong, and nothing would say so.

use super::ModelError;
use super::keys::{Key, Keys};

/// A setting that is not honoured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    key: Key,
    harmless: Harmless,
}

/// The value under which a setting changes nothing.
#[derive(Clone, Copy, Debug)]
enum Harmless {
    /// False or 0.
    Off,
    True,
    /// One of these.
    Numbers(&'static [f64]),
    Text(&'static str),
}

/// What no decoder honours, of whatever family.
pub(super) const DECODERS: &[Variant] = &[
    // Where a token sees those after it, a cache of what came before is another model.
    Variant::on(("attention.causal", "is_causal")),
    Variant::off(("", "use_bidirectional_attention")),
    Variant::off(("attention.scale", "attention_multiplier")),
    Variant::off(("attention.clamp_kqv", "")),
    Variant::off(("attention.max_alibi_bias", "")),
    Variant::off(("attention.temperature_scale", "")),
    Variant::factor(("logit_scale", "logits_scaling")),
    Variant::factor(("residual_scale", "residual_multiplier")),
    Variant::factor(("embedding_scale", "embedding_multiplier")),
];

/// The cap on scores, which Gemma 2 alone has.
pub(super) const ATTENTION_CAP: Variant = Variant::off(("attn_logit_softcapping", "attn_logit_softcapping"));

/// The cap on logits, which Gemma alone has.
pub(super) const LOGIT_CAP: Variant = Variant::off(("final_logit_softcapping", "final_logit_softcapping"));

impl Variant {
    /// One that changes nothing while it is off.
    pub(super) const fn off(key: Key) -> Self {
        Self { key, harmless: Harmless::Off }
    }

    /// One that changes nothing while it is true.
    pub(super) const fn on(key: Key) -> Self {
        Self { key, harmless: Harmless::True }
    }

    /// One that changes nothing at one of `numbers`.
    pub(super) const fn numbers(key: Key, numbers: &'static [f64]) -> Self {
        Self { key, harmless: Harmless::Numbers(numbers) }
    }

    /// A factor: 1 changes nothing, and GGUF writers say 0 for none.
    pub(super) const fn factor(key: Key) -> Self {
        Self::numbers(key, &[0.0, 1.0])
    }

    /// One that changes nothing while it is `text`.
    pub(super) const fn text(key: Key, text: &'static str) -> Self {
        Self { key, harmless: Harmless::Text(text) }
    }
}

/// Refuses the first of `variants` that would change the numbers.
///
/// # Errors
/// [`ModelError::Config`], naming the key and what is served.
pub(super) fn refuse(keys: &Keys<'_>, variants: &[Variant]) -> Result<(), ModelError> {
    for &Variant { key, harmless } in variants {
        let Some(setting) = keys.setting(key) else { continue };
        let is_harmless = match harmless {
            Harmless::Off => setting.boolean() == Some(false) || setting.number() == Some(0.0),
            Harmless::True => setting.boolean() == Some(true),
            Harmless::Numbers(numbers) => setting.number().is_some_and(|number| numbers.contains(&number)),
            Harmless::Text(text) => setting.text() == Some(text),
        };
        if !is_harmless {
            let served = match harmless {
                Harmless::Off => "without it".to_owned(),
                Harmless::True => "with true".to_owned(),
                Harmless::Numbers(numbers) => {
                    format!("with {}", numbers.last().copied().unwrap_or_default())
                }
                Harmless::Text(text) => format!("with {text}"),
            };
            let problem = format!("this variant is not served; models {served} are");
            return Err(keys.refuse(key, setting.in_words(), &problem));
        }
    }
    Ok(())
}
