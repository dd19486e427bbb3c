//! Adapters as llama.cpp's `convert_lora_to_gguf.py` writes them: `blk.N.PART.weight.lora_a` and `.lora_b`.

use super::AdapterError;
use super::source::{Halves, Pair, whole};
use crate::gguf::{GgufFile, Metadata};
use crate::model::plan::TARGETS;

/// The pairs of `file`, of an adapter for `architecture`.
pub(super) fn pairs(file: &GgufFile, architecture: &str) -> Result<Vec<Pair>, AdapterError> {
    let metadata = file.metadata();
    expect(metadata, "general.type", "adapter")?;
    expect(metadata, "adapter.type", "lora")?;
    let found = metadata.string("general.architecture")?;
    if found != architecture {
        return Err(AdapterError::Architecture {
            found: found.to_owned(),
            expected: architecture.to_owned(),
        });
    }
    for (key, value) in metadata.iter().filter(|(key, _)| key.starts_with("adapter.")) {
        if !matches!(key, "adapter.type" | "adapter.lora.alpha") {
            let fix = "this changes what is computed and is not served; use a plain LoRA adapter".to_owned();
            return Err(AdapterError::Setting { key: key.to_owned(), value: value.in_words(), fix });
        }
    }
    let alpha = metadata.f32("adapter.lora.alpha")?;
    if !alpha.is_finite() {
        let (key, fix) = ("adapter.lora.alpha".to_owned(), "it must be a finite number".to_owned());
        return Err(AdapterError::Setting { key, value: alpha.to_string(), fix });
    }
    let mut halves = Halves::new();
    for tensor in file.tensors() {
        let name = tensor.name();
        let unserved = || AdapterError::Target { tensor: name.to_owned(), served: TARGETS };
        let (module, half) = name.rsplit_once(".weight.lora_").ok_or_else(unserved)?;
        let entry = halves.entry(module.to_owned()).or_default();
        match half {
            "a" => entry.0 = Some(tensor),
            "b" => entry.1 = Some(tensor),
            _ => return Err(unserved()),
        }
    }
    halves
        .into_iter()
        .map(|(module, halves)| {
            let (a, b, rank) = whole(&module, halves)?;
            let place = module.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
            let place = place.and_then(|(layer, part)| Some((layer.parse().ok()?, part.to_owned())));
            let (layer, part) =
                place.ok_or_else(|| AdapterError::Target { tensor: a.name().to_owned(), served: TARGETS })?;
            // As llama.cpp: no alpha is a scale of 1.
            let scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
            Ok(Pair { layer, part, a, b, scale })
        })
        .collect()
}

fn expect(metadata: &Metadata, key: &str, expected: &str) -> Result<(), AdapterError> {
    match metadata.optional_string(key)? {
        Some(found) if found == expected => Ok(()),
        found => Err(AdapterError::Setting {
            key: key.to_owned(),
            value: found.unwrap_or("absent").to_owned(),
            fix: format!(
                "a LoRA adapter has {expected}; convert it with llama.cpp's convert_lora_to_gguf.py"
            ),
        }),
    }
}
