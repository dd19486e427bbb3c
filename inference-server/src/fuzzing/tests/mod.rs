//! The committed corpus, and mutations of it that are the same on every run.

mod mutation;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutation::Mutator;
use serde_json::{Map, Value};

use super::source::MemorySource;

/// Mutations of each corpus entry: all five doors in some seconds, unoptimised dependencies included.
const MUTATIONS: u64 = 300;

/// What tokens a format is made of, which blind flips would seldom hit.
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "0.5",
    "18446744073709551616",
    "4294967295",
    "\\ud800",
    "[]",
    "{}",
    "\"\"",
];
const TEMPLATE: &[&str] = &[
    "{%",
    "%}",
    "{{",
    "}}",
    "{#",
    "-%}",
    "{%-",
    " for x in messages ",
    " endfor ",
    " if ",
    " endif ",
    " set ",
    "|",
    "~",
    "* 99999999",
    "[::-1]",
    "[:2]",
    "range(9)",
    "namespace(a=1)",
    "| tojson",
    "raise_exception(",
    "loop.index",
    ".strip()",
    "strftime_now('%Y')",
    "none",
    "%",
];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// The corpus, by name, so that every run goes the same way.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut corpus: Vec<_> = entries.map(|path| (name(&path), std::fs::read(path).unwrap())).collect();
    corpus.sort();
    assert!(corpus.len() >= 2, "{target} has a valid file and a hostile one");
    corpus
}

/// Calls `door` with `input`; when it panics, keeps the input and says where.
fn call(target: &str, origin: &str, door: fn(&[u8]), input: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| door(input))) else { return };
    let path = std::env::temp_dir().join(format!("weighbridge-crash-{target}-{}", std::process::id()));
    std::fs::write(&path, input).unwrap();
    let kept = folder(target);
    panic!(
        "{target}: {origin}: {}: the input is {}; mend it and keep the input in {}",
        words(&*panic),
        path.display(),
        kept.display()
    );
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// Calls `door` with every entry, then with `MUTATIONS` of each.
fn replay(target: &str, door: fn(&[u8]), dictionary: &[&str]) {
    let corpus = corpus(target);
    for (name, entry) in &corpus {
        call(target, name, door, entry);
    }
    // What runs until it is stopped would, changed, do little else.
    let quick = (0..).zip(&corpus).filter(|(_, (name, _))| !name.starts_with("slow-"));
    for (index, (name, entry)) in quick {
        for round in 0..MUTATIONS {
            let mut mutator = Mutator::new(index * MUTATIONS + round);
            let other = &corpus[mutator.below(corpus.len())].1;
            let input = mutator.mutate(entry, other, dictionary);
            call(target, &format!("mutation {round} of {name}"), door, &input);
        }
    }
}

#[test]
fn gguf() {
    replay("gguf", super::gguf, &["GGUF", "general.architecture", "llama", "qwen2"]);
}

#[test]
fn safetensors_header() {
    let words =
        [JSON, &["\"F32\"", "\"BF16\"", "\"shape\"", "\"data_offsets\"", "\"__metadata__\""]].concat();
    replay("safetensors_header", super::safetensors_header, &words);
}

#[test]
fn tokenizer_json() {
    let words =
        [JSON, &["\"Sequence\"", "\"ByteLevel\"", "\"Unigram\"", "\"WordPiece\"", "\"BPE\""]].concat();
    replay("tokenizer_json", super::tokenizer_json, &words);
}

#[test]
fn config_json() {
    let words = [JSON, &["\"llama\"", "\"bert\"", "\"gemma3_text\"", "\"yarn\"", "\"longrope\""]].concat();
    replay("config_json", super::config_json, &words);
}

/// Else mutations of a family's config would all end at the first tensor that it misses.
#[test]
fn a_valid_config_of_each_family_is_planned_to_its_end() {
    let mut seen = BTreeSet::new();
    for (name, entry) in corpus("config_json").iter().filter(|(name, _)| name.starts_with("valid-")) {
        let config: Map<String, Value> = serde_json::from_slice(entry).unwrap();
        let planned = super::plan(&MemorySource::of_config(&config));
        assert!(planned.is_ok(), "{name}: {planned:?}");
        seen.insert(config["model_type"].as_str().unwrap().to_owned());
    }
    let families = [
        "bert",
        "gemma2",
        "gemma3_text",
        "llama",
        "mistral",
        "mixtral",
        "phi3",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "xlm-roberta",
    ];
    assert!(families.iter().all(|family| seen.contains(*family)), "{seen:?}");
}

#[test]
fn chat_template() {
    replay("chat_template", super::chat_template, TEMPLATE);
}
