//! What this crate's tests share: a byte tokenizer, a backend whose next token anyone can foretell, and a model's file
//! that takes note of what is done with it, and models in 8-bit floats.

mod backend;
mod e4m3;
mod source;

pub(crate) use backend::{Gate, SimulatedBackend, SimulatedDrawing};
pub(crate) use e4m3::{damage, dequantize_e4m3, widen_blocks, write_e4m3, write_e4m3_of};
pub(crate) use source::NotedFile;

use crate::tokenizer::{TokenType, Tokenizer, TokenizerMetadata};

/// `<|im_end|>` in [`metadata`]: ends an answer.
pub(crate) const IM_END: u32 = 257;

/// A vocabulary whose first 256 ids are the bytes.
pub(crate) fn metadata() -> TokenizerMetadata {
    let mut tokens: Vec<String> = (0..=255_u8).map(TokenizerMetadata::byte_token).collect();
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let mut token_types = vec![TokenType::Normal; 256];
    token_types.extend([TokenType::Control; 2]);
    TokenizerMetadata {
        name: Some("simulated".to_owned()),
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        eos: Some(IM_END),
        tokens,
        token_types,
        chat_template: Some(
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
             {{ '<|im_start|>assistant\n' }}{{ messages[-1].content }}"
                .to_owned(),
        ),
        ..TokenizerMetadata::default()
    }
}

pub(crate) fn tokenizer() -> Tokenizer {
    Tokenizer::new(metadata()).unwrap()
}
