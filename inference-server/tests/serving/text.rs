//! Ids and prompts are the references' own.

use serde_json::Value;
use weighbridge_inference_server::chat_template::ChatTemplate;
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::tokenizer::{Detokenizer, EncodeOptions, Tokenizer, TokenizerMetadata};

use super::{golden, golden_bytes, sample};

fn metadata() -> TokenizerMetadata {
    TokenizerMetadata::from_gguf(GgufFile::open(&sample()).unwrap().metadata()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn encode(tokenizer: &Tokenizer, text: &str, parse_special: bool) -> Vec<u32> {
    tokenizer.encode(text, EncodeOptions { add_special: false, parse_special }).unwrap()
}

#[test]
fn ids_are_llama_cpps_in_every_case() {
    let tokenizer = Tokenizer::new(metadata()).unwrap();
    let golden = golden("tokenization.json");
    let mut wrong = Vec::new();
    for (list, parse_special) in [("cases", false), ("special_cases", true)] {
        for case in golden[list].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let (ours, theirs) = (encode(&tokenizer, text, parse_special), ids(&case["ids"]));
            if ours != theirs {
                wrong.push(format!("{}: {text:?}\n  ours   {ours:?}\n  theirs {theirs:?}", case["name"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ids_of_the_whole_multilingual_file_are_llama_cpps() {
    let tokenizer = Tokenizer::new(metadata()).unwrap();
    let text = String::from_utf8(golden_bytes("multilingual.txt")).unwrap();
    let theirs = ids(&golden("tokenization.json")["file_ids"]);
    let ours = encode(&tokenizer, &text, false);
    let first = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    assert!(ours == theirs, "{} ids of {}, first difference at {first:?}", ours.len(), theirs.len());
}

#[test]
fn tokens_spell_the_text_they_came_from() {
    let tokenizer = Tokenizer::new(metadata()).unwrap();
    for case in golden("tokenization.json")["cases"].as_array().unwrap() {
        let spelled: Vec<u8> =
            ids(&case["ids"]).iter().flat_map(|id| tokenizer.piece(*id).to_vec()).collect();
        let expected = match case["spells_hex"].as_str() {
            Some(hex) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect(),
            None => case["text"].as_str().unwrap().as_bytes().to_vec(),
        };
        assert_eq!(spelled, expected, "{}", case["name"]);
        let mut detokenizer = Detokenizer::new(Vec::new());
        let pieces = ids(&case["ids"]).into_iter().map(|id| detokenizer.push(tokenizer.piece(id)).text);
        let text = pieces.collect::<String>() + &detokenizer.finish();
        assert_eq!(text, String::from_utf8_lossy(&expected), "{}", case["name"]);
    }
}

#[test]
fn prompts_are_jinjas() {
    let metadata = metadata();
    let golden = golden("chat_template.json");
    assert_eq!(metadata.chat_template.as_deref(), golden["template"].as_str());
    let tokenizer = Tokenizer::new(metadata.clone()).unwrap();
    let source = metadata.chat_template.unwrap();
    let template = ChatTemplate::new(source, tokenizer.bos_text(), tokenizer.eos_text()).unwrap();
    for case in golden["conversations"].as_array().unwrap() {
        let add = case["add_generation_prompt"].as_bool().unwrap();
        let rendered = template.render(case["messages"].as_array().unwrap(), add).unwrap();
        assert_eq!(rendered, case["rendered"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn the_sample_ends_its_answers_where_it_should() {
    let tokenizer = Tokenizer::new(metadata()).unwrap();
    assert_eq!((tokenizer.bos_text(), tokenizer.eos_text()), ("<|im_start|>", "<|im_end|>"));
    assert!(tokenizer.is_end(0) && tokenizer.is_end(2) && !tokenizer.is_end(1), "{:?}", tokenizer.ends());
    let options = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("", options).unwrap(), [0_u32; 0], "this model wants no token in front");
}
