//! Each example of a provider, served by `up` from its file to an answer, with a simulator in the place of the provider.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use weighbridge_tests::simulator::{Seen, Simulator};

use crate::process::{Up, examples};

/// Those whose providers need more than a key: `tests/tests/clouds` runs them.
const CLOUDS: [&str; 2] = ["external-vertex.yaml", "external-bedrock.yaml"];

/// What of an example is run here: the file with the simulator in it, and what has to be given to `up` with it.
struct Example {
    kind: String,
    /// What callers call the model.
    model: String,
    /// The objects, as YAML.
    yaml: String,
    secrets: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The example `text` with the provider at `simulator`. Only where it is and what it calls its model change.
fn at(simulator: SocketAddr, text: &str) -> Example {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let mut example = Example {
        kind: String::new(),
        model: String::new(),
        yaml: String::new(),
        secrets: Vec::new(),
        environment: Vec::new(),
    };
    for mut object in objects {
        match object["kind"].as_str().unwrap() {
            "ExternalProvider" => {
                let spec = &mut object["spec"];
                example.kind = spec["kind"].as_str().unwrap().to_owned();
                let version = match example.kind.as_str() {
                    "AzureOpenAI" => "/openai/v1",
                    "OpenAI" | "OpenAICompatible" => "/v1",
                    _ => "",
                };
                spec["baseURL"] = json!(format!("http://{simulator}{version}"));
                spec["allowPrivate"] = json!(true);
                // Of OpenAI it is the host that holds it to a region, and that is what was replaced.
                if example.kind == "OpenAI" {
                    spec["dataPolicy"].as_object_mut().unwrap().remove("region").unwrap();
                }
                for (index, key) in spec["apiKeys"].as_array().unwrap().iter().enumerate() {
                    let (name, key) = (key["name"].as_str().unwrap(), key["key"].as_str().unwrap());
                    example.secrets.push(format!("{name}/{key}=env:KEY_{index}"));
                    example.environment.push((format!("KEY_{index}"), format!("sk-canary-{index}")));
                }
            }
            "ModelDeployment" => {
                example.model = object["metadata"]["name"].as_str().unwrap().to_owned();
                object["spec"]["external"]["model"] = json!("faithful");
            }
            other => panic!("a {other} in an example of a provider"),
        }
        // JSON is YAML.
        example.yaml += &format!("---\n{object}\n");
    }
    example
}

/// The key that a request was sent with.
fn key(seen: &Seen) -> &str {
    let names = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
    let value = names.iter().find_map(|name| seen.headers.get(*name)).unwrap().to_str().unwrap();
    value.strip_prefix("Bearer ").unwrap_or(value)
}

fn files() -> Vec<PathBuf> {
    let all = std::fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let is_one = |path: &PathBuf| named(path).starts_with("external-") && !CLOUDS.contains(&&*named(path));
    let mut files: Vec<_> = all.filter(is_one).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_a_provider_answers() {
    let files = files();
    let mut kinds = Vec::new();
    for file in &files {
        let what = file.display();
        let simulator = Simulator::start().await.unwrap();
        let example = at(simulator.address(), &std::fs::read_to_string(file).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let patched = folder.path().join("models.yaml");
        std::fs::write(&patched, &example.yaml).unwrap();
        let flags: Vec<&str> =
            example.secrets.iter().flat_map(|secret| ["--secret", secret.as_str()]).collect();
        let environment: Vec<(&str, &str)> =
            example.environment.iter().map(|(name, key)| (name.as_str(), key.as_str())).collect();
        let up = Up::start(&patched, &flags, &environment);
        for stream in [false, true] {
            let question = json!({"model": example.model, "stream": stream,
                                  "messages": [{"role": "user", "content": "hi"}]});
            let reply = up.post("/v1/chat/completions", &question.to_string());
            let (status, text) = (reply.status, reply.text());
            assert_eq!(status, 200, "{what}: {text}");
            assert!(text.contains("Hello"), "{what}: {text}");
            assert!(!stream || text.contains("data: [DONE]"), "{what}: {text}");
        }
        let seen = simulator.seen();
        assert_eq!(seen.len(), 2, "{what}");
        for seen in seen {
            assert!(key(&seen).starts_with("sk-canary-"), "{what}: {:?}", seen.headers);
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            // What the example demands of where and whether things are kept.
            match example.kind.as_str() {
                "OpenAI" => assert_eq!(body["store"], false, "{what}: {body}"),
                "Anthropic" => assert_eq!(body["inference_geo"], "us", "{what}: {body}"),
                _ => {}
            }
        }
        up.interrupt();
        let (code, said) = up.wait();
        assert_eq!(code, Some(0), "{what}: {said}");
        assert!(!said.contains("canary"), "{what}: {said}");
        kinds.push(example.kind);
    }
    kinds.sort();
    let all = ["Anthropic", "AnthropicCompatible", "AzureOpenAI", "Gemini", "OpenAI", "OpenAICompatible"];
    assert_eq!(kinds, all, "an example each");
}
