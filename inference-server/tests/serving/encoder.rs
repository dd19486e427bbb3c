//! Embedders and rerankers through the whole server: the goldens' vectors and scores, and what is refused.

use base64::Engine as _;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use weighbridge_crds::KvCacheType;
use weighbridge_inference_server::backend::cpu::{CpuEncoder, CpuOptions, EncoderInput, Pooling};
use weighbridge_inference_server::gguf::write::GgufHeader;
use weighbridge_inference_server::gguf::{TensorType, Value as GgufValue};
use weighbridge_inference_server::safetensors::SafetensorsFolder;
use weighbridge_inference_server::server::ServerConfig;
use weighbridge_inference_server::synth::{Family, Format, Shape, SynthSpec, WriteOptions};

use super::running::{Running, config, refusal};
use super::{family, fetched};

/// Sequence `index` of a family's golden: its ids, its types, and the numbers of `part`.
fn golden(name: &str, index: usize, part: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(family(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |part: &str| file.tensor(&format!("s{index}.{part}")).unwrap();
    let ids = tensor("input_ids").data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
    let numbers = tensor(part).data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    (ids.map(|id| u32::try_from(id).unwrap()).collect(), numbers.collect())
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(worst < 2e-5, "{worst}: {found:?} {expected:?}");
}

#[tokio::test]
async fn embeddings_are_the_goldens() {
    for name in ["bert", "xlm-roberta"] {
        let server = Running::start(config(family(name), name)).await;
        assert_eq!(server.send("GET", "/readyz", &Value::Null).await, (200, "ready".to_owned()));
        let cases: Vec<_> = (0..4).map(|index| golden(name, index, "mean")).collect();
        // Only those of one text: in the others the types differ, and ids alone do not say them.
        let single: Vec<_> = cases.iter().filter(|(ids, _)| name != "bert" || separators(ids) == 1).collect();
        assert!(!single.is_empty());
        let lists: Vec<_> = single.iter().map(|(ids, _)| ids).collect();
        let answer = server.post("/v1/embeddings", &json!({"model": name, "input": lists})).await;
        let tokens: usize = lists.iter().map(|ids| ids.len()).sum();
        assert_eq!(answer["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(name)));
        for (index, (_, expected)) in single.iter().enumerate() {
            let one = &answer["data"][index];
            assert_eq!((&one["object"], &one["index"]), (&json!("embedding"), &json!(index)));
            near(&floats(&one["embedding"]), expected);
        }
        server.stop().await;
    }
}

/// `[SEP]`s.
fn separators(ids: &[u32]) -> usize {
    ids.iter().filter(|id| **id == 3).count()
}

#[tokio::test]
async fn every_form_of_an_input_gives_the_same_vector() {
    let server = Running::start(config(family("bert"), "m")).await;
    let tokenizer = Tokenizer::from_file(family("bert").join("tokenizer.json")).unwrap();
    let text = "What is it for?";
    let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    let mut vectors = Vec::new();
    for input in [json!(text), json!([text]), json!(ids), json!([ids])] {
        let answer = server.post("/v1/embeddings", &json!({"model": "m", "input": input, "user": "u"})).await;
        vectors.push(floats(&answer["data"][0]["embedding"]));
    }
    let request = json!({"model": "m", "input": text, "encoding_format": "base64", "dimensions": 32});
    let answer = server.post("/v1/embeddings", &request).await;
    let bytes = base64::prelude::BASE64_STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap());
    let bytes = bytes.unwrap();
    vectors.push(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect());
    for vector in &vectors {
        assert_eq!(vector, &vectors[0]);
    }
    let length = vectors[0].iter().map(|x| x * x).sum::<f32>();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_embedded_is_refused_with_the_fix() {
    let server = Running::start(config(family("bert"), "m")).await;
    let long = "a ".repeat(100);
    for (fields, param, words) in [
        (json!({"input": ["a", long]}), "input[1]", "context length is 64 tokens, and `input[1]` has 102"),
        (json!({"input": long}), "input", "send `truncate: true`"),
        (json!({"input": [[5, 6], [128]]}), "input[1]", "the token 128; ids are from 0 to 127"),
        (json!({"input": [[]]}), "input[0]", "no token"),
        (json!({"input": "a", "dimensions": 16}), "dimensions", "have 32"),
        (json!({"input": "a", "encoding_format": "int8"}), "encoding_format", "base64"),
        (json!({"input": "a", "task": "query"}), "task", "not supported"),
        (json!({"input": vec!["a"; 2049]}), "input", "from 1 to 2048 texts, got 2049"),
        (json!({"input": "a".repeat((1 << 20) + 1)}), "input", "1048577 bytes"),
    ] {
        let mut request = json!({"model": "m"});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, error) = server.refused("/v1/embeddings", &request).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let (status, error) = server.refused("/v1/embeddings", &json!({"model": "x", "input": "a"})).await;
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));

    let request = json!({"model": "m", "input": ["a", long], "truncate": true});
    let answer = server.post("/v1/embeddings", &request).await;
    assert_eq!(answer["usage"]["prompt_tokens"], 3 + 64, "the last is still the one that ends a text");
    server.stop().await;
}

#[tokio::test]
async fn a_model_says_what_it_is_where_it_is_asked_for_something_else() {
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    let completion = json!({"model": "m", "prompt": "a"});
    let embedding = json!({"model": "m", "input": "a"});
    let rerank = json!({"model": "m", "query": "a", "documents": ["b"]});
    let all = [
        ("/v1/chat/completions", chat),
        ("/v1/completions", completion),
        ("/v1/embeddings", embedding),
        ("/v1/rerank", rerank),
    ];
    for (name, own, is) in [
        ("bert", &["/v1/embeddings"][..], "is an embedding model: it answers /v1/embeddings."),
        ("bert-reranker", &["/v1/rerank"], "is a reranker: it answers /v1/rerank."),
        (
            "llama2",
            &["/v1/chat/completions", "/v1/completions"],
            "is a model that generates text without a chat template: it answers /v1/completions.",
        ),
    ] {
        let server = Running::start(config(family(name), "m")).await;
        for (path, request) in all.iter().filter(|(path, _)| !own.contains(path)) {
            let (status, error) = server.refused(path, request).await;
            assert_eq!(
                (status, &error["param"], &error["code"]),
                (400, &json!("model"), &json!("wrong_task"))
            );
            assert!(error["message"].as_str().unwrap().contains(is), "{path}: {error}");
        }
        server.stop().await;
    }
}

/// Texts for pairs of a tokenizer of letters.
const QUERY: &str = "what is it";
const DOCUMENTS: [&str; 4] = ["it is the rain", "who was here and why not", "on the other side", "a b c d e"];

#[tokio::test]
async fn a_reranker_scores_pairs_and_sorts_them() {
    for name in ["bert-reranker", "xlm-roberta-reranker"] {
        let server = Running::start(config(family(name), name)).await;
        let documents = json!([DOCUMENTS[0], {"text": DOCUMENTS[1]}, DOCUMENTS[2], DOCUMENTS[3]]);
        let request = json!({"model": name, "query": QUERY, "documents": documents});
        let all = server.post("/v1/rerank", &request).await;
        let results = all["results"].as_array().unwrap();
        assert_eq!(results.len(), 4);
        let scores: Vec<f64> =
            results.iter().map(|result| result["relevance_score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| (0.0..=1.0).contains(score)));
        let mut seen: Vec<u64> = results.iter().map(|result| result["index"].as_u64().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        let tokenizer = Tokenizer::from_file(family(name).join("tokenizer.json")).unwrap();
        let tokens: usize =
            DOCUMENTS.iter().map(|document| tokenizer.encode((QUERY, *document), true).unwrap().len()).sum();
        assert_eq!(all["usage"]["total_tokens"], tokens);

        let mut request = request;
        request["top_n"] = json!(2);
        request["return_documents"] = json!(true);
        let best = server.post("/v1/rerank", &request).await;
        let best = best["results"].as_array().unwrap();
        assert_eq!(best.len(), 2);
        for (found, expected) in best.iter().zip(results) {
            assert_eq!(found["index"], expected["index"]);
            let index = usize::try_from(found["index"].as_u64().unwrap()).unwrap();
            assert_eq!(found["document"], json!({"text": DOCUMENTS[index]}));
        }
        server.stop().await;
    }
}

/// The encoder is held to transformers in `families.rs`; here: that the server feeds it the pair as the tokenizer's
/// post-processor makes it, types included, and gives the sigmoid.
#[tokio::test]
async fn a_score_is_the_sigmoid_of_the_pairs_logit() {
    for name in ["bert-reranker", "xlm-roberta-reranker"] {
        let tokenizer = Tokenizer::from_file(family(name).join("tokenizer.json")).unwrap();
        let source = SafetensorsFolder::open(&family(name)).unwrap();
        let options = CpuOptions::default();
        let mut encoder = CpuEncoder::load(&source, &options, Pooling::First, &mut |_| ()).unwrap();
        let server = Running::start(config(family(name), name)).await;
        let request = json!({"model": name, "query": QUERY, "documents": DOCUMENTS});
        let answer = server.post("/v1/rerank", &request).await;
        for result in answer["results"].as_array().unwrap() {
            let document = DOCUMENTS[usize::try_from(result["index"].as_u64().unwrap()).unwrap()];
            let pair = tokenizer.encode((QUERY, document), true).unwrap();
            assert!(name != "bert-reranker" || pair.get_type_ids().contains(&1));
            let input = EncoderInput { tokens: pair.get_ids(), types: pair.get_type_ids() };
            let logit = encoder.encode(&[input]).unwrap()[0][0];
            let score = result["relevance_score"].as_f64().unwrap() as f32;
            near(&[score], &[1.0 / (1.0 + (-logit).exp())]);
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_synthetic_reranker_is_served() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Bert, Family::XlmRoberta] {
        let shape = Shape::named("tiny", family).unwrap();
        let spec = SynthSpec::new(family, shape, Format::Safetensors, TensorType::BF16);
        let spec = SynthSpec { reranker: true, shards: 2, ..spec };
        let made = spec.write(&folder.path().join(family.name()), WriteOptions::default()).unwrap();
        let server = Running::start(config(made.path, "m")).await;
        let request = json!({"model": "m", "query": QUERY, "documents": DOCUMENTS});
        let answer = server.post("/v1/rerank", &request).await;
        let scores: Vec<f64> = answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["relevance_score"].as_f64().unwrap())
            .collect();
        assert_eq!(scores.len(), DOCUMENTS.len());
        // One score for all would be none.
        assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
        server.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_ranked_is_refused_with_the_fix() {
    let server = Running::start(config(family("bert-reranker"), "m")).await;
    let long = "a ".repeat(100);
    for (fields, param, words) in [
        (json!({"documents": []}), "documents", "from 1 to 2048 texts, got 0"),
        (json!({"documents": ["b", long]}), "documents[1]", "context length is 64 tokens"),
        (json!({"query": long}), "query", "context length is 64 tokens"),
        (json!({"query": long, "truncate": true}), "query", "context length is 64 tokens"),
        (json!({"rank_fields": ["title"]}), "rank_fields", "not supported"),
        (json!({"documents": [{"title": "a"}]}), "documents[0].title", "unknown field"),
        (json!({"top_n": 0}), "top_n", "from 1"),
    ] {
        let mut request = json!({"model": "m", "query": "a", "documents": ["b"]});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, error) = server.refused("/v1/rerank", &request).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let request = json!({"model": "m", "query": "a b", "documents": ["b", long], "truncate": true});
    let answer = server.post("/v1/rerank", &request).await;
    assert_eq!(answer["usage"]["total_tokens"], 6 + 64);
    server.stop().await;
}

#[tokio::test]
async fn the_context_is_the_models_and_metrics_tell_the_work() {
    let short = ServerConfig { context_length: Some(8), ..config(family("bert"), "m") };
    let server = Running::start(short).await;
    let (status, error) =
        server.refused("/v1/embeddings", &json!({"model": "m", "input": "a a a a a a a"})).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("8 tokens, and `input` has 9"));
    server.post("/v1/embeddings", &json!({"model": "m", "input": "a a"})).await;
    let (_, metrics) = server.send("GET", "/metrics", &Value::Null).await;
    for line in [
        "weighbridge_engine_requests_total{model=\"m\",world=\"open\",code=\"200\"} 1",
        "weighbridge_engine_tokens_total{model=\"m\",world=\"open\",direction=\"input\"} 4",
        "weighbridge_cold_start_seconds{phase=\"total\"}",
        "weighbridge_step_tokens_total 9",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    server.stop().await;
    let cached = ServerConfig { kv_cache_type: KvCacheType::F16, ..config(family("bert"), "m") };
    let said = refusal(cached).await.to_string();
    assert!(said.starts_with("KV cache type: f16") && said.contains("leave it out"), "{said}");
    let long = ServerConfig { context_length: Some(65), ..config(family("bert"), "m") };
    let said = refusal(long).await.to_string();
    assert!(said.starts_with("context length: 65 is more than the 64 tokens"), "{said}");
}

#[tokio::test]
async fn an_encoder_in_gguf_is_refused_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bert.gguf");
    let mut header = GgufHeader::new();
    header.pair("general.architecture", GgufValue::String("bert".to_owned()));
    std::fs::write(&path, header.bytes()).unwrap();
    let said = refusal(config(path, "m")).await.to_string();
    assert!(said.starts_with("model: an encoder in GGUF") && said.contains("tokenizer.json"), "{said}");
}

/// Least cosine to what sentence-transformers gives (`tests/goldens/embeddings`).
const COSINE: f64 = 0.9999;

#[tokio::test]
async fn minilm_embeds_as_sentence_transformers_does() {
    let path = family("").join("../embeddings/all-minilm-l6-v2.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let entries = golden["texts"].as_array().unwrap();
    let server = Running::start(config(fetched("all-minilm-l6-v2"), "minilm")).await;
    let decode = |value: &Value| -> Vec<f64> {
        let bytes = base64::prelude::BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
        bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    };
    // All at once, so that batches hold what they would in service; what is longer is cut, as there.
    let texts: Vec<&Value> = entries.iter().map(|entry| &entry["text"]).collect();
    let request = json!({"model": "minilm", "input": texts, "encoding_format": "base64", "truncate": true});
    let answer = server.post("/v1/embeddings", &request).await;
    let mut worst = 1.0_f64;
    for (index, entry) in entries.iter().enumerate() {
        let (found, expected) = (decode(&answer["data"][index]["embedding"]), decode(&entry["vector"]));
        assert_eq!(found.len(), 384);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
        assert!(cosine >= COSINE, "{}: {cosine}", entry["name"]);
        worst = worst.min(cosine);
    }
    println!("minilm: least cosine {worst:.7}");
    let request = json!({"model": "minilm", "input": entries.last().unwrap()["text"]});
    let (status, error) = server.refused("/v1/embeddings", &request).await;
    let words = error["message"].as_str().unwrap();
    assert!(status == 400 && words.contains("256 tokens, and `input` has 402"), "{words}");
    server.stop().await;
}
