//! Where an adapter's pairs go in a model, checked before a tensor is read; then their bytes.

use std::collections::HashMap;
use std::io;

use super::source::Pair;
use super::{Adapter, AdapterError, AdapterFile, Addition, Layer, Point};
use crate::gguf::{StoredType, TensorInfo, TensorType};
use crate::kernels::packed::{PackedLayout, PackedMatrix};
use crate::kernels::reference::dequantize;
use crate::model::plan::{PackPlan, TARGETS};
use crate::model::{Dimensions, ModelError, Naming, TensorSource};

/// Matrices that take adapters: ggml's name, the hub's, and the product that they are of.
const PARTS: &[(&str, &str, Point)] = &[
    ("attn_q", "self_attn.q_proj", Point::Projections),
    ("attn_k", "self_attn.k_proj", Point::Projections),
    ("attn_v", "self_attn.v_proj", Point::Projections),
    ("attn_qkv", "self_attn.qkv_proj", Point::Projections),
    ("attn_output", "self_attn.o_proj", Point::Output),
    ("ffn_gate", "mlp.gate_proj", Point::GateUp),
    ("ffn_up", "mlp.up_proj", Point::GateUp),
    ("ffn_up", "mlp.gate_up_proj", Point::GateUp),
    ("ffn_down", "mlp.down_proj", Point::Down),
];

/// What an adapter has to fit: a model's matrices by name.
#[derive(Debug)]
pub struct Base {
    naming: Naming,
    /// In ggml's words.
    architecture: String,
    dimensions: Dimensions,
    /// Rows and columns.
    matrices: HashMap<String, (usize, usize)>,
}

/// A pair with its place in the model.
#[derive(Debug)]
struct Placed {
    pair: Pair,
    point: Point,
    column: usize,
    a: PackedLayout,
    b: PackedLayout,
    /// Heads whose rows change places between the adapter's file and the model's.
    heads: Option<usize>,
}

/// An adapter that fits, none of whose tensors is read.
#[derive(Debug)]
pub struct AdapterPlan<'a> {
    file: &'a AdapterFile,
    layers: usize,
    to_ggml: bool,
    placed: Vec<Placed>,
}

impl Base {
    /// The model that `source` holds, planned as `plan`.
    ///
    /// # Errors
    /// As [`TensorSource::keys`].
    pub fn new(
        source: &dyn TensorSource,
        plan: &PackPlan,
        dimensions: &Dimensions,
    ) -> Result<Self, ModelError> {
        let architecture = match source.keys()?.architecture() {
            "mistral" | "mixtral" => "llama",
            "qwen3_moe" => "qwen3moe",
            "gemma3_text" => "gemma3",
            other => other,
        };
        let shape = |layout: PackedLayout| (layout.rows(), layout.columns());
        Ok(Self {
            naming: source.naming(),
            architecture: architecture.to_owned(),
            dimensions: dimensions.clone(),
            matrices: plan.matrices.iter().map(|m| (m.tensor.name().to_owned(), shape(m.layout))).collect(),
        })
    }

    /// Rows and columns of the matrix of `layer` that ggml and the hub name so.
    fn matrix(&self, layer: usize, ggml: &str, hub: &str) -> Option<(usize, usize)> {
        let name = match self.naming {
            Naming::Ggml => format!("blk.{layer}.{ggml}.weight"),
            Naming::HuggingFace => format!("model.layers.{layer}.{hub}.weight"),
        };
        self.matrices.get(&name).copied()
    }

    /// First column of the part that ggml names `ggml` in its product.
    fn column(&self, layer: usize, ggml: &str) -> usize {
        match ggml {
            "attn_k" => self.dimensions.query_width(),
            "attn_v" => self.dimensions.query_width() + self.dimensions.kv_width(),
            // Fused with the gate where there is none.
            "ffn_up" => self.matrix(layer, "ffn_gate", "mlp.gate_proj").map_or(0, |(rows, _)| rows),
            _ => 0,
        }
    }

    fn place(&self, pair: Pair, naming: Naming) -> Result<Placed, AdapterError> {
        let found = PARTS.iter().find_map(|&(ggml, hub, point)| {
            let named = match naming {
                Naming::Ggml => ggml,
                Naming::HuggingFace => hub,
            };
            let matrix = if named == pair.part { self.matrix(pair.layer, ggml, hub) } else { None };
            matrix.map(|shape| (ggml, point, shape))
        });
        let unserved = || AdapterError::Target { tensor: pair.a.name().to_owned(), served: TARGETS };
        let (ggml, point, (rows, columns)) = found.ok_or_else(unserved)?;
        let (Some(&rank), a, b) = (pair.a.shape().get(1), &pair.a, &pair.b) else { return Err(unserved()) };
        for (tensor, expected) in [(a, [columns, rank]), (b, [rank, rows])] {
            if tensor.shape() != expected {
                let problem = format!(
                    "its shape is {:?}, and this model's matrix makes it {expected:?}; name the model that the adapter was trained on",
                    tensor.shape()
                );
                return Err(AdapterError::Tensor { tensor: tensor.name().to_owned(), problem });
            }
        }
        let layout = |tensor: &TensorInfo, rows, columns| {
            let problem = "its size is no matrix'".to_owned();
            PackedLayout::new(packed_kind(tensor.kind()), rows, columns)
                .ok_or_else(|| AdapterError::Tensor { tensor: tensor.name().to_owned(), problem })
        };
        let (a, b) = (layout(a, rank, columns)?, layout(b, rows, rank)?);
        // GGUF converters permute the heads of queries and keys in this family, and in no other.
        let permuted = self.architecture == "llama" && naming != self.naming;
        let heads = match ggml {
            "attn_q" if permuted => Some(self.dimensions.heads),
            "attn_k" if permuted => Some(self.dimensions.kv_heads),
            _ => None,
        };
        let column = self.column(pair.layer, ggml);
        Ok(Placed { pair, point, column, a, b, heads })
    }
}

impl<'a> AdapterPlan<'a> {
    /// Finds the places of `file`'s pairs in `base`.
    ///
    /// # Errors
    /// [`AdapterError`]: it cannot be honoured, or does not fit.
    pub fn new(file: &'a AdapterFile, base: &Base) -> Result<Self, AdapterError> {
        let naming = file.tensors().naming();
        let pairs = file.pairs(&base.architecture)?;
        let placed = pairs.into_iter().map(|pair| base.place(pair, naming)).collect::<Result<_, _>>()?;
        Ok(Self { file, layers: base.dimensions.layers, to_ggml: base.naming == Naming::Ggml, placed })
    }

    /// Bytes that it will hold in memory.
    pub fn bytes(&self) -> u64 {
        self.placed.iter().map(|placed| (placed.a.bytes() + placed.b.bytes()) as u64).sum()
    }

    /// Reads and packs the tensors.
    ///
    /// # Errors
    /// [`AdapterError::Tensor`]: one cannot be read, or holds what is no number.
    pub fn load(self) -> Result<Adapter, AdapterError> {
        let bytes = self.bytes();
        let mut layers: Vec<Layer> = Vec::new();
        layers.resize_with(self.layers, Layer::default);
        for Placed { pair, point, column, a, b, heads } in self.placed {
            let source = self.file.tensors();
            let a = packed(source, &pair.a, a, |stored, _| stored)?;
            let b = packed(source, &pair.b, b, |stored, row| match heads {
                None => stored,
                Some(heads) => permute(&stored, row, heads, self.to_ggml),
            })?;
            if let Some(layer) = layers.get_mut(pair.layer) {
                layer.at_mut(point).push(Addition { a, b, column, scale: pair.scale });
            }
        }
        Ok(Adapter { layers, bytes })
    }
}

/// Floats stay as they are; quantised ones become F32: an adapter is small, and its kernels are of floats.
fn packed_kind(stored: StoredType) -> TensorType {
    match stored {
        StoredType::Ggml(kind @ (TensorType::F16 | TensorType::BF16)) => kind,
        _ => TensorType::F32,
    }
}

fn packed(
    source: &dyn TensorSource,
    tensor: &TensorInfo,
    layout: PackedLayout,
    order: impl Fn(Vec<u8>, usize) -> Vec<u8>,
) -> Result<PackedMatrix, AdapterError> {
    let wrong = |problem: String| AdapterError::Tensor { tensor: tensor.name().to_owned(), problem };
    let system = |error: io::Error| wrong(format!("{error}; check the disk, and fetch the adapter again"));
    let kind = tensor.kind().ggml().ok_or_else(|| {
        wrong(format!("it is stored as {}; save the adapter as BF16, F16 or F32", tensor.kind()))
    })?;
    let stored = source.read(tensor).map_err(system)?;
    let mut values = vec![0.0; layout.rows() * layout.columns()];
    dequantize(kind, &stored, &mut values);
    if values.iter().any(|value| !value.is_finite()) {
        return Err(wrong(
            "it holds what is no finite number; the adapter is damaged: fetch or train it again".to_owned(),
        ));
    }
    let stored = if layout.kind() == kind {
        stored
    } else {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    PackedMatrix::from_stored(layout, &order(stored, layout.stored_row_bytes())).map_err(system)
}

/// Moves the rows of each head between halves (the hub's) and interleaved pairs (ggml's).
fn permute(stored: &[u8], row: usize, heads: usize, to_ggml: bool) -> Vec<u8> {
    let rows = stored.len() / row.max(1);
    let (head, half) = (rows / heads, rows / heads / 2);
    let mut out = Vec::with_capacity(stored.len());
    for to in 0..rows {
        let (start, within) = (to / head * head, to % head);
        let from = if to_ggml { within % 2 * half + within / 2 } else { within % half * 2 + within / half };
        out.extend_from_slice(&stored[(start + from) * row..][..row]);
    }
    out
}
