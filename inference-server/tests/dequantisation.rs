//! Stored blocks become the floats that ggml makes of them, to the bit (goldens in `tests/goldens/ggml`).
#![allow(clippy::unwrap_used)] // A golden that cannot be read fails the test.

use std::path::Path;

use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::kernels::packed::{PackedLayout, PackedMatrix};
use weighbridge_inference_server::kernels::reference::dequantize;

#[test]
fn every_type_is_bit_exact_stored_and_packed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/ggml");
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("dequantisation.json")).unwrap()).unwrap();
    let data = std::fs::read(folder.join(index["file"].as_str().unwrap())).unwrap();
    let number = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let (rows, columns) = (number(&index["rows"]), number(&index["columns"]));

    let mut checked = Vec::new();
    for entry in index["types"].as_array().unwrap() {
        let name = entry["type"].as_str().unwrap();
        let kind = TensorType::from_number(entry["ggml_type"].as_u64().unwrap() as u32).unwrap();
        let part = |offset: &str, bytes: &str| &data[number(&entry[offset])..][..number(&entry[bytes])];
        let stored = part("packed_offset", "packed_bytes");
        let expected: Vec<u32> = part("f32_offset", "f32_bytes")
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();

        let mut plain = vec![0.0; rows * columns];
        dequantize(kind, stored, &mut plain);
        assert_eq!(bits(&plain), expected, "{name} as stored");

        let layout = PackedLayout::new(kind, rows, columns).unwrap();
        let matrix = PackedMatrix::from_stored(layout, stored).unwrap();
        let mut packed = vec![0.0; rows * columns];
        for (row, out) in packed.chunks_exact_mut(columns).enumerate() {
            matrix.dequantize_row(row, out);
        }
        assert_eq!(bits(&packed), expected, "{name} packed");
        checked.push(kind);
    }
    let unchecked: Vec<TensorType> =
        TensorType::ALL.into_iter().filter(|kind| !checked.contains(kind)).collect();
    assert_eq!(unchecked, [TensorType::F32]);
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
