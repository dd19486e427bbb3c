//! Folders as the hub keeps models: the goldens' own tokens through the whole server, and what is wrong with a folder.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use weighbridge_inference_server::server::{ServeError, ServerConfig};

use super::family;
use super::running::{Running, config, refusal};

/// Every family that generates, with one case each.
const DECODERS: [&str; 14] = [
    "llama2",
    "llama3",
    "llama-linear",
    "smollm2",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3-yarn",
    "qwen3-moe",
    "qwen3-moe-mixed",
    "gemma2",
    "gemma3",
    "phi3",
];

fn ids(name: &str, part: &str) -> Vec<u32> {
    let bytes = std::fs::read(family(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(&format!("main.{part}")).unwrap();
    let chunks = tensor.data().chunks_exact(8);
    chunks.map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap()).collect()
}

fn tokenizer(folder: &Path) -> Tokenizer {
    Tokenizer::from_file(folder.join("tokenizer.json")).unwrap()
}

/// A copy of a family's folder with further files.
fn copy(name: &str, files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(family(name)).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    for (file, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

#[tokio::test]
async fn greedy_completions_are_the_goldens_tokens() {
    for name in DECODERS {
        let server = Running::start(config(family(name), name)).await;
        let (prompt, greedy) = (ids(name, "prompt_ids"), ids(name, "greedy_ids"));
        let request = json!({"model": name, "prompt": prompt, "max_tokens": greedy.len(), "temperature": 0,
                             "ignore_eos": true, "logprobs": 0});
        let answer = server.post("/v1/completions", &request).await;
        let tokenizer = tokenizer(&family(name));
        let each: Vec<String> = greedy.iter().map(|id| tokenizer.decode(&[*id], false).unwrap()).collect();
        assert_eq!(answer["choices"][0]["logprobs"]["tokens"], json!(each), "{name}");
        // A special token is one of the ids, and nothing that a reader sees.
        assert_eq!(answer["choices"][0]["text"], json!(tokenizer.decode(&greedy, true).unwrap()), "{name}");
        server.stop().await;
    }
}

#[tokio::test]
async fn text_is_read_as_transformers_reads_it() {
    let template = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}";
    let named = json!([{"name": "tools", "template": "x"}, {"name": "default", "template": template}]);
    let said = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": named});
    let end = ids("llama2", "greedy_ids")[3];
    let folder = copy(
        "llama2",
        &[("tokenizer_config.json", said), ("generation_config.json", json!({"eos_token_id": [end, 2]}))],
    );
    let mut post: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("tokenizer.json")).unwrap()).unwrap();
    post["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    });
    // Left out: a server says what is too long, and pads nothing.
    post["truncation"] =
        json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    std::fs::write(folder.path().join("tokenizer.json"), post.to_string()).unwrap();
    let server = Running::start(config(folder.path().to_owned(), "m")).await;
    let mut plain = tokenizer(folder.path());
    plain.with_truncation(None).unwrap();
    let count = |text: &str, special| json!(plain.encode(text, special).unwrap().len());

    let text = "What is the time on the other side?";
    let request = json!({"model": "m", "prompt": text, "max_tokens": 1, "echo": true, "logprobs": 0});
    let answer = server.post("/v1/completions", &request).await;
    assert_eq!(answer["usage"]["prompt_tokens"], count(text, true));
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"][0], "<s>");

    let messages = json!([{"role": "user", "content": "Hi</s>"}]);
    let request = json!({"model": "m", "messages": messages, "max_tokens": 1});
    let answer = server.post("/v1/chat/completions", &request).await;
    let prompt = "<s>user: Hi</s></s>";
    assert_eq!(answer["usage"]["prompt_tokens"], count(prompt, false), "specials are parsed, and none added");

    let request =
        json!({"model": "m", "prompt": ids("llama2", "prompt_ids"), "max_tokens": 9, "temperature": 0});
    let answer = server.post("/v1/completions", &request).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    server.stop().await;
}

#[tokio::test]
async fn a_template_of_its_own_goes_first_and_none_is_said() {
    let said = json!({"chat_template": "{{ raise_exception('the older one') }}"});
    let own = json!("{{ messages[0].content }}");
    let folder = copy("llama2", &[("tokenizer_config.json", said), ("chat_template.jinja", own)]);
    let server = Running::start(config(folder.path().to_owned(), "m")).await;
    let request =
        json!({"model": "m", "messages": [{"role": "user", "content": "the time"}], "max_tokens": 1});
    let answer = server.post("/v1/chat/completions", &request).await;
    assert_eq!(
        answer["usage"]["prompt_tokens"],
        json!(tokenizer(folder.path()).encode("the time", false).unwrap().len())
    );
    server.stop().await;

    let server = Running::start(config(family("llama2"), "m")).await;
    let (status, error) = server.refused("/v1/chat/completions", &request).await;
    let words = error["message"].as_str().unwrap();
    assert!(status == 400 && words.contains("chat_template.jinja") && words.contains("/v1/completions"));
    server.stop().await;
}

/// The error of serving `folder`.
async fn error(folder: PathBuf) -> ServeError {
    refusal(ServerConfig { context_length: None, ..config(folder, "m") }).await
}

#[tokio::test]
async fn what_is_wrong_with_a_folder_is_named() {
    for (file, content, words) in [
        ("tokenizer.json", None, "tokenizer.json is missing: put the model's own beside config.json"),
        ("config.json", None, "config.json"),
        ("model.safetensors", None, "model.safetensors"),
        ("tokenizer.json", Some("{}"), "tokenizer.json: "),
        ("tokenizer_config.json", Some("["), "tokenizer_config.json is no JSON object"),
        (
            "tokenizer_config.json",
            Some(r#"{"bos_token": 3}"#),
            "tokenizer_config.json: bos_token: it must be",
        ),
        (
            "tokenizer_config.json",
            Some(r#"{"chat_template": [{"name": "tools", "template": "x"}]}"#),
            "tokenizer_config.json: chat_template: it must be a string, or a list",
        ),
        (
            "generation_config.json",
            Some(r#"{"eos_token_id": "</s>"}"#),
            "generation_config.json: eos_token_id: it must be a token id",
        ),
    ] {
        let folder = copy("llama2", &[]);
        let path = folder.path().join(file);
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let said = error(folder.path().to_owned()).await.to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_tokenizer_of_another_model_is_refused() {
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(family("llama2").join("tokenizer.json")).unwrap()).unwrap();
    json["model"]["vocab"]["extra"] = json!(128);
    let folder = copy("llama2", &[("tokenizer.json", json)]);
    let said = error(folder.path().to_owned()).await.to_string();
    assert!(said.contains("tokenizer.json: 129 tokens, but the model has embeddings for 128"), "{said}");

    let mut json: Value =
        serde_json::from_slice(&std::fs::read(family("llama2").join("tokenizer.json")).unwrap()).unwrap();
    json["decoder"] = json!({"type": "CTC", "pad_token": "a", "word_delimiter_token": "b", "cleanup": true});
    let folder = copy("llama2", &[("tokenizer.json", json)]);
    let said = error(folder.path().to_owned()).await.to_string();
    assert!(said.contains("tokenizer.json: decoder: CTC is not served"), "{said}");
}

/// Tokenizers of multimodal models number tokens that the text model has no row for.
#[tokio::test]
async fn a_token_beyond_the_models_rows_is_the_requests_own_fault() {
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(family("llama2").join("tokenizer.json")).unwrap()).unwrap();
    let image = json!({"id": 128, "content": "<image>", "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": true});
    json["added_tokens"].as_array_mut().unwrap().push(image);
    let folder = copy("llama2", &[("tokenizer.json", json)]);
    let server = Running::start(config(folder.path().to_owned(), "m")).await;
    let request = |prompt: &str| json!({"model": "m", "prompt": prompt, "max_tokens": 1});
    let (status, error) = server.refused("/v1/completions", &request("a <image>")).await;
    assert_eq!((status, &error["param"]), (400, &json!("prompt")));
    assert!(error["message"].as_str().unwrap().contains("<image>"), "{error}");
    server.post("/v1/completions", &request("a")).await;
    server.stop().await;
}
