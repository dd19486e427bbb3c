//! Adapters that cannot be honoured, each refused by name; and two spellings that say the same.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::{AdapterFile, AdapterPlan, Base};
use crate::gguf::GgufFile;
use crate::model::{TensorSource, plan_decoder};
use crate::safetensors::SafetensorsFolder;

fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

fn base(name: &str) -> Base {
    let source = SafetensorsFolder::open(&goldens(&format!("families/{name}"))).unwrap();
    let planned = plan_decoder(&source, None).unwrap();
    Base::new(&source, &planned.plan, planned.model.dimensions()).unwrap()
}

/// What is said of the adapter at `path` on the model `name`.
fn refusal(path: &Path, name: &str) -> String {
    let refused =
        AdapterFile::open(path).and_then(|file| AdapterPlan::new(&file, &base(name))?.load().map(|_| ()));
    refused.expect_err("it is refused").to_string()
}

/// A copy of the adapter `llama2-all` with `change` done to its config.
fn with_config(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = goldens("adapters/llama2-all");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(from.join(weights), folder.path().join(weights)).unwrap();
    folder
}

/// An adapter of `tensors`, `[rows, columns]` of one value each.
fn with_tensors(tensors: &[(&str, [usize; 2], f32)]) -> tempfile::TempDir {
    let folder = with_config(|_| ());
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, [rows, columns], value)| value.to_le_bytes().repeat(rows * columns))
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.path().join("adapter_model.safetensors")).unwrap();
    folder
}

#[test]
fn settings_that_change_numbers_are_refused_by_name() {
    let cases = [
        ("peft_type", json!("LOHA"), "LoRA adapters are served"),
        ("use_dora", json!(true), "DoRA is not served"),
        ("bias", json!("all"), "use bias none"),
        ("modules_to_save", json!(["lm_head"]), "merge the adapter"),
        ("fan_in_fan_out", json!(true), "transposed"),
        ("layer_replication", json!([[0, 2]]), "changes what is computed"),
        ("trainable_token_indices", json!([1]), "changes what is computed"),
        ("a_key_of_tomorrow", json!(1), "changes what is computed"),
        ("init_lora_weights", json!("pissa"), "base model's weights"),
        ("r", json!(0), "positive integer"),
        ("lora_alpha", json!("8"), "finite number"),
        ("use_rslora", json!(3), "true or false"),
        ("target_modules", json!(null), "a list of names"),
        ("target_modules", json!("("), "regular expression"),
        ("rank_pattern", json!({"q_proj": -1}), "positive integers"),
    ];
    for (key, value, problem) in cases {
        let folder = with_config(|config| config[key] = value);
        let said = refusal(folder.path(), "llama2");
        assert!(said.starts_with(&format!("{key} is ")) && said.contains(problem), "{key}: {said}");
    }
}

#[test]
fn ranks_and_targets_that_the_config_does_not_make_are_refused() {
    let rank = refusal(with_config(|config| config["r"] = json!(8)).path(), "llama2");
    assert!(rank.contains("its rank is 4, and adapter_config.json makes it 8"), "{rank}");
    let pattern = with_config(|config| config["rank_pattern"] = json!({"q_proj": 3}));
    let pattern = refusal(pattern.path(), "llama2");
    assert!(pattern.contains("self_attn.q_proj: its rank is 4"), "{pattern}");
    let target = refusal(with_config(|config| config["target_modules"] = json!(["v_proj"])).path(), "llama2");
    assert!(target.contains("target_modules does not name it"), "{target}");
    let two = with_config(|config| config["alpha_pattern"] = json!({"q_proj": 1, ".*_proj": 2}));
    let two = refusal(two.path(), "llama2");
    assert!(two.contains("two patterns with different values"), "{two}");
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    let whole = [(A, [4, 64], 1.0), (B, [64, 4], 1.0)];
    let folder = with_tensors(&whole);
    let file = AdapterFile::open(folder.path()).unwrap();
    AdapterPlan::new(&file, &base("llama2")).unwrap().load().unwrap();
    let cases = [
        (vec![whole[0]], "lora_B is missing"),
        (vec![whole[0], (B, [64, 3], 1.0)], "has rank 4 and lora_B 3"),
        (vec![(A, [4, 32], 1.0), whole[1]], "and this model's matrix makes it [64, 4]"),
        (vec![whole[0], (B, [32, 4], 1.0)], "and this model's matrix makes it [4, 64]"),
        (vec![whole[0], (B, [64, 4], f32::NAN)], "no finite number"),
        (vec![(A, [4, 64], f32::INFINITY), whole[1]], "no finite number"),
        (vec![("base_model.model.lm_head.lora_A.weight", [4, 64], 1.0)], "lora_B is missing"),
        (vec![("base_model.model.model.layers.0.mlp.experts.0.x.weight", [4, 64], 1.0)], "has no place"),
        (vec![], "no lora_A and lora_B"),
    ];
    for (tensors, problem) in cases {
        let said = refusal(with_tensors(&tensors).path(), "llama2");
        assert!(said.contains(problem), "{problem}: {said}");
    }
    for module in
        ["lm_head", "model.embed_tokens", "model.layers.9.self_attn.q_proj", "model.layers.0.mlp.gate"]
    {
        let name = |half: &str| format!("base_model.model.{module}.lora_{half}.weight");
        let folder = with_tensors(&[(&name("A"), [4, 64], 1.0), (&name("B"), [64, 4], 1.0)]);
        let config = folder.path().join("adapter_config.json");
        let text = std::fs::read_to_string(&config)
            .unwrap()
            .replace("\"q_proj\"", "\"q_proj\",\"lm_head\",\"embed_tokens\",\"gate\"");
        std::fs::write(&config, text).unwrap();
        let said = refusal(folder.path(), "llama2");
        assert!(said.contains(module) && said.contains("has no place"), "{module}: {said}");
    }
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let said = refusal(&goldens("adapters/llama2-all/adapter.gguf"), "qwen3");
    assert!(said.contains("made for a llama model, and this one is qwen3"), "{said}");
    let llamas = with_tensors(&[
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", [4, 64], 1.0),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", [64, 4], 1.0),
    ]);
    let said = refusal(llamas.path(), "phi3");
    assert!(said.contains("has no place"), "{said}");
    let said = refusal(&goldens("families/llama2/model.gguf"), "llama2");
    assert!(said.contains("general.type") && said.contains("adapter"), "{said}");
    let said = refusal(&goldens("families/llama2"), "llama2");
    assert!(said.contains("adapter_config.json is missing"), "{said}");
}

#[test]
fn bytes_are_known_before_a_tensor_is_read() {
    let file = AdapterFile::open(&goldens("adapters/llama2-all/adapter.gguf")).unwrap();
    let AdapterFile::Gguf(gguf) = &file else { panic!("it is GGUF") };
    let gguf: &GgufFile = gguf;
    assert!(gguf.names().count() > 0);
    let plan = AdapterPlan::new(&file, &base("llama2")).unwrap();
    let planned = plan.bytes();
    assert!(planned > 0);
    assert_eq!(plan.load().unwrap().bytes(), planned);
    assert!(!gguf.is_mapped());
}
