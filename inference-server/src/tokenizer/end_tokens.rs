//! Which tokens end an answer. Files often name only one of them.
//!
//! Source: the end-of-generation rules of llama.cpp's `src/llama-vocab.cpp`, which go by the token's text.

use std::collections::BTreeSet;

use super::{TokenType, TokenizerMetadata};

/// Texts that end an answer wherever they occur in a vocabulary.
const ENDS: [&str; 23] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|plamo:eos|>",
];

/// Fill-in-the-middle tokens after which nothing of an answer can come.
const FILL_ENDS: [&str; 11] = [
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Parts of a message in the harmony format that have to reach the reader.
const SHOWN: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// The ids that end an answer, sorted; and the types of such tokens, put right where the file is wrong.
pub(super) fn resolve(metadata: &mut TokenizerMetadata) -> Vec<u32> {
    let mut ends = BTreeSet::new();
    let mut named = BTreeSet::new();
    for (id, text) in (0_u32..).zip(&metadata.tokens) {
        let kind = &mut metadata.token_types[id as usize];
        if ENDS.contains(&text.as_str()) || FILL_ENDS.contains(&text.as_str()) {
            *kind = TokenType::Control;
            named.insert(text.as_str());
            ends.insert(id);
        } else if SHOWN.contains(&text.as_str()) {
            *kind = TokenType::UserDefined;
        }
    }
    // Where a message's end and an answer's end are told apart, `<|end|>` is only the former.
    let harmony = named.contains("<|return|>") && named.contains("<|call|>");
    let solar = named.contains("<|calls|>") && named.contains("<|flush|>");
    let plain_end = (harmony || solar).then_some(("<|end|>", TokenType::UserDefined));
    let own_end = named.contains("<|tool_response>") || named.contains("<|plamo:eos|>");
    let plain_s = own_end.then_some(("</s>", TokenType::Normal));
    for (text, kind) in plain_end.into_iter().chain(plain_s) {
        if let Some(at) = metadata.tokens.iter().position(|token| token == text) {
            metadata.token_types[at] = kind;
            ends.remove(&(at as u32));
        }
    }
    ends.extend([metadata.eos, metadata.eot, metadata.eom].into_iter().flatten());
    ends.into_iter().collect()
}
