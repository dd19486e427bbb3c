//! `synth`: a file, a folder, and what is refused.

use std::path::Path;

use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::model::{is_encoder, plan_decoder, plan_encoder};
use weighbridge_inference_server::safetensors::SafetensorsFolder;

use crate::process::{err, out, run};

#[test]
fn a_file_and_a_folder_are_made_by_seed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, same, other) = (path("one.gguf"), path("same.gguf"), path("other.gguf"));
    for (output, seed) in [(&one, "5"), (&same, "5"), (&other, "6")] {
        let made = run(&["synth", "--output", output, "--seed", seed]);
        assert!(made.status.success(), "{}", err(&made));
        assert_eq!(out(&made).trim_end(), output);
        assert!(err(&made).contains("llama of") && err(&made).contains("seed"), "{}", err(&made));
    }
    let read = |path: &String| std::fs::read(path).unwrap();
    assert!(read(&one) == read(&same) && read(&one) != read(&other));

    let model = path("gemma");
    let made = run(&["synth", "-o", &model, "--family", "gemma3", "--layers", "6", "--matrices", "f16"]);
    assert!(made.status.success(), "{}", err(&made));
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        assert!(std::path::Path::new(&model).join(name).is_file(), "{name}");
    }
    let again = run(&["synth", "-o", &model, "--family", "gemma3"]);
    assert!(!again.status.success() && err(&again).contains("--force"), "{}", err(&again));
}

/// Makes what `flags` say, which is what the engine opens at the path that is printed.
fn made(folder: &Path, output: &str, flags: &[&str]) -> String {
    let output = folder.join(output).to_str().unwrap().to_owned();
    let made = run(&[&["synth", "-o", &output], flags].concat());
    assert!(made.status.success(), "{}", err(&made));
    out(&made).trim_end().to_owned()
}

#[test]
fn scalings_shards_and_rerankers_are_made_by_flag() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(folder.path(), "yarn.gguf", &["--family", "qwen3", "--rope", "yarn", "--shards", "3"]);
    assert!(path.ends_with("yarn-00001-of-00003.gguf"), "{path}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    let file = GgufFile::open(Path::new(&path)).unwrap();
    assert_eq!(file.metadata().string("qwen3.rope.scaling.type").unwrap(), "yarn");
    plan_decoder(&file, None).unwrap();

    let flags = ["--family", "bert", "--reranker", "--shards", "2"];
    let source = SafetensorsFolder::open(Path::new(&made(folder.path(), "bert", &flags))).unwrap();
    assert!(is_encoder(&source).unwrap());
    let planned = plan_encoder(&source).unwrap();
    assert!(planned.plan.matrices.iter().any(|matrix| matrix.tensor.name() == "classifier.weight"));
    assert!(folder.path().join("bert/model-00002-of-00002.safetensors").is_file());
}

/// Of 8-bit floats there are a matrix and its scales; embeddings and norms are bfloat16.
#[test]
fn eight_bit_floats_are_made_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["e4m3", "e4m3-channel", "e4m3-tensor"] {
        let path = made(folder.path(), name, &["--matrices", name, "--family", "qwen3-moe"]);
        let source = SafetensorsFolder::open(Path::new(&path)).unwrap();
        let types = plan_decoder(&source, None).unwrap().plan.types();
        // Two tables and two routers; four matrices of attention and three of each of eight experts in two layers.
        assert_eq!(types, "BF16 4, BF16 56 (from E4M3)", "{name}");
    }
}

#[test]
fn what_makes_no_model_is_refused_by_flag_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("model.gguf").to_str().unwrap().to_owned();
    for (flags, parts) in [
        (vec!["--family", "gpt5"], vec!["--family gpt5", "qwen3-moe"]),
        (vec!["--shape", "70b"], vec!["--shape 70b", "1.1b"]),
        (vec!["--matrices", "q9"], vec!["--matrices q9", "q4_k", "e4m3-channel"]),
        (vec!["--matrices", "e4m3"], vec!["--matrices e4m3", "give a folder"]),
        (vec!["--kv-heads", "3"], vec!["--kv-heads 3", "divide the 8 query heads"]),
        (vec!["--feed-forward", "500"], vec!["--feed-forward 500", "such as 512"]),
        (vec!["--vocabulary", "100"], vec!["--vocabulary 100", "--no-tokenizer"]),
        (vec!["--layers", "0"], vec!["--layers 0", "from 1"]),
        (vec!["--family", "bert"], vec!["--family bert", "give a folder"]),
        (vec!["--rope", "ntk"], vec!["--rope ntk", "none, linear, llama3, yarn, longrope"]),
        (vec!["--rope", "yarn"], vec!["--rope yarn: llama has none, linear, llama3", "qwen3-moe"]),
        (vec!["--reranker"], vec!["--reranker true: llama", "--family bert or xlm-roberta"]),
        (vec!["--shards", "0"], vec!["--shards 0", "use 1 to"]),
    ] {
        let made = run(&[&["synth", "-o", &output], flags.as_slice()].concat());
        assert!(!made.status.success(), "{flags:?}");
        for part in parts {
            assert!(err(&made).contains(part), "{flags:?}: {}", err(&made));
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
