//! Rows of floats become the blocks that ggml makes of them, to the bit (goldens in `tests/goldens/ggml`).
#![allow(clippy::unwrap_used)] // A golden that cannot be read fails the test.

use std::path::Path;

use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::kernels::quantize::quantize_row;

#[test]
fn q8_0_and_q4_k_are_ggmls_bit_for_bit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/ggml");
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("quantisation.json")).unwrap()).unwrap();
    let data = std::fs::read(folder.join(index["file"].as_str().unwrap())).unwrap();
    let number = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let (rows, columns) = (number(&index["rows"]), number(&index["columns"]));
    let floats = data[..rows * columns * 4].chunks_exact(4);
    let floats: Vec<f32> = floats.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    for entry in index["types"].as_array().unwrap() {
        let kind = TensorType::from_number(entry["ggml_type"].as_u64().unwrap() as u32).unwrap();
        let expected = &data[number(&entry["offset"])..][..number(&entry["bytes"])];
        let row_bytes = columns / kind.block_elements() * kind.block_bytes();
        for (row, (floats, expected)) in floats.chunks(columns).zip(expected.chunks(row_bytes)).enumerate() {
            let mut stored = vec![0; row_bytes];
            assert!(quantize_row(kind, floats, &mut stored));
            assert_eq!(stored, expected, "{kind}, row {row}");
        }
    }
    assert_eq!(index["types"].as_array().unwrap().len(), 2);
}
