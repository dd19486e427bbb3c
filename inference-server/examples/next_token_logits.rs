//! What the engine's backend says of given tokens, for peers that compare: `tests/peers/divergence`.
//!
//!     next_token_logits MODEL.gguf REQUEST.json LOGITS
//!
//! REQUEST is `{"text": "…", "windows": [[1, 2, …], …]}`. The windows' logits after every token go into LOGITS: f32,
//! little-endian, `[tokens of all windows, vocabulary]`. The text's ids, as the model's own tokenizer has them with what it
//! adds in front, go to stdout as a JSON array. Keys and values are kept in F32.
#![allow(clippy::print_stdout)] // Its answer.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::{Context as _, bail};
use weighbridge_inference_server::backend::cpu::{CpuBackend, CpuOptions, KvKind, KvMemory};
use weighbridge_inference_server::backend::{Backend as _, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::{BLOCK_SIZE, BlockId};
use weighbridge_inference_server::tokenizer::{EncodeOptions, Tokenizer, TokenizerMetadata};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    text: String,
    windows: Vec<Vec<u32>>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, request, output] = arguments.as_slice() else {
        bail!("usage: next_token_logits MODEL.gguf REQUEST.json LOGITS");
    };
    let bytes = std::fs::read(request).with_context(|| request.clone())?;
    let request: Request = serde_json::from_slice(&bytes).with_context(|| request.clone())?;
    let file = GgufFile::open(model.as_ref()).with_context(|| model.clone())?;
    let tokenizer = Tokenizer::new(TokenizerMetadata::from_gguf(file.metadata())?)?;
    let as_text = EncodeOptions { add_special: true, parse_special: false };
    println!("{}", serde_json::to_string(&tokenizer.encode(&request.text, as_text)?)?);

    let longest = request.windows.iter().map(Vec::len).max().unwrap_or(0);
    let count = longest.div_ceil(BLOCK_SIZE).max(1);
    let options = CpuOptions {
        kv: KvMemory::Blocks(count),
        kv_kind: KvKind::F32,
        step_tokens: longest.max(1),
        ..CpuOptions::default()
    };
    let mut backend = CpuBackend::load(&file, &options, &mut |_| ())?;
    let blocks = (0..u32::try_from(count)?).map(BlockId).collect::<Vec<_>>();
    let mut out = BufWriter::new(File::create(output).with_context(|| output.clone())?);
    let mut logits = Logits::default();
    for tokens in &request.windows {
        let chunk =
            SequenceChunk { tokens, start: 0, blocks: &blocks, logits: LogitsWanted::All, adapter: None };
        backend.forward(&[chunk], &mut logits)?;
        for index in 0..tokens.len() {
            let row = logits.row(index).with_context(|| format!("no logits after token {index}"))?;
            for value in row {
                out.write_all(&value.to_le_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
