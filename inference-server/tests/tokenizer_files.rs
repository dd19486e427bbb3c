//! `tokenizer.json` files of each shape that families publish give the ids, and give back the texts, that Python's `tokenizers`
//! does (`tests/peers/tokenizers`).
#![allow(clippy::unwrap_used)] // A golden that cannot be read fails the test.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use weighbridge_inference_server::tokenizer::{EncodeOptions, HuggingFaceTokenizer, SpecialTexts, Tokenizer};

const AS_THE_FILE_SAYS: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

#[derive(Deserialize)]
struct Golden {
    tokenizer: Value,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

fn golden(name: &str) -> (HuggingFaceTokenizer, BTreeMap<String, Case>) {
    let path = root().join(format!("goldens/tokenizers/{name}.json"));
    let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let file = serde_json::to_vec(&golden.tokenizer).unwrap();
    assert!(golden.cases.len() > 100, "{name} has {} texts", golden.cases.len());
    (HuggingFaceTokenizer::new(&file).unwrap(), golden.cases)
}

/// The texts themselves: the goldens name them.
fn texts() -> BTreeMap<String, String> {
    serde_json::from_slice(&std::fs::read(root().join("goldens/tokenizers/texts.json")).unwrap()).unwrap()
}

#[test]
fn ids_and_texts_of_every_shape_that_generates_are_pythons() {
    let texts = texts();
    let mut differ = Vec::new();
    // Text goes out as it comes, so that the blank at the beginning stays that these files' decoders take away.
    for (name, strips) in [
        ("gpt2", false),
        ("llama3", false),
        ("qwen2", false),
        ("llama2", true),
        ("gemma", false),
        ("xlm-roberta", true),
    ] {
        let (file, cases) = golden(name);
        let tokenizer = Tokenizer::of_hugging_face(file, SpecialTexts::default()).unwrap();
        for (case, wanted) in cases {
            let ids = tokenizer.encode(&texts[&case], AS_THE_FILE_SAYS).unwrap();
            if ids != wanted.ids {
                differ.push(format!("{name} {case}\n  wanted {:?}\n  got    {ids:?}", wanted.ids));
            }
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.visible_piece(id)).copied().collect();
            let text = String::from_utf8_lossy(&bytes);
            let text = if strips { text.strip_prefix(' ').unwrap_or(&text) } else { &text };
            if text != wanted.text {
                differ.push(format!("{name} {case}\n  wanted {:?}\n  got    {text:?}", wanted.text));
            }
        }
    }
    assert!(differ.is_empty(), "{} differ\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn sequences_of_shapes_that_embed_are_pythons() {
    let texts = texts();
    for name in ["bert", "xlm-roberta"] {
        let (file, cases) = golden(name);
        for (case, wanted) in cases {
            let found = file.sequence(file.plain(&texts[&case]).unwrap(), None, None).unwrap();
            assert_eq!(found.tokens, wanted.ids, "{name} {case}");
        }
    }
}
