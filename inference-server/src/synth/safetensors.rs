//! The header of `model.safetensors`, and where each tensor lies.

use serde_json::{Map, Value, json};

use super::tensors::Tensor;
use crate::gguf::{StoredType, TensorType};

/// The header's bytes, and the offset of each tensor from their end.
pub(super) fn header(tensors: &[Tensor]) -> (Vec<u8>, Vec<u64>) {
    let mut object = Map::new();
    object.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut offsets = Vec::with_capacity(tensors.len() + 1);
    let mut end = 0u64;
    for tensor in tensors {
        let start = end;
        end += tensor.bytes() as u64;
        // Rows first, where GGUF has columns first.
        let shape: Vec<usize> = tensor.shape.iter().rev().copied().collect();
        let entry = json!({"dtype": dtype(tensor.kind), "shape": shape, "data_offsets": [start, end]});
        object.insert(tensor.name.clone(), entry);
        offsets.push(start);
    }
    offsets.push(end);
    let mut text = Value::Object(object).to_string();
    // The format lets spaces fill the header up, so that tensors are aligned.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    (bytes, offsets)
}

fn dtype(kind: StoredType) -> &'static str {
    match kind {
        StoredType::Ggml(TensorType::F16) => "F16",
        StoredType::Ggml(TensorType::BF16) => "BF16",
        StoredType::E4M3 => "F8_E4M3",
        StoredType::Ggml(_) => "F32",
    }
}
