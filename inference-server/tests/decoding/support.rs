//! A synthetic model, loaded and fed steps of our choosing.

use std::num::NonZeroUsize;

use weighbridge_inference_server::backend::cpu::{CpuBackend, CpuOptions, KvKind, KvMemory};
use weighbridge_inference_server::backend::{Backend, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kernels::Isa;
use weighbridge_inference_server::kv::BlockId;
use weighbridge_inference_server::synth::{SynthSpec, WriteOptions};

/// The model of `spec`, open.
pub(super) fn open(spec: &SynthSpec) -> GgufFile {
    let folder = tempfile::tempdir().unwrap();
    let made = spec.write(&folder.path().join("model.gguf"), WriteOptions::default()).unwrap();
    GgufFile::open(&made.path).unwrap()
}

pub(super) fn load(file: &GgufFile, isa: Isa, kv_kind: KvKind) -> CpuBackend {
    let options = CpuOptions {
        threads: NonZeroUsize::new(2),
        kv: KvMemory::Blocks(64),
        kv_kind,
        isa: Some(isa),
        ..CpuOptions::default()
    };
    CpuBackend::load(file, &options, &mut |_| ()).unwrap()
}

pub(super) fn blocks(ids: impl IntoIterator<Item = u32>) -> Vec<BlockId> {
    ids.into_iter().map(BlockId).collect()
}

pub(super) fn tokens(count: u32, vocabulary: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 37 + i * i * 11 + 5) % vocabulary).collect()
}

/// Logits of every token, cut at `sizes` over and over.
pub(super) fn cut(
    backend: &mut CpuBackend,
    tokens: &[u32],
    table: &[BlockId],
    sizes: &[usize],
) -> Vec<Vec<f32>> {
    let (mut rows, mut start) = (Vec::new(), 0usize);
    for size in sizes.iter().cycle() {
        let end = start.saturating_add(*size).min(tokens.len());
        rows.extend(step(backend, &[part(tokens, start, end, table)]));
        start = end;
        if start == tokens.len() {
            return rows;
        }
    }
    rows
}

pub(super) fn part<'a>(
    tokens: &'a [u32],
    start: usize,
    end: usize,
    blocks: &'a [BlockId],
) -> SequenceChunk<'a> {
    SequenceChunk { tokens: &tokens[start..end], start, blocks, logits: LogitsWanted::All, adapter: None }
}

pub(super) fn step(backend: &mut CpuBackend, batch: &[SequenceChunk<'_>]) -> Vec<Vec<f32>> {
    let mut logits = Logits::default();
    backend.forward(batch, &mut logits).unwrap();
    (0..logits.rows()).map(|row| logits.row(row).unwrap().to_vec()).collect()
}
