//! `examples/adapters.yaml` as it stands, with random weights and random adapters where its claims lie.

use std::path::Path;

use serde_json::{Value, json};
use sha2::Digest as _;
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::gguf::Value as GgufValue;
use weighbridge_inference_server::gguf::write::GgufWriter;

use crate::process::{SAMPLE, SAMPLE_DIGEST, Up, err, examples, run};

/// The attention's and the feed-forward part's outputs in a model of `synth`'s tiny shape: what PEFT and ggml call them, and
/// their rows and columns.
const TARGETS: [(&str, &str, usize, usize); 2] =
    [("self_attn.o_proj", "attn_output", 256, 256), ("mlp.down_proj", "ffn_down", 256, 512)];
const LAYERS: usize = 2;
const RANK: usize = 4;

/// Numbers between -1 and 1, as stored in F32.
fn numbers(count: usize, state: &mut u32) -> Vec<u8> {
    let number = |_| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(number).flat_map(f32::to_le_bytes).collect()
}

/// A folder as PEFT writes it.
fn write_peft(folder: &Path, seed: u32) {
    let (mut header, mut data, mut state) = (serde_json::Map::new(), Vec::new(), seed);
    for layer in 0..LAYERS {
        for (part, _, rows, columns) in TARGETS {
            for (half, shape) in [("A", [RANK, columns]), ("B", [rows, RANK])] {
                let start = data.len();
                data.extend(numbers(shape[0] * shape[1], &mut state));
                let name = format!("base_model.model.model.layers.{layer}.{part}.lora_{half}.weight");
                let offsets = [start, data.len()];
                header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}));
            }
        }
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let targets = TARGETS.map(|(part, ..)| part.rsplit('.').next().unwrap());
    let config = json!({"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": targets});
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("adapter_model.safetensors"), bytes).unwrap();
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

/// A file as llama.cpp's converter writes it.
fn write_gguf(path: &Path, seed: u32) {
    let (mut file, mut state) = (GgufWriter::new(), seed);
    for (key, value) in
        [("general.architecture", "llama"), ("general.type", "adapter"), ("adapter.type", "lora")]
    {
        file.pair(key, GgufValue::String(value.to_owned()));
    }
    file.pair("adapter.lora.alpha", GgufValue::F32(RANK as f32));
    for layer in 0..LAYERS {
        for (_, part, rows, columns) in TARGETS {
            for (half, shape) in [("a", [columns, RANK]), ("b", [RANK, rows])] {
                let name = format!("blk.{layer}.{part}.weight.lora_{half}");
                let data = numbers(shape[0] * shape[1], &mut state);
                file.tensor(&name, &shape, TensorType::F32, data).unwrap();
            }
        }
    }
    file.write(&mut std::fs::File::create(path).unwrap()).unwrap();
}

/// The example with the digest of `weights`, which is all that is changed.
fn example(weights: &Path) -> String {
    let example = std::fs::read_to_string(examples().join("adapters.yaml")).unwrap();
    assert!(example.contains(SAMPLE) && example.contains(SAMPLE_DIGEST));
    let digest = sha2::Sha256::digest(std::fs::read(weights).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    example.replace(SAMPLE_DIGEST, &format!("sha256:{digest}"))
}

fn question(model: &str) -> String {
    json!({"model": model, "max_tokens": 12, "temperature": 0, "ignore_eos": true,
           "messages": [{"role": "user", "content": "Hi"}]})
    .to_string()
}

fn answer(up: &Up, model: &str) -> String {
    let reply = up.post("/v1/chat/completions", &question(model));
    let status = reply.status;
    let answer: Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!((status, &answer["model"]), (200, &json!(model)), "{answer}");
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!text.is_empty(), "{answer}");
    text.to_owned()
}

#[test]
fn the_example_of_adapters_is_run_and_each_answers_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (models, adapters) = (folder.path().join("models"), folder.path().join("adapters"));
    std::fs::create_dir_all(&models).unwrap();
    let weights = models.join(SAMPLE);
    let made = run(&["synth", "--matrices", "q4_1", "--output", weights.to_str().unwrap()]);
    assert!(made.status.success(), "{}", err(&made));
    write_peft(&adapters.join("tone"), 1);
    write_gguf(&adapters.join("legal.gguf"), 2);
    let file = folder.path().join("example.yaml");
    std::fs::write(&file, example(&weights)).unwrap();

    let claims = [format!("models={}", models.display()), format!("adapters={}", adapters.display())];
    let up = Up::start(&file, &["--claim", &claims[0], "--claim", &claims[1]], &[]);
    let listed: Value = serde_json::from_str(&up.get("/v1/models").text()).unwrap();
    let mut listed: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["default/smollm2", "default/smollm2:legal", "default/smollm2:tone"]);

    let names = ["smollm2", "smollm2:tone", "smollm2:legal"];
    let first = names.map(|name| answer(&up, name));
    assert!(first[0] != first[1] && first[0] != first[2] && first[1] != first[2], "{first:?}");
    // The other way round: nothing of one is left for the next.
    for (name, first) in names.iter().zip(&first).rev() {
        assert_eq!(answer(&up, name), *first, "{name}");
    }

    let reply = up.post("/v1/chat/completions", &question("smollm2:poetry"));
    let status = reply.status;
    let error: Value = serde_json::from_str(&reply.text()).unwrap();
    let error = &error["error"];
    assert_eq!((status, &error["param"]), (404, &json!("model")), "{error}");
    let message = error["message"].as_str().unwrap();
    for words in ["poetry", "`smollm2:tone`", "`smollm2:legal`"] {
        assert!(message.contains(words), "{message}");
    }
    up.interrupt();
    let banner = up.banner.clone();
    assert!(banner.contains("  smollm2:tone\n  smollm2:legal\n"), "{banner}");
    let (_, said) = up.wait();
    assert!(
        !banner.contains("no served model uses") && !said.contains("no served model uses"),
        "{banner}{said}"
    );
}
