//! How positions turn keys and queries: base, scaling kinds, and the frequencies that come of them.

use super::ModelError;
use super::dimensions::{KEY_LENGTH, MAX_HEAD, context_length};
use super::keys::{Key, Keys, Setting};
use super::variants::{self, Variant};
use crate::kernels::elementwise::PairLayout;

/// A model's rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Which elements make a pair.
    pub layout: PairLayout,
    /// Radians per position of each pair, `[pairs]`; no pair where positions are told otherwise.
    pub frequencies: Vec<f64>,
    /// Factor on both functions: attention's temperature in YaRN and LongRoPE.
    pub magnitude: f64,
}

/// What a file says about rotation, beside its keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct RotaryFactors<'a> {
    /// `rope_freqs.weight`: divisors of each pair's frequency (Llama 3 in GGUF).
    pub divisors: Option<&'a [f32]>,
    /// `rope_factors_short.weight` and `rope_factors_long.weight` (LongRoPE in GGUF).
    pub short_long: Option<(&'a [f32], &'a [f32])>,
}

/// The keys of one rotary embedding: most models have one, some one for each kind of attention.
#[derive(Clone, Copy, Debug)]
pub struct RotaryKeys {
    /// Base of the frequencies.
    pub base: &'static [Key],
    /// Kind of scaling.
    kind: &'static [Key],
    factor: &'static [Key],
    original_context: &'static [Key],
    attention_factor: &'static [Key],
    low_frequency: &'static [Key],
    high_frequency: &'static [Key],
    beta_fast: &'static [Key],
    beta_slow: &'static [Key],
    short: &'static [Key],
    long: &'static [Key],
}

/// The usual keys. A `config.json` has them under `rope_scaling`, since transformers 5 under `rope_parameters`.
pub const ROTARY_KEYS: RotaryKeys = RotaryKeys {
    base: &[("rope.freq_base", "rope_parameters.rope_theta"), ("", "rope_theta")],
    kind: &[
        ("rope.scaling.type", "rope_parameters.rope_type"),
        ("", "rope_scaling.rope_type"),
        ("", "rope_scaling.type"),
    ],
    // Old converters wrote the linear factor under the second.
    factor: &[
        ("rope.scaling.factor", "rope_parameters.factor"),
        ("rope.scale_linear", "rope_scaling.factor"),
    ],
    original_context: &[
        ("rope.scaling.original_context_length", "rope_parameters.original_max_position_embeddings"),
        ("", "rope_scaling.original_max_position_embeddings"),
        ("", "original_max_position_embeddings"),
    ],
    attention_factor: &[
        ("rope.scaling.attn_factor", "rope_parameters.attention_factor"),
        ("", "rope_scaling.attention_factor"),
    ],
    low_frequency: &[("", "rope_parameters.low_freq_factor"), ("", "rope_scaling.low_freq_factor")],
    high_frequency: &[("", "rope_parameters.high_freq_factor"), ("", "rope_scaling.high_freq_factor")],
    beta_fast: &[
        ("rope.scaling.yarn_beta_fast", "rope_parameters.beta_fast"),
        ("", "rope_scaling.beta_fast"),
    ],
    beta_slow: &[
        ("rope.scaling.yarn_beta_slow", "rope_parameters.beta_slow"),
        ("", "rope_scaling.beta_slow"),
    ],
    short: &[("", "rope_parameters.short_factor"), ("", "rope_scaling.short_factor")],
    long: &[("", "rope_parameters.long_factor"), ("", "rope_scaling.long_factor")],
};

/// Gemma 3's keys for layers that see everything, since transformers 5.
pub const FULL_ATTENTION_KEYS: RotaryKeys = RotaryKeys {
    base: &[("rope.freq_base", "rope_parameters.full_attention.rope_theta"), ("", "rope_theta")],
    kind: &[
        ("rope.scaling.type", "rope_parameters.full_attention.rope_type"),
        ("", "rope_scaling.rope_type"),
        ("", "rope_scaling.type"),
    ],
    factor: &[("rope.scaling.factor", "rope_parameters.full_attention.factor"), ("", "rope_scaling.factor")],
    ..ROTARY_KEYS
};

/// Gemma 3's keys for layers with a window.
pub const SLIDING_ATTENTION_KEYS: RotaryKeys = RotaryKeys {
    base: &[
        ("rope.freq_base_swa", "rope_parameters.sliding_attention.rope_theta"),
        ("", "rope_local_base_freq"),
    ],
    kind: &[],
    factor: &[],
    ..ROTARY_KEYS
};

/// What is not honoured beside YaRN.
const YARN_VARIANTS: &[Variant] = &[
    // In GGUF -1 says nothing.
    Variant::numbers(("rope.scaling.yarn_ext_factor", "rope_parameters.extrapolation_factor"), &[-1.0, 1.0]),
    Variant::numbers(("", "rope_scaling.extrapolation_factor"), &[1.0]),
    Variant::on(("", "rope_parameters.truncate")),
    Variant::on(("", "rope_scaling.truncate")),
    Variant::off(("rope.scaling.yarn_log_multiplier", "rope_parameters.mscale_all_dim")),
    Variant::off(("", "rope_scaling.mscale_all_dim")),
];

/// What is not honoured where only frequencies are scaled, or nothing is.
const PLAIN_VARIANTS: &[Variant] =
    &[EXTRAPOLATION, YARN_TEMPERATURE, Variant::factor(("rope.scaling.attn_factor", ""))];

/// What is not honoured beside LongRoPE.
const LONGROPE_VARIANTS: &[Variant] = &[EXTRAPOLATION, YARN_TEMPERATURE];

/// Without YaRN there is none; in GGUF -1 says nothing.
const EXTRAPOLATION: Variant = Variant::numbers(("rope.scaling.yarn_ext_factor", ""), &[-1.0, 0.0]);
const YARN_TEMPERATURE: Variant = Variant::factor(("rope.scaling.yarn_attn_factor", ""));

/// What rotation is read for.
#[derive(Clone, Copy, Debug)]
pub struct RotarySpec {
    /// Where its keys are.
    pub keys: RotaryKeys,
    /// Which elements make a pair.
    pub layout: PairLayout,
    /// Elements of a head.
    pub head: usize,
    /// The base where none is given.
    pub default_base: f32,
    /// The context that the model is served with: LongRoPE has factors for up to and past the original one.
    pub context: usize,
}

impl Rotary {
    /// No rotation: positions are told otherwise.
    pub fn none() -> Self {
        Self { layout: PairLayout::Halves, frequencies: Vec::new(), magnitude: 1.0 }
    }

    /// Reads a rotary embedding.
    ///
    /// # Errors
    /// [`ModelError`] naming the key that is missing, out of range or not served.
    pub fn read(keys: &Keys<'_>, spec: RotarySpec, factors: RotaryFactors<'_>) -> Result<Self, ModelError> {
        let width = rotated_width(keys, spec.head)?;
        let base = first(spec.keys.base, |key| keys.optional_positive(key))?.unwrap_or(spec.default_base);
        let plain = plain_frequencies(base, width);
        let kind = first(spec.keys.kind, |key| keys.optional_string(key))?;
        let kind = kind.unwrap_or(match keys {
            // The oldest files have a factor and no kind.
            Keys::Gguf { .. } if factors.short_long.is_none() => "linear",
            Keys::Gguf { .. } | Keys::Json { .. } => "default",
        });
        let rotary = |frequencies, magnitude| Self { layout: spec.layout, frequencies, magnitude };
        Ok(match kind {
            // GGUF says it by the tensors alone.
            "none" | "default" if factors.short_long.is_none() => {
                variants::refuse(keys, PLAIN_VARIANTS)?;
                rotary(divided(plain, factors.divisors), 1.0)
            }
            "linear" => {
                variants::refuse(keys, PLAIN_VARIANTS)?;
                let factor = first(spec.keys.factor, |key| keys.optional_positive(key))?.unwrap_or(1.0);
                let scaled = plain.iter().map(|f| f / f64::from(factor)).collect();
                rotary(divided(scaled, factors.divisors), 1.0)
            }
            "llama3" => {
                variants::refuse(keys, PLAIN_VARIANTS)?;
                rotary(llama3(keys, &spec, plain)?, 1.0)
            }
            "yarn" if factors.short_long.is_none() && !has_short_factors(keys, &spec)? => {
                variants::refuse(keys, YARN_VARIANTS)?;
                let (frequencies, magnitude) = yarn(keys, &spec, base, plain)?;
                rotary(frequencies, magnitude)
            }
            // Phi-3's first files say `su` or `yarn`.
            "longrope" | "su" | "yarn" | "none" | "default" => {
                variants::refuse(keys, LONGROPE_VARIANTS)?;
                let (frequencies, magnitude) = longrope(keys, &spec, factors, plain)?;
                rotary(frequencies, magnitude)
            }
            other => {
                let problem = "not served; none, linear, llama3, yarn and longrope are";
                return Err(keys.refuse(given(keys, spec.keys.kind), other, problem));
            }
        })
    }
}

/// The first of several keys that is there.
fn first<T>(
    names: &[Key],
    mut read: impl FnMut(Key) -> Result<Option<T>, ModelError>,
) -> Result<Option<T>, ModelError> {
    for &name in names {
        if let Some(value) = read(name)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Which of several keys is there; for messages.
fn given(keys: &Keys<'_>, names: &[Key]) -> Key {
    let found = names.iter().find(|&&name| keys.setting(name).is_some());
    found.or(names.first()).copied().unwrap_or_default()
}

fn has_short_factors(keys: &Keys<'_>, spec: &RotarySpec) -> Result<bool, ModelError> {
    Ok(first(spec.keys.short, |key| keys.optional_numbers(key))?.is_some())
}

/// Elements of a head that are turned.
fn rotated_width(keys: &Keys<'_>, head: usize) -> Result<usize, ModelError> {
    const COUNT: Key = ("rope.dimension_count", "");
    const SHARES: [Key; 2] = [("", "rope_parameters.partial_rotary_factor"), ("", "partial_rotary_factor")];
    let share = first(&SHARES, |key| keys.optional_positive(key))?;
    let count = keys.optional_count(COUNT, MAX_HEAD)?;
    let (key, width) = match (share, count) {
        (Some(share), _) => (given(keys, &SHARES), (head as f32 * share) as usize),
        (None, Some(count)) => (COUNT, count),
        (None, None) => (KEY_LENGTH, head),
    };
    if width > head || !width.is_multiple_of(2) {
        let problem =
            format!("the rotated part, of {width} elements, must be even and at most a head's {head}");
        let value = keys.setting(key).map_or_else(|| width.to_string(), Setting::in_words);
        return Err(keys.refuse(key, value, &problem));
    }
    Ok(width)
}

fn plain_frequencies(base: f32, width: usize) -> Vec<f64> {
    (0..width / 2).map(|pair| f64::from(base).powf(-2.0 * pair as f64 / width as f64)).collect()
}

fn divided(frequencies: Vec<f64>, divisors: Option<&[f32]>) -> Vec<f64> {
    let divisor = |pair: usize| divisors.and_then(|divisors| divisors.get(pair)).copied().unwrap_or(1.0);
    frequencies.into_iter().enumerate().map(|(pair, f)| f / f64::from(divisor(pair))).collect()
}

fn required(keys: &Keys<'_>, names: &[Key]) -> Result<f64, ModelError> {
    let missing = || keys.missing(names.first().copied().unwrap_or_default());
    first(names, |key| keys.optional_positive(key))?.map(f64::from).ok_or_else(missing)
}

/// How much longer than the original the context has become, unless the file says it otherwise.
fn scale(keys: &Keys<'_>, spec: &RotarySpec, original: f64) -> Result<f64, ModelError> {
    Ok(match first(spec.keys.factor, |key| keys.optional_positive(key))? {
        Some(factor) => f64::from(factor),
        None => context_length(keys)? as f64 / original,
    })
}

/// Low frequencies divided, high ones left, those between interpolated (Llama 3.1; transformers'
/// `_compute_llama3_parameters`).
fn llama3(keys: &Keys<'_>, spec: &RotarySpec, plain: Vec<f64>) -> Result<Vec<f64>, ModelError> {
    let factor = required(keys, spec.keys.factor)?;
    let low = required(keys, spec.keys.low_frequency)?;
    let high = required(keys, spec.keys.high_frequency)?;
    let original = required(keys, spec.keys.original_context)?;
    Ok(plain
        .into_iter()
        .map(|frequency| {
            let turns = original * frequency / std::f64::consts::TAU;
            if turns < low {
                frequency / factor
            } else if turns > high {
                frequency
            } else {
                let smooth = (turns - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        })
        .collect())
}

/// YaRN (arXiv 2309.00071; transformers' `_compute_yarn_parameters`).
fn yarn(
    keys: &Keys<'_>,
    spec: &RotarySpec,
    base: f32,
    plain: Vec<f64>,
) -> Result<(Vec<f64>, f64), ModelError> {
    let original = required(keys, spec.keys.original_context)?;
    let factor = scale(keys, spec, original)?;
    let or_usual = |names: &[Key], usual: f64| {
        Ok::<f64, ModelError>(first(names, |key| keys.optional_positive(key))?.map_or(usual, f64::from))
    };
    let (fast, slow) = (or_usual(spec.keys.beta_fast, 32.0)?, or_usual(spec.keys.beta_slow, 1.0)?);
    let pairs = plain.len() as f64;
    let pair_of =
        |turns: f64| pairs * (original / (turns * std::f64::consts::TAU)).ln() / f64::from(base).ln();
    let low = pair_of(fast).floor().max(0.0);
    let high = pair_of(slow).ceil().min(2.0 * pairs - 1.0);
    let span = if high > low { high - low } else { 0.001 };
    let frequencies = plain
        .into_iter()
        .enumerate()
        .map(|(pair, frequency)| {
            let interpolated = ((pair as f64 - low) / span).clamp(0.0, 1.0);
            frequency / factor * interpolated + frequency * (1.0 - interpolated)
        })
        .collect();
    let usual = if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
    let magnitude = match keys {
        Keys::Json { .. } => or_usual(spec.keys.attention_factor, usual)?,
        // Converters write a config's attention_factor under the first; llama.cpp multiplies by the second.
        Keys::Gguf { .. } => {
            or_usual(&[("rope.scaling.yarn_attn_factor", "")], usual)?
                * or_usual(spec.keys.attention_factor, 1.0)?
        }
    };
    Ok((frequencies, magnitude))
}

/// LongRoPE (arXiv 2402.13753; transformers' `_compute_longrope_parameters`). Which factors hold is decided once,
/// by the context that is served: a cache must not hold keys turned by both.
fn longrope(
    keys: &Keys<'_>,
    spec: &RotarySpec,
    factors: RotaryFactors<'_>,
    plain: Vec<f64>,
) -> Result<(Vec<f64>, f64), ModelError> {
    let original = required(keys, spec.keys.original_context)?;
    let long = spec.context as f64 > original;
    let names = if long { spec.keys.long } else { spec.keys.short };
    let divisors = match factors.short_long {
        Some((short, far)) => Some(if long { far.to_vec() } else { short.to_vec() }),
        None => first(names, |key| keys.optional_numbers(key))?,
    };
    let divisors = divisors.ok_or_else(|| keys.missing(given(keys, names)))?;
    if divisors.len() != plain.len() || divisors.iter().any(|&d| d.is_nan() || d <= 0.0) {
        let problem = format!("it must be {} positive numbers, one a rotated pair", plain.len());
        let key = match (factors.short_long, long) {
            (None, _) => keys.name(given(keys, names)),
            (Some(_), true) => "rope_factors_long.weight".to_owned(),
            (Some(_), false) => "rope_factors_short.weight".to_owned(),
        };
        return Err(ModelError::Config { key, value: format!("a list of {}", divisors.len()), problem });
    }
    let factor = scale(keys, spec, original)?;
    let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
    let magnitude = first(spec.keys.attention_factor, |key| keys.optional_positive(key))?;
    Ok((divided(plain, Some(&divisors)), magnitude.map_or(usual, f64::from)))
}
