//! Matrices in 8-bit floats beside their scales, as published checkpoints have them.

use serde_json::{Value, json};

use super::tensors::{Tensor, Values};
use crate::gguf::{StoredType, TensorType};
use crate::kernels::e4m3::E4M3_LARGEST;

/// Rows, and columns, of a block.
const BLOCK: usize = 128;

/// What shares a scale where a model's matrices are 8-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum E4m3 {
    /// Blocks of 128 x 128, as DeepSeek and Qwen publish them.
    Blocks,
    /// Rows, as llm-compressor makes them.
    Channels,
    /// Matrices, with a scale for their activations, as llm-compressor makes them.
    Tensors,
}

impl E4m3 {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Blocks, Self::Channels, Self::Tensors];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "e4m3",
            Self::Channels => "e4m3-channel",
            Self::Tensors => "e4m3-tensor",
        }
    }

    /// The one called `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e4m3| e4m3.name().eq_ignore_ascii_case(name))
    }

    /// `matrix`, called `….weight`, in 8-bit floats, and what lies beside it.
    pub(super) fn stored(self, matrix: Tensor) -> Vec<Tensor> {
        let stem = matrix.name.strip_suffix("weight").unwrap_or(&matrix.name).to_owned();
        let [columns, rows] = [0, 1].map(|axis| matrix.shape.get(axis).copied().unwrap_or(1));
        let (ending, shape, kind) = match self {
            Self::Blocks => {
                let blocks = vec![columns.div_ceil(BLOCK), rows.div_ceil(BLOCK)];
                ("weight_scale_inv", blocks, TensorType::F32)
            }
            Self::Channels => ("weight_scale", vec![1, rows], TensorType::BF16),
            Self::Tensors => ("weight_scale", vec![1], TensorType::BF16),
        };
        let beside = |ending: &str, shape: Vec<usize>, kind: TensorType, largest: f32| Tensor {
            name: format!("{stem}{ending}"),
            shape,
            kind: kind.into(),
            values: Values::Between(0.75 * largest, 1.25 * largest),
        };
        // Numbers up to the largest, then, make what they are multiplied by as large as in any other type.
        let scales = beside(ending, shape, kind, matrix.values.reach(columns) / E4M3_LARGEST);
        let mut stored = vec![Tensor { kind: StoredType::E4M3, ..matrix }, scales];
        if self == Self::Tensors {
            stored.push(beside("input_scale", vec![1], TensorType::BF16, 1.0 / E4M3_LARGEST));
        }
        stored
    }

    /// `quantization_config` of its `config.json`.
    pub(super) fn config(self) -> Value {
        if self == Self::Blocks {
            return json!({
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": [BLOCK, BLOCK],
                "modules_to_not_convert": ["lm_head"],
            });
        }
        let args = |strategy: &str, dynamic: bool| {
            json!({
                "num_bits": 8, "type": "float", "symmetric": true, "strategy": strategy, "dynamic": dynamic,
                "group_size": null, "block_structure": null, "actorder": null,
            })
        };
        let (weights, activations) = match self {
            Self::Channels => (args("channel", false), args("token", true)),
            Self::Blocks | Self::Tensors => (args("tensor", false), args("tensor", false)),
        };
        json!({
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "quantization_status": "compressed",
            "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": activations,
                "output_activations": null,
            }},
            "ignore": ["lm_head"],
            "kv_cache_scheme": null,
        })
    }
}
