//! Texts become the ids that llama.cpp's own tests want of them, for every vocabulary that it ships with such ids.
//!
//! These tests need the vocabularies: without them they fail and say how to get them.
#![allow(clippy::unwrap_used, clippy::panic)] // A golden that cannot be read fails the test.

use std::path::PathBuf;

use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::tokenizer::{EncodeOptions, Tokenizer, TokenizerError, TokenizerMetadata};

/// Between two texts of an `.inp` file.
const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// What llama.cpp's `test-tokenizer-0` asks with.
const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };

const EQUAL: [&str; 15] = [
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
];

fn folder() -> PathBuf {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weighbridge"));
    let folder = cache.join("llama-cpp-models");
    assert!(folder.is_dir(), "{} is not there: run make test-setup", folder.display());
    folder
}

fn tokenizer(name: &str) -> Result<Tokenizer, TokenizerError> {
    let file = GgufFile::open(&folder().join(format!("ggml-vocab-{name}.gguf"))).unwrap();
    Tokenizer::new(TokenizerMetadata::from_gguf(file.metadata())?)
}

/// The texts of a vocabulary and the ids of each.
fn cases(name: &str) -> Vec<(String, Vec<u32>)> {
    let read = |kind: &str| {
        let path = folder().join(format!("ggml-vocab-{name}.gguf.{kind}"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let (texts, ids) = (read("inp"), read("out"));
    let mut texts: Vec<&str> = texts.split(SEPARATOR).collect();
    // Nothing after the last separator is no text, as llama.cpp reads these files.
    if texts.last() == Some(&"") {
        texts.pop();
    }
    let ids: Vec<Vec<u32>> =
        ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    assert_eq!(texts.len(), ids.len(), "{name}");
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}

#[test]
fn every_vocabulary_with_ids_gives_them() {
    let mut shipped: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_prefix("ggml-vocab-")?.strip_suffix(".gguf.out")?.to_owned())
        })
        .collect();
    shipped.sort();
    assert_eq!(shipped, EQUAL);

    let mut differ = Vec::new();
    for name in EQUAL {
        let tokenizer = tokenizer(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let cases = cases(name);
        assert!(cases.len() > 40, "{name} has {} texts", cases.len());
        for (text, wanted) in cases {
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            if ids != wanted {
                differ.push(format!("{name} {text:?}\n  wanted {wanted:?}\n  got    {ids:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{} texts differ\n{}", differ.len(), differ.join("\n"));
}

/// The ids in the files are of bare texts; these are what the models expect around them.
#[test]
fn what_a_model_expects_around_a_text_is_there() {
    let around = EncodeOptions { add_special: true, parse_special: false };
    for (name, text, before, after) in [
        ("bert-bge", "Hello", &[101][..], &[102][..]),
        ("gemma-4", "Hello", &[2], &[]),
        ("llama-spm", "Hello", &[1], &[]),
        ("llama-bpe", "Hello", &[128_000], &[]),
        ("gpt-2", "Hello", &[], &[]),
    ] {
        let tokenizer = tokenizer(name).unwrap();
        let plain = tokenizer.encode(text, PLAIN).unwrap();
        assert_eq!(tokenizer.encode(text, around).unwrap(), [before, &plain, after].concat(), "{name}");
    }
}

#[test]
fn a_unigram_vocabulary_is_refused_by_name() {
    let error = tokenizer("nomic-bert-moe").unwrap_err();
    assert!(matches!(&error, TokenizerError::UnknownModel(model) if model == "t5"), "{error}");
    let words = error.to_string();
    assert!(words.contains("tokenizer.ggml.model is \"t5\"") && words.contains("tokenizer.json"), "{words}");
}
