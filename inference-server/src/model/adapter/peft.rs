//! Adapters as Hugging Face's PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.

use fancy_regex::Regex;
use serde_json::{Map, Value};

use super::AdapterError;
use super::source::{Halves, Pair, whole};
use crate::model::TensorSource as _;
use crate::model::plan::TARGETS;
use crate::safetensors::SafetensorsFolder;

/// What PEFT puts before a causal model's own names.
const PREFIX: &str = "base_model.model.";

/// Keys that say where an adapter comes from or how it was trained, and nothing of what it computes.
const WITHOUT_EFFECT: &[&str] = &[
    "task_type",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "auto_mapping",
    "peft_version",
    "lora_dropout",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "megatron_core",
    "eva_config",
    "qalora_group_size",
    "runtime_config",
];

/// Keys that are read below.
const READ: &[&str] = &[
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "target_modules",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "init_lora_weights",
];

/// What `adapter_config.json` says of scales and targets.
#[derive(Debug)]
struct Settings<'a> {
    rank: u64,
    alpha: f64,
    rank_stabilised: bool,
    targets: Targets<'a>,
    ranks: Vec<(Pattern<'a>, &'a Value)>,
    alphas: Vec<(Pattern<'a>, &'a Value)>,
}

#[derive(Debug)]
enum Targets<'a> {
    Listed(Vec<&'a str>),
    Matching(Pattern<'a>),
}

/// A regular expression, and its text for messages.
#[derive(Debug)]
struct Pattern<'a> {
    text: &'a str,
    regex: Regex,
}

/// The pairs of `folder`.
pub(super) fn pairs(folder: &SafetensorsFolder) -> Result<Vec<Pair>, AdapterError> {
    let settings = Settings::read(folder.config())?;
    let mut halves = Halves::new();
    for name in folder.names() {
        let unserved = || AdapterError::Target { tensor: name.to_owned(), served: TARGETS };
        let module = name.strip_prefix(PREFIX).ok_or_else(unserved)?;
        let tensor = folder.tensor(name).ok_or_else(unserved)?;
        if let Some(module) = module.strip_suffix(".lora_A.weight") {
            halves.entry(module.to_owned()).or_default().0 = Some(tensor);
        } else if let Some(module) = module.strip_suffix(".lora_B.weight") {
            halves.entry(module.to_owned()).or_default().1 = Some(tensor);
        } else {
            return Err(unserved());
        }
    }
    halves
        .into_iter()
        .map(|(module, halves)| {
            let (a, b, rank) = whole(&module, halves)?;
            let place = module.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
            let place = place.and_then(|(layer, part)| Some((layer.parse().ok()?, part.to_owned())));
            let (layer, part) =
                place.ok_or_else(|| AdapterError::Target { tensor: a.name().to_owned(), served: TARGETS })?;
            let scale = settings.scale(&module, rank)?;
            Ok(Pair { layer, part, a, b, scale })
        })
        .collect()
}

impl<'a> Settings<'a> {
    fn read(config: &'a Map<String, Value>) -> Result<Self, AdapterError> {
        expect(config, "peft_type", &[Value::from("LORA")], "LoRA adapters are served")?;
        for (key, value) in config.iter().filter(|(key, _)| !READ.contains(&key.as_str())) {
            if !WITHOUT_EFFECT.contains(&key.as_str()) && !asks_for_nothing(value) {
                return Err(refuse(key, value, fix_for(key)));
            }
        }
        expect(
            config,
            "bias",
            &[Value::Null, Value::from("none")],
            "trained biases are not served; use bias none",
        )?;
        let initial = config.get("init_lora_weights").unwrap_or(&Value::Null);
        // The others change the base model's weights too, by what the adapter alone does not say.
        let plain = match initial {
            Value::Null | Value::Bool(_) => true,
            Value::String(kind) => matches!(kind.as_str(), "gaussian" | "eva" | "orthogonal"),
            Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        if !plain {
            let fix = "it changes the base model's weights too; save the adapter with PEFT's path_initial_model_for_weight_conversion";
            return Err(refuse("init_lora_weights", initial, fix));
        }
        let number = |key: &str| config.get(key).unwrap_or(&Value::Null);
        let rank = number("r").as_u64().filter(|&rank| rank > 0);
        let alpha = number("lora_alpha").as_f64().filter(|alpha| alpha.is_finite());
        Ok(Self {
            rank: rank.ok_or_else(|| refuse("r", number("r"), "it must be a positive integer"))?,
            alpha: alpha
                .ok_or_else(|| refuse("lora_alpha", number("lora_alpha"), "it must be a finite number"))?,
            rank_stabilised: match number("use_rslora") {
                Value::Null | Value::Bool(false) => false,
                Value::Bool(true) => true,
                other => return Err(refuse("use_rslora", other, "it must be true or false")),
            },
            targets: Targets::read(number("target_modules"))?,
            ranks: patterns(config, "rank_pattern")?,
            alphas: patterns(config, "alpha_pattern")?,
        })
    }

    /// The factor of `module`, whose tensors have `rank`.
    fn scale(&self, module: &str, rank: usize) -> Result<f32, AdapterError> {
        let tensor = |problem| AdapterError::Tensor { tensor: module.to_owned(), problem };
        if !self.targets.name(module)? {
            let problem = "target_modules does not name it, so that PEFT would leave it out; \
                           the files do not belong together: fetch the adapter again";
            return Err(tensor(problem.to_owned()));
        }
        let said = match of_pattern(&self.ranks, "rank_pattern", module)? {
            None => self.rank,
            Some(value) => value
                .as_u64()
                .ok_or_else(|| refuse("rank_pattern", value, "it must map names to positive integers"))?,
        };
        if said != rank as u64 {
            let problem = format!(
                "its rank is {rank}, and adapter_config.json makes it {said} (r, rank_pattern); \
                 the files do not belong together: fetch the adapter again"
            );
            return Err(tensor(problem));
        }
        let alpha = match of_pattern(&self.alphas, "alpha_pattern", module)? {
            None => self.alpha,
            Some(value) => value
                .as_f64()
                .ok_or_else(|| refuse("alpha_pattern", value, "it must map names to finite numbers"))?,
        };
        let rank = rank as f64;
        Ok((alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32)
    }
}

impl<'a> Targets<'a> {
    fn read(value: &'a Value) -> Result<Self, AdapterError> {
        let wrong = || refuse("target_modules", value, "it must be a list of names, or a regular expression");
        match value {
            Value::String(text) => {
                Ok(Self::Matching(Pattern::new("target_modules", text, format!("^(?:{text})$"))?))
            }
            Value::Array(names) => {
                let names = names.iter().map(|name| name.as_str().ok_or_else(wrong));
                Ok(Self::Listed(names.collect::<Result<_, _>>()?))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(wrong()),
        }
    }

    /// Whether `module` is among them, by PEFT's rule.
    fn name(&self, module: &str) -> Result<bool, AdapterError> {
        match self {
            Self::Listed(names) => Ok(names.iter().any(|name| {
                module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })),
            Self::Matching(pattern) => pattern.is_match("target_modules", module),
        }
    }
}

impl<'a> Pattern<'a> {
    fn new(key: &str, text: &'a str, regex: String) -> Result<Self, AdapterError> {
        let wrong =
            |error| refuse(key, &Value::from(text), &format!("no regular expression that is read: {error}"));
        Ok(Self { text, regex: Regex::new(&regex).map_err(wrong)? })
    }

    fn is_match(&self, key: &str, module: &str) -> Result<bool, AdapterError> {
        let wrong =
            |error| refuse(key, &Value::from(self.text), &format!("it could not be matched: {error}"));
        self.regex.is_match(module).map_err(wrong)
    }
}

fn patterns<'a>(
    config: &'a Map<String, Value>,
    key: &str,
) -> Result<Vec<(Pattern<'a>, &'a Value)>, AdapterError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(map)) => map
            .iter()
            // PEFT's `get_pattern_key`.
            .map(|(text, value)| Ok((Pattern::new(key, text, format!("^(?:.*\\.)?(?:{text})$"))?, value)))
            .collect(),
        Some(other) => Err(refuse(key, other, "it must be an object")),
    }
}

/// The value of the patterns that match `module`. PEFT takes the first in the file's order, which is not kept here: two
/// that disagree are refused.
fn of_pattern<'a>(
    patterns: &[(Pattern<'a>, &'a Value)],
    key: &str,
    module: &str,
) -> Result<Option<&'a Value>, AdapterError> {
    let mut found: Option<&Value> = None;
    for (pattern, value) in patterns {
        if !pattern.is_match(key, module)? {
            continue;
        }
        if found.is_some_and(|found| found != *value) {
            let fix = format!("two patterns with different values match {module}; leave one");
            return Err(refuse(key, &Value::from(pattern.text), &fix));
        }
        found = Some(value);
    }
    Ok(found)
}

fn expect(config: &Map<String, Value>, key: &str, served: &[Value], fix: &str) -> Result<(), AdapterError> {
    let found = config.get(key).unwrap_or(&Value::Null);
    if served.contains(found) { Ok(()) } else { Err(refuse(key, found, fix)) }
}

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

fn fix_for(key: &str) -> &'static str {
    match key {
        "use_dora" => "DoRA is not served; train without it, or merge the adapter into the model",
        "modules_to_save" => {
            "whole modules beside LoRA are not served; train without them, or merge the adapter into the model"
        }
        "fan_in_fan_out" => "transposed matrices are not served; no model served here has them",
        _ => {
            "it changes what is computed and is not served; train without it, or merge the adapter into the model"
        }
    }
}

fn refuse(key: &str, value: &Value, fix: &str) -> AdapterError {
    AdapterError::Setting { key: key.to_owned(), value: value.to_string(), fix: fix.to_owned() }
}
