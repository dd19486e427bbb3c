//! A model's files, laid out: what each begins with, where its tensors lie, and the pieces that threads make.

use std::io;

use serde_json::{Map, Value as Json, json};

use super::tensors::{Tensor, tensors};
use super::{Format, SynthError, SynthSpec, metadata, names, random, safetensors};
use crate::gguf::Value;
use crate::gguf::write::GgufHeader;

/// Bytes of a piece: small enough to share out, large enough that a write costs nothing. A model's bytes hang on it.
const PIECE: usize = 1 << 20;

/// A file of tensors, laid out.
pub(super) struct Plan {
    pub(super) header: Vec<u8>,
    tensors: Vec<Tensor>,
    /// Of each tensor from the end of the header, and the end of all.
    offsets: Vec<u64>,
}

/// Which of several files one is.
struct Part {
    number: usize,
    count: usize,
    /// Tensors in all of them.
    tensors: usize,
}

/// Every tensor of `spec`, as its format has them.
pub(super) fn stored(spec: &SynthSpec) -> Vec<Tensor> {
    let tensors = tensors(spec);
    match spec.format {
        Format::Gguf => tensors,
        Format::Safetensors => tensors.iter().flat_map(|tensor| names::stored(spec, tensor)).collect(),
    }
}

impl Plan {
    /// The model of `spec` in one file, whatever its shards.
    pub(super) fn whole(spec: &SynthSpec) -> Result<Self, SynthError> {
        Self::file(spec, stored(spec), None)
    }

    /// The model of `spec` in its shards.
    pub(super) fn shards(spec: &SynthSpec) -> Result<Vec<Self>, SynthError> {
        let (stored, count) = (stored(spec), spec.shards);
        if count == 1 {
            return Ok(vec![Self::file(spec, stored, None)?]);
        }
        let tensors = stored.len();
        let parts = cut(&stored, count).into_iter().enumerate();
        parts.map(|(number, part)| Self::file(spec, part, Some(Part { number, count, tensors }))).collect()
    }

    fn file(spec: &SynthSpec, tensors: Vec<Tensor>, part: Option<Part>) -> Result<Self, SynthError> {
        match spec.format {
            Format::Gguf => {
                let mut header = GgufHeader::new();
                // As gguf-split: the first part has the model's keys, and each says which it is.
                if part.as_ref().is_none_or(|part| part.number == 0) {
                    for (key, value) in metadata::pairs(spec) {
                        header.pair(&key, value);
                    }
                }
                if let Some(Part { number, count, tensors }) = part {
                    header.pair("split.no", Value::U16(number as u16));
                    header.pair("split.count", Value::U16(count as u16));
                    header.pair("split.tensors.count", Value::I32(tensors as i32));
                }
                for tensor in &tensors {
                    header.tensor(&tensor.name, &tensor.shape, tensor.kind.kept())?;
                }
                Ok(Self { header: header.bytes(), offsets: header.offsets(), tensors })
            }
            Format::Safetensors => {
                let (header, offsets) = safetensors::header(&tensors);
                Ok(Self { header, tensors, offsets })
            }
        }
    }

    pub(super) fn parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.elements() as u64).sum()
    }

    /// Length of the file.
    pub(super) fn length(&self) -> u64 {
        self.header.len() as u64 + self.offsets.last().copied().unwrap_or_default()
    }

    pub(super) fn pieces(&self, seed: u64) -> Vec<Piece<'_>> {
        let start = self.header.len() as u64;
        let of_tensor = |(tensor, offset): (_, &u64)| pieces(tensor, start + offset, seed);
        self.tensors.iter().zip(&self.offsets).flat_map(of_tensor).collect()
    }
}

/// Cuts `tensors` into `count` parts of some length each, none of them empty. There are as many tensors at least.
fn cut(tensors: &[Tensor], count: usize) -> Vec<Vec<Tensor>> {
    let mut rest = tensors;
    let mut bytes: usize = tensors.iter().map(Tensor::bytes).sum();
    let part = |parts: usize| {
        let (share, most) = (bytes / parts, rest.len().saturating_sub(parts - 1));
        let mut length = 0;
        let own = rest.iter().take(most).take_while(|tensor| {
            let wanted = parts == 1 || length < share.max(1);
            length += if wanted { tensor.bytes() } else { 0 };
            wanted
        });
        let own: Vec<Tensor> = own.cloned().collect();
        bytes -= length;
        rest = rest.get(own.len()..).unwrap_or_default();
        own
    };
    (1..=count).rev().map(part).collect()
}

/// The index of a folder whose weights lie in the files `names`, one for each of `plans`.
pub(super) fn index(names: &[String], plans: &[Plan]) -> Json {
    let mut files = Map::new();
    for (name, plan) in names.iter().zip(plans) {
        files.extend(plan.tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    let total: usize = plans.iter().flat_map(|plan| &plan.tensors).map(Tensor::bytes).sum();
    json!({"metadata": {"total_size": total}, "weight_map": files})
}

/// A part of a tensor that one thread makes.
pub(super) struct Piece<'a> {
    tensor: &'a Tensor,
    blocks: usize,
    at: u64,
    seed: u64,
}

impl Piece<'_> {
    pub(super) fn write(&self, put: &dyn Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let tensor = self.tensor;
        let columns = tensor.shape.first().copied().unwrap_or(1);
        let mut bytes = Vec::with_capacity(self.blocks * tensor.kind.block_bytes());
        random::fill(tensor.kind, columns, tensor.values, self.blocks, self.seed, &mut bytes);
        put(self.at, &bytes)
    }
}

fn pieces(tensor: &Tensor, offset: u64, seed: u64) -> impl Iterator<Item = Piece<'_>> {
    let size = tensor.kind.block_bytes();
    let (all, most) = (tensor.bytes() / size, PIECE / size);
    (0..all.div_ceil(most)).map(move |index| Piece {
        tensor,
        blocks: most.min(all - index * most),
        at: offset + (index * most * size) as u64,
        seed: random::seed_of(seed, &tensor.name, index as u64),
    })
}
