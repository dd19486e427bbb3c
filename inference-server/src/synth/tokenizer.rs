//! A tokenizer for random weights: byte-level BPE, so that every text has tokens and every token is text, with merges
//! of letters up to the vocabulary's size, so that an answer has words of a usual length.

use serde_json::{Value as Json, json};

use super::Family;
use crate::gguf::{Array, Value};
use crate::tokenizer::TokenizerMetadata;

const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
                        + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' \
                        }}{% endif %}";

/// Ids of the tokens that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpecialIds {
    pub(super) begin: u32,
    pub(super) end: u32,
    pub(super) padding: u32,
}

/// Special tokens come first; their order is that of the family's own where an id is in its nature.
fn specials(family: Family) -> &'static [&'static str] {
    match family {
        Family::Bert => &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        Family::XlmRoberta => &["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        _ => &["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    }
}

pub(super) fn special_ids(family: Family) -> SpecialIds {
    match family {
        Family::Bert => SpecialIds { begin: 2, end: 3, padding: 0 },
        Family::XlmRoberta => SpecialIds { begin: 0, end: 2, padding: 1 },
        _ => SpecialIds { begin: 0, end: 2, padding: 0 },
    }
}

/// Special tokens and the bytes.
pub(super) fn least_vocabulary(family: Family) -> usize {
    specials(family).len() + 256
}

struct Vocabulary {
    tokens: Vec<String>,
    merges: Vec<(String, String)>,
}

fn vocabulary(family: Family, size: usize) -> Vocabulary {
    let mut tokens: Vec<String> = specials(family).iter().map(|&token| token.to_owned()).collect();
    tokens.extend((0..=u8::MAX).map(TokenizerMetadata::byte_token));
    let space = TokenizerMetadata::byte_token(b' ');
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    let firsts: Vec<&String> = std::iter::once(&space).chain(&letters).collect();
    let pairs: Vec<(String, String)> = firsts
        .iter()
        .flat_map(|first| letters.iter().map(move |second| ((*first).clone(), second.clone())))
        .collect();
    let whole = |(left, right): &(String, String)| format!("{left}{right}");
    // Words of two pairs follow all pairs, as a trained list has shorter tokens first.
    let words = pairs.iter().flat_map(|left| {
        pairs.iter().filter(|(first, _)| first != &space).map(move |right| (whole(left), whole(right)))
    });
    let room = size.saturating_sub(tokens.len());
    let merges: Vec<(String, String)> = pairs.iter().cloned().chain(words).take(room).collect();
    tokens.extend(merges.iter().map(whole));
    // Past some 475,000 there are no more words; what is left is never made from text.
    tokens.extend((tokens.len()..size).map(|id| format!("<|filler_{id}|>")));
    Vocabulary { tokens, merges }
}

/// The `tokenizer.*` keys of a GGUF file.
pub(super) fn pairs(family: Family, size: usize) -> Vec<(String, Value)> {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let Vocabulary { tokens, merges } = vocabulary(family, size);
    let controls = specials(family).len();
    let types = (0..tokens.len()).map(|id| if id < controls { CONTROL } else { NORMAL }).collect();
    let merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let ids = special_ids(family);
    let text = |text: &str| Value::String(text.to_owned());
    [
        ("model", text("gpt2")),
        ("pre", text("gpt-2")),
        ("tokens", Value::Array(Array::String(tokens))),
        ("token_type", Value::Array(Array::I32(types))),
        ("merges", Value::Array(Array::String(merges))),
        ("bos_token_id", Value::U32(ids.begin)),
        ("eos_token_id", Value::U32(ids.end)),
        ("padding_token_id", Value::U32(ids.padding)),
        ("add_bos_token", Value::Bool(false)),
    ]
    .into_iter()
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    .chain(std::iter::once(("tokenizer.chat_template".to_owned(), text(TEMPLATE))))
    .collect()
}

/// `tokenizer.json` and `tokenizer_config.json` of a folder.
pub(super) fn documents(family: Family, size: usize) -> (Json, Json) {
    let Vocabulary { tokens, merges } = vocabulary(family, size);
    let specials = specials(family);
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let added: Vec<Json> = specials
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let ids = special_ids(family);
    let token = |id: u32| specials.get(id as usize).copied().unwrap_or_default();
    let (begin, end) = (token(ids.begin), token(ids.end));
    let vocab: serde_json::Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": level,
        "post_processor": if family.is_encoder() { around(family, begin, end, ids) } else { Json::Null },
        "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": end,
        "pad_token": token(ids.padding), "clean_up_tokenization_spaces": false,
    });
    if !family.is_encoder() {
        config["chat_template"] = json!(TEMPLATE);
    }
    (tokenizer, config)
}

/// Encoders read `begin A end`, and `begin A end B end` for a pair.
fn around(family: Family, begin: &str, end: &str, ids: SpecialIds) -> Json {
    // RoBERTa has one type only.
    let second = u8::from(family == Family::Bert);
    let special = |id: &str, kind: u8| json!({"SpecialToken": {"id": id, "type_id": kind}});
    let sequence = |id: &str, kind: u8| json!({"Sequence": {"id": id, "type_id": kind}});
    let one = json!([special(begin, 0), sequence("A", 0), special(end, 0)]);
    let two = json!([
        special(begin, 0),
        sequence("A", 0),
        special(end, 0),
        sequence("B", second),
        special(end, second)
    ]);
    json!({
        "type": "TemplateProcessing", "single": one, "pair": two,
        "special_tokens": {
            begin: {"id": begin, "ids": [ids.begin], "tokens": [begin]},
            end: {"id": end, "ids": [ids.end], "tokens": [end]},
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_token_is_there_once_and_merges_make_known_ones() {
        for size in [259, 300, 1200, 50_000] {
            let Vocabulary { tokens, merges } = vocabulary(Family::Llama, size);
            assert_eq!(tokens.len(), size);
            let known: HashSet<&String> = tokens.iter().collect();
            assert_eq!(known.len(), size);
            for (left, right) in &merges {
                assert!(known.contains(left) && known.contains(right), "{left} {right}");
                assert!(known.contains(&format!("{left}{right}")));
            }
        }
    }
}
