//! An example a family: each is run with random weights of its family in the place of the hub's.

use std::path::Path;

use serde_json::Value;

use crate::hub::Hub;
use crate::process::{Up, err, examples, run};

/// The file of an `hf` source, as the hub's path to it, and the model's name.
fn source_and_name(example: &str) -> (String, String) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(example).unwrap();
    let model = documents.iter().find(|document| document["kind"] == "ModelDeployment").unwrap();
    let source = model["spec"]["openWeights"]["source"].as_str().unwrap().strip_prefix("hf://").unwrap();
    let mut parts = source.splitn(3, '/');
    let (organisation, repository, file) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let name = model["metadata"]["name"].as_str().unwrap().to_owned();
    (format!("/{organisation}/{repository}/resolve/main/{file}"), name)
}

/// Weights of `family` in the types of such files.
fn weights(family: &str, folder: &Path) -> Vec<u8> {
    let path = folder.join("synthetic.gguf");
    let made = run(&["synth", "--family", family, "--context", "32768", "--output", path.to_str().unwrap()]);
    assert!(made.status.success(), "{}", err(&made));
    std::fs::read(path).unwrap()
}

/// Starts the example of `family`: the hub is a double, and profiles ask for what this machine has. Else it is the file.
fn check(family: &str) {
    let example = std::fs::read_to_string(examples().join(format!("families/{family}.yaml"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, model) = source_and_name(&example);
    let hub = Hub::start(&path, weights(family, folder.path()), "");
    let mut lines = Vec::new();
    for line in example.lines() {
        lines.push(if line.starts_with("  cpu: ") { "  cpu: \"1\"".to_owned() } else { line.to_owned() });
        if line.starts_with("    source: ") {
            lines.push(format!("    hub: {{ endpoint: \"{}\" }}", hub.url));
        }
    }
    let file = folder.path().join("example.yaml");
    std::fs::write(&file, lines.join("\n")).unwrap();

    let cache = folder.path().join("cache");
    let up = Up::start(&file, &["--cache-folder", cache.to_str().unwrap()], &[]);
    let question = format!(
        r#"{{"model":"{model}","max_tokens":3,"temperature":0,"messages":[{{"role":"user","content":"Hi"}}]}}"#
    );
    let reply = up.post("/v1/chat/completions", &question);
    let status = reply.status;
    let answer: Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["model"], model.as_str());
    assert!(answer["usage"]["completion_tokens"].as_u64().is_some_and(|count| count > 0), "{answer}");
}

macro_rules! families {
    ($($test:ident: $name:literal;)*) => {
        const CHECKED: &[&str] = &[$($name),*];
        $(#[test] fn $test() { check($name); })*
    };
}

families! {
    llama: "llama";
    mistral: "mistral";
    mixtral: "mixtral";
    qwen2: "qwen2";
    qwen3: "qwen3";
    qwen3_moe: "qwen3-moe";
    gemma2: "gemma2";
    gemma3: "gemma3";
    phi3: "phi3";
}

/// An example that no test runs is not an example.
#[test]
fn every_example_of_a_family_is_run() {
    let mut found: Vec<String> = std::fs::read_dir(examples().join("families"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut checked = CHECKED.to_vec();
    found.sort_unstable();
    checked.sort_unstable();
    assert_eq!(found, checked);
}
