//! The whole server on the sample, over HTTP.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::{Value, json};
use weighbridge_crds::{KvCacheType, Quantization};
use weighbridge_inference_server::artifact::ArtifactRequest;
use weighbridge_inference_server::server::{DeviceSetting, ModelFile, ServeError, Server, ServerConfig};

use super::running::{Running, refusal};
use super::{family, sample};

/// Of the sample, as `examples/smollm2.yaml` has it.
const SAMPLE_DIGEST: &str = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// A server on the sample that has become ready.
async fn start() -> Running {
    let model = ModelFile::Path(sample());
    Running::start(ServerConfig::new(([127, 0, 0, 1], 0).into(), model, "smollm2")).await
}

fn chat(fields: Value) -> Value {
    let mut request = json!({"model": "smollm2", "temperature": 0, "max_tokens": 32,
                             "messages": [{"role": "user", "content": "What is the capital of France?"}]});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

/// Seconds of a phase of the start.
fn seconds(metrics: &str, phase: &str) -> f64 {
    let name = format!("weighbridge_cold_start_seconds{{phase=\"{phase}\"}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&name));
    found.unwrap_or_else(|| panic!("no {phase} in {metrics}")).parse().unwrap()
}

/// The text of a stream and its usage.
fn read_stream(text: &str) -> (String, Value) {
    let mut events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.pop(), Some("data: [DONE]"));
    let chunks = events.iter().map(|event| event.strip_prefix("data: ").unwrap());
    let chunks: Vec<Value> = chunks.map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    let text = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    (text, chunks.last().unwrap()["usage"].clone())
}

#[tokio::test]
async fn verifying_is_timed_apart_from_fetching() {
    let cache = tempfile::tempdir().unwrap();
    let source = format!("file://{}", sample().display()).parse().unwrap();
    let mut request = ArtifactRequest::new(source, cache.path().to_owned());
    request.digest = Some(SAMPLE_DIGEST.parse().unwrap());
    let model = ModelFile::Source(Box::new(request));
    let server = Running::start(ServerConfig::new(([127, 0, 0, 1], 0).into(), model, "m")).await;
    let metrics = server.send("GET", "/metrics", &Value::Null).await.1;
    let (verify, fetch) = (seconds(&metrics, "verify"), seconds(&metrics, "fetch"));
    assert!(verify > 0.0 && verify <= fetch, "{verify} of {fetch}");
}

#[tokio::test]
async fn a_chat_answers_whole_and_streamed_alike() {
    let server = start().await;
    let (ready, metrics) = (
        server.send("GET", "/readyz", &Value::Null).await,
        server.send("GET", "/metrics", &Value::Null).await,
    );
    assert_eq!(ready, (200, "ready".to_owned()));
    let phases = ["fetch", "open", "load", "map", "repack", "reserve", "tokenizer", "warm"];
    assert!(phases.iter().all(|phase| seconds(&metrics.1, phase) <= seconds(&metrics.1, "total")));
    let of_load: f64 = ["map", "repack", "reserve"].map(|phase| seconds(&metrics.1, phase)).iter().sum();
    assert!(of_load <= seconds(&metrics.1, "load"));
    let whole = server.post("/v1/chat/completions", &chat(json!({}))).await;
    let answer = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!answer.is_empty());
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    let (status, text) = server.send("POST", "/v1/chat/completions", &chat(fields)).await;
    assert_eq!(status, 200, "{text}");
    let (streamed, usage) = read_stream(&text);
    assert_eq!(streamed, answer);
    assert_eq!(usage, whole["usage"]);
    server.stop().await;
}

/// Questions of several lengths and languages.
const QUESTIONS: [&str; 12] = [
    "What is the capital of France?",
    "Name three colours.",
    "Write a haiku about rain.",
    "Qu'est-ce qu'une abeille ?",
    "What is 12 times 12?",
    "Explain photosynthesis in one sentence.",
    "fn main() {",
    "Tell me a joke about bees.",
    "Who wrote Hamlet?",
    "List the planets of the solar system.",
    "Grüße! Wie geht es dir?",
    "Why is the sky blue? Answer for a child, in two sentences, and mention the sun and the air.",
];

#[tokio::test]
async fn greedy_answers_at_once_are_those_of_one_at_a_time() {
    let server = Arc::new(start().await);
    let mut asked = Vec::new();
    for question in QUESTIONS {
        let messages = json!([{"role": "user", "content": question}]);
        let body = json!({"model": "smollm2", "temperature": 0, "max_tokens": 24, "messages": messages});
        let alone = server.post("/v1/chat/completions", &body).await;
        asked.push((body, alone));
    }
    let together: Vec<_> = asked
        .into_iter()
        .map(|(body, alone)| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { (server.post("/v1/chat/completions", &body).await, alone) })
        })
        .collect();
    let mut differ = Vec::new();
    for answers in together {
        let (crowded, alone) = answers.await.unwrap();
        if crowded["choices"] != alone["choices"] {
            differ.push(format!("{}\n{}", alone["choices"], crowded["choices"]));
        }
    }
    assert!(differ.is_empty(), "{} of 12 differ:\n{}", differ.len(), differ.join("\n\n"));
    // The engine tells its load after the step that ended the last answer.
    while !server
        .send("GET", "/metrics", &Value::Null)
        .await
        .1
        .contains("\nweighbridge_kv_cache_usage_ratio 0.0\n")
    {}
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn a_seed_repeats_and_unicode_arrives_whole() {
    let server = start().await;
    let fields = json!({"temperature": 1.2, "seed": 11, "max_tokens": 60,
                        "messages": [{"role": "user", "content": "Answer with emoji only: 🦀 ☕ 世界"}]});
    let first = server.post("/v1/chat/completions", &chat(fields.clone())).await;
    let second = server.post("/v1/chat/completions", &chat(fields.clone())).await;
    assert_eq!(first["choices"], second["choices"]);
    let mut fields = fields;
    fields["stream"] = json!(true);
    let (_, text) = server.send("POST", "/v1/chat/completions", &chat(fields)).await;
    assert_eq!(read_stream(&text).0, first["choices"][0]["message"]["content"].as_str().unwrap());
    server.stop().await;
}

#[tokio::test]
async fn the_context_is_the_models_and_is_enforced() {
    let server = start().await;
    let long = "word ".repeat(9000);
    let fields = json!({"messages": [{"role": "user", "content": long}]});
    let (status, text) = server.send("POST", "/v1/chat/completions", &chat(fields)).await;
    assert_eq!(status, 400);
    assert!(text.contains("context_length_exceeded") && text.contains("8192"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_model_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(sample()).unwrap();
    for (name, content, fix) in [
        ("text.gguf", b"no model at all".to_vec(), "convert the model to GGUF"),
        ("cut.gguf", bytes[..bytes.len() / 2].to_vec(), "fetch it again"),
        ("empty.gguf", Vec::new(), "the file is empty: fetch it again"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let config = ServerConfig::new(([127, 0, 0, 1], 0).into(), ModelFile::Path(path), "m");
        let server = Server::bind(config).await.unwrap();
        let error = server.run(std::future::pending(), Arc::new(|_| ())).await.unwrap_err();
        assert!(matches!(error, ServeError::File(_)), "{error}");
        assert!(error.to_string().starts_with("the model file: "), "{error}");
        assert!(error.to_string().contains(fix), "{error}");
    }
    let absent = ModelFile::Path(folder.path().join("absent.gguf"));
    let server = Server::bind(ServerConfig::new(([127, 0, 0, 1], 0).into(), absent, "m")).await.unwrap();
    let error = server.run(std::future::pending(), Arc::new(|_| ())).await.unwrap_err();
    assert!(error.to_string().contains("absent.gguf"), "{error}");
}

#[tokio::test]
async fn settings_that_make_no_server_are_refused_by_name() {
    let config = || ServerConfig::new(([127, 0, 0, 1], 0).into(), ModelFile::Path(sample()), "m");
    let two = NonZeroUsize::new(2).unwrap();
    let on =
        |device: &str| ServerConfig { device: device.parse().unwrap(), tensor_parallel: two, ..config() };
    let card = "GPU-00000000-0000-0000-0000-00000000000";
    let slices = format!("cuda:{card}1,{card}2").replace("GPU", "MIG");
    let wrong = [
        (on("cpu"), "tensor parallel: 2 GPUs can't share the model on the CPU"),
        (
            on(&format!("cuda:{card}1")),
            "tensor parallel: it is 2, and the device names another number of cards, 1: set it to 1",
        ),
        (on(&slices), "tensor parallel: slices of cards can't share a model"),
        (ServerConfig { model_names: vec![], ..config() }, "model name"),
        (ServerConfig { max_sequences: 0, ..config() }, "max sequences"),
        (ServerConfig { max_waiting: 0, ..config() }, "max waiting"),
        (ServerConfig { context_length: Some(1), ..config() }, "context length"),
    ];
    for (config, field) in wrong {
        let error = Server::bind(config).await.unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let head =
        ServerConfig { kv_cache_type: KvCacheType::Q8_0, ..super::running::config(family("llama2"), "m") };
    let error = refusal(head).await.to_string();
    assert!(error.contains("heads have 16, no multiple of 32; use f16 or f32"), "{error}");
    let eighth = ServerConfig { kv_cache_type: KvCacheType::Fp8, ..config() };
    let error = refusal(eighth).await.to_string();
    assert_eq!(error, "KV cache type: fp8 is a GPU's, and the CPU computes: use q8_0, f16 or f32");
    let stored = ServerConfig { quantize: Some(Quantization::Q8_0), ..config() };
    let error = refusal(stored).await.to_string();
    assert!(error.starts_with("quantize: Q8_0 is asked for, and the model is GGUF"), "{error}");
    let too_long = ServerConfig { context_length: Some(1 << 20), ..config() };
    let server = Server::bind(too_long).await.unwrap();
    let error = server.run(std::future::pending(), Arc::new(|_| ())).await.unwrap_err();
    assert!(error.to_string().contains("8192"), "{error}");
}

/// 1 MiB of KV memory holds 16, 32 or 80 tokens of the sample, by what they are kept as.
#[tokio::test]
async fn the_kv_caches_type_says_how_many_tokens_a_mebibyte_holds() {
    let held =
        [(KvCacheType::F32, 16), (KvCacheType::Auto, 32), (KvCacheType::F16, 32), (KvCacheType::Q8_0, 80)];
    for (kv_cache_type, tokens) in held {
        let config = ServerConfig {
            kv_cache_type,
            kv_memory: Some(1 << 20),
            ..super::running::config(sample(), "smollm2")
        };
        let server = Running::start(config).await;
        let request = |length| json!({"model": "smollm2", "prompt": vec![1; length], "max_tokens": 1});
        let (status, error) = server.refused("/v1/completions", &request(tokens)).await;
        let words = format!("{tokens} tokens");
        assert!(
            status == 400 && error["message"].as_str().unwrap().contains(&words),
            "{kv_cache_type}: {error}"
        );
        server.post("/v1/completions", &request(tokens - 1)).await;
        server.stop().await;
    }
}

/// Asked for a card that is not there, the CPU serves, and `/readyz` says why; asked for nothing, there is nothing to say.
#[tokio::test]
async fn without_the_gpu_that_was_asked_for_the_cpu_serves_and_says_why() {
    let serve = async |device: &str, count: usize| {
        let model = ModelFile::Path(sample());
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into(), model, "smollm2");
        config.device = device.parse().unwrap();
        config.tensor_parallel = NonZeroUsize::new(count).unwrap();
        let server = Running::start(config).await;
        let ready = server.send("GET", "/readyz", &Value::Null).await;
        let answer = server.post("/v1/chat/completions", &chat(json!({"max_tokens": 4}))).await;
        assert_eq!(answer["usage"]["completion_tokens"], 4);
        ready
    };
    let missing = "cuda:GPU-00000000-0000-0000-0000-000000000000";
    // Nor would 64 be anywhere, which whoever asks for several cards is told too.
    for (device, count) in [(missing, 1), ("auto", 64)] {
        let (status, words) = serve(device, count).await;
        assert!(status == 200 && words.starts_with("ready; on the CPU: no CUDA backend: "), "{words}");
    }
    assert_eq!(serve("cpu", 1).await, (200, "ready".to_owned()));
}

#[test]
fn a_device_that_is_none_is_refused_with_what_there_is() {
    for wrong in ["gpu", "", "cuda:0", "cuda:", "CUDA"] {
        let error = wrong.parse::<DeviceSetting>().unwrap_err();
        assert!(error.contains("cuda:UUID") || error.contains("nvidia-smi -L"), "{wrong}: {error}");
    }
    assert_eq!("auto".parse(), Ok(DeviceSetting::Auto));
    let (one, two) = ("GPU-00000000-0000-0000-0000-000000000001", "GPU-00000000-0000-0000-0000-000000000002");
    let named = [one, two].map(str::to_owned).to_vec();
    assert_eq!(format!("cuda:{one},{two}").parse(), Ok(DeviceSetting::Cuda(named)));
    assert!(format!("cuda:{one},").parse::<DeviceSetting>().unwrap_err().contains("nvidia-smi -L"));
}
