//! `inspect`, as the pod that only looks at a model runs it.

use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{family, sample};

/// A golden model's folder, by a path without `..`.
fn folder(name: &str) -> String {
    format!("--source=file://{}", family(name).canonicalize().unwrap().display())
}

async fn inspect(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge-inference-server"));
    command.args(["inspect", "--cache-folder=unused"]).args(arguments).output().await.unwrap()
}

async fn facts(arguments: &[&str]) -> Value {
    let found = inspect(arguments).await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    serde_json::from_slice(&found.stdout).unwrap()
}

#[tokio::test]
async fn a_file_is_described_by_its_header_for_cpu_and_cards() {
    let source = format!("--source=file://{}", sample().display());
    let facts = facts(&[&source, "--context-length=2048", "--max-sequences=4"]).await;
    for (field, value) in [
        ("architecture", json!("llama")),
        ("parameters", json!(134_515_008)),
        ("layers", json!(30)),
        ("heads", json!(9)),
        ("kvHeads", json!(3)),
        ("headLength", json!(64)),
        ("vocabulary", json!(49_152)),
        ("builtContext", json!(8192)),
        ("contextLength", json!(2048)),
        ("maxSequences", json!(4)),
        // Keys and values, of halves: 2 x 30 layers x 3 heads x 64 elements x 2 bytes.
        ("kvBytesPerToken", json!(23_040)),
    ] {
        assert_eq!(facts[field], value, "{field}: {facts}");
    }
    let types: u64 =
        facts["bytesByType"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(facts["bytes"], types);
    let cards: Vec<_> = facts["devices"].as_array().unwrap().iter().map(|device| &device["cards"]).collect();
    assert_eq!(cards, [0, 1, 3], "three heads of keys and values go to one or to three: {facts}");
}

#[tokio::test]
async fn a_folder_and_an_encoder_are_described_and_written_where_it_is_said() {
    let output = tempfile::NamedTempFile::new().unwrap();
    let said = inspect(&[&folder("qwen3"), &format!("--output={}", output.path().display())]).await;
    assert!(said.status.success() && said.stdout.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    let written = std::fs::read(output.path()).unwrap();
    assert!(written.len() < 4096, "it must fit into a container's termination message: {}", written.len());
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap()["architecture"], "qwen3");
    let encoder = facts(&[&folder("bert")]).await;
    assert_eq!(encoder["devices"].as_array().unwrap().len(), 1);
    assert_eq!(encoder["notOnCards"], "embedders and rerankers compute on the CPU");
}

#[tokio::test]
async fn settings_that_a_device_has_not_leave_it_out() {
    let source = format!("--source=file://{}", sample().display());
    let devices = |facts: Value| facts["devices"].as_array().unwrap().len();
    let fp8 = facts(&[&source, "--kv-cache-type=fp8"]).await;
    assert_eq!((&fp8["kvBytesPerToken"], fp8["devices"][0]["cards"].as_u64()), (&json!(11_520), Some(1)));
    let of_cpu = facts(&[&source, "--kv-cache-type=q8_0"]).await;
    assert!(of_cpu["notOnCards"].as_str().unwrap().contains("q8_0 are a CPU's"), "{of_cpu}");
    assert_eq!(devices(of_cpu), 1);
}

#[tokio::test]
async fn what_can_t_be_served_is_said_as_the_engine_would_say_it() {
    let context = format!("--source=file://{}", sample().display());
    for (arguments, words) in [
        (vec!["--source=file:///no/such.gguf"], "source: no file at /no/such.gguf"),
        (vec![context.as_str(), "--context-length=100000"], "100000 is more than the 8192 tokens"),
        (vec![context.as_str(), "--quantize=Q8_0"], "quantize: Q8_0 is asked for, and the model is GGUF"),
    ] {
        let found = inspect(&arguments).await;
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(!found.status.success() && said.contains(words), "{said}");
        assert!(found.stdout.is_empty());
    }
}
