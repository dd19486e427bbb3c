//! One function for each file that a stranger may have made: runs the way that the server reads it, and asserts what
//! must hold whatever the bytes say.
//!
//! The targets of `fuzz/` call these under libFuzzer, which also bounds memory; the tests here run each on the
//! committed corpus and on a fixed number of mutations of it.

mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::chat_template::{ChatTemplate, MAX_OUTPUT};
use crate::gguf::{self, Metadata, TensorInfo};
use crate::model::{ModelError, context_length, is_encoder, plan_decoder, plan_encoder};
use crate::safetensors::{self, Header, token_ids};
use crate::tokenizer::{
    EncodeOptions, HuggingFaceTokenizer, SpecialTexts, Tokenizer, TokenizerError, TokenizerMetadata,
};
use source::MemorySource;

/// What is tokenised and put into templates: white space, several alphabets, digits, special tokens.
const TEXT: &str = "Hello, wörld! 12345 🦀 \t\n<s></s><|im_end|> 数学 it's";

/// Rows of the embedding table that a `tokenizer.json` is read for.
const ROWS: usize = 1 << 16;

/// A `.gguf`: header, tokenizer, template and model plan.
pub fn gguf(bytes: &[u8]) {
    let Ok((metadata, tensors)) = gguf::read_header(bytes, bytes.len() as u64) else { return };
    assert_in_file(&tensors, bytes.len());
    assert_apart(&tensors);
    let source = MemorySource::of_gguf(&metadata, tensors, bytes);
    plan(&source).ok();
    tokenizer_of_gguf(&metadata).ok();
}

/// The header of a `.safetensors` file.
pub fn safetensors_header(bytes: &[u8]) {
    let Ok(Header { data, metadata }) = safetensors::read_header(&mut &bytes[..], bytes.len() as u64) else {
        return;
    };
    let mut covered = 0;
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        assert!(start <= end && data + end <= bytes.len(), "{name} lies outside the file");
        covered += end - start;
    }
    assert_eq!(covered, bytes.len() - data, "tensors overlap, or leave bytes to nobody");
}

/// A folder's `config.json`, beside the tensors of a small model of the family that it names.
pub fn config_json(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    for key in ["eos_token_id", "bos_token_id"] {
        token_ids("config.json".as_ref(), &config, key).ok();
    }
    safetensors::quantization(&config).ok();
    plan(&MemorySource::of_config(&config)).ok();
}

/// A folder's `tokenizer.json`, for a model that generates and for an encoder.
pub fn tokenizer_json(bytes: &[u8]) {
    let Ok(tokenizer) = HuggingFaceTokenizer::new(bytes).and_then(|found| found.for_rows(ROWS)) else {
        return;
    };
    encode_pair(&tokenizer).ok();
    let special = SpecialTexts { bos: None, eos: Some("</s>".to_owned()), ends: vec![0, u32::MAX] };
    if let Ok(tokenizer) = Tokenizer::of_hugging_face(tokenizer, special) {
        encode(&tokenizer);
    }
}

/// A chat template.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = ChatTemplate::new(source.to_owned(), "<s>", "</s>") else { return };
    let conversation =
        [json!({"role": "system", "content": TEXT}), json!({"role": "user", "content": "x", "name": "n"})];
    for add_generation_prompt in [true, false] {
        if let Ok(prompt) = template.render(&conversation, add_generation_prompt) {
            assert!(prompt.len() <= MAX_OUTPUT, "{} bytes of prompt", prompt.len());
        }
    }
}

fn assert_in_file(tensors: &[TensorInfo], length: usize) {
    for tensor in tensors {
        let end = tensor.range().start.checked_add(tensor.bytes());
        assert!(end.is_some_and(|end| end <= length), "{} lies outside the file", tensor.name());
    }
}

fn assert_apart(tensors: &[TensorInfo]) {
    let mut ranges: Vec<_> = tensors.iter().map(TensorInfo::range).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "tensors overlap");
}

/// What the plan will pack lies in its tensors, and is no more than they hold but for the panels that it fills up.
fn plan(source: &MemorySource<'_>) -> Result<(), ModelError> {
    let plan = if is_encoder(source)? {
        plan_encoder(source)?.plan
    } else {
        let context = context_length(source)?;
        plan_decoder(source, Some(context.min(8192)))?.plan
    };
    let mut places = HashMap::new();
    for packing in &plan.matrices {
        assert!(packing.bytes.end <= packing.tensor.bytes(), "{} is cut past its end", packing.tensor.name());
        let end = packing.offset.checked_add(packing.layout.bytes());
        assert!(end.is_some_and(|end| end <= plan.bytes), "{} lies outside the arena", packing.tensor.name());
        assert!(places.insert(packing.offset, ()).is_none(), "two matrices in one place");
    }
    Ok(())
}

fn tokenizer_of_gguf(metadata: &Metadata) -> Result<(), TokenizerError> {
    let metadata = TokenizerMetadata::from_gguf(metadata)?;
    let template = metadata.chat_template.clone();
    let tokenizer = Tokenizer::new(metadata)?;
    encode(&tokenizer);
    if let Some(template) = template {
        ChatTemplate::new(template, tokenizer.bos_text(), tokenizer.eos_text()).ok();
    }
    Ok(())
}

/// Every id that a text gives has a piece, and a reader's is that or none.
fn encode(tokenizer: &Tokenizer) {
    for parse_special in [true, false] {
        let options = EncodeOptions { add_special: true, parse_special };
        for id in tokenizer.encode(TEXT, options).unwrap_or_default() {
            let (piece, visible) = (tokenizer.piece(id), tokenizer.visible_piece(id));
            assert!(visible.is_empty() || visible == piece, "token {id} is shown as another");
        }
    }
    tokenizer.encode_chat(TEXT).ok();
    assert!(tokenizer.least_tokens(TEXT.len()) <= TEXT.len());
    assert!(tokenizer.ends().iter().all(|id| tokenizer.is_end(*id)));
}

/// A pair that is cut has no more tokens than it may, and a type for each.
fn encode_pair(tokenizer: &HuggingFaceTokenizer) -> Result<(), TokenizerError> {
    let (first, second) = (tokenizer.plain(TEXT)?, tokenizer.plain("short")?);
    for most in [None, Some(16), Some(1)] {
        let found = tokenizer.sequence(first.clone(), Some(second.clone()), most)?;
        assert_eq!(found.tokens.len(), found.types.len());
        assert!(found.tokens.iter().all(|&id| (id as usize) < ROWS));
    }
    tokenizer.sequence(first, None, Some(8))?;
    Ok(())
}
