use std::num::NonZeroUsize;

use weighbridge_kernels::e4m3::{BlockScales, e4m3_to_f32};
use weighbridge_kernels::packed::{PackedLayout, PackedMatrix, pack};
use weighbridge_kernels::pool::Pool;
use weighbridge_kernels::quantize::quantize_row;
use weighbridge_kernels::random::random_matrix;
use weighbridge_kernels::reference::dequantize;
use weighbridge_kernels::{StoredRows, StoredType, TensorType};

#[test]
fn a_packed_row_dequantises_to_the_stored_rows_bits() {
    for kind in TensorType::ALL {
        let (rows, columns) = (37, 512);
        let stored = random_matrix(kind, columns, rows, 5);
        let layout = PackedLayout::new(kind, rows, columns).unwrap();
        let packed = PackedMatrix::from_stored(layout, &stored).unwrap();
        for (row, bytes) in stored.chunks_exact(layout.stored_row_bytes()).enumerate() {
            let (mut found, mut expected) = (vec![0.0f32; columns], vec![0.0f32; columns]);
            packed.dequantize_row(row, &mut found);
            dequantize(kind, bytes, &mut expected);
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&found), bits(&expected), "{kind} row {row}");
        }
        let mut untouched = vec![7.0; columns];
        packed.dequantize_row(48, &mut untouched);
        assert!(untouched.iter().all(|&x| x == 7.0), "{kind}: a row past the last panel");
    }
}

#[test]
fn packing_adds_no_more_than_the_unpacked_scales() {
    for kind in TensorType::ALL {
        let layout = PackedLayout::new(kind, 64, 2048).unwrap();
        let stored = 64 * layout.stored_row_bytes();
        assert!(layout.bytes() as f64 <= stored as f64 * 1.04, "{kind}: {} of {stored}", layout.bytes());
    }
}

#[test]
fn sizes_that_make_no_matrix_are_refused() {
    assert!(PackedLayout::new(TensorType::Q4_0, 16, 33).is_none());
    assert!(PackedLayout::new(TensorType::Q4K, 16, 128).is_none());
    assert!(PackedLayout::new(TensorType::F32, 0, 128).is_none());
    assert!(PackedLayout::new(TensorType::F32, usize::MAX, 1 << 20).is_none());
}

/// Rows that are quantised as they are packed lie as if they had been quantised first.
#[test]
fn quantising_while_packing_is_quantising_then_packing() {
    let (rows, columns) = (37, 512);
    let mut pool = Pool::new(NonZeroUsize::new(2).unwrap()).unwrap();
    for from in [TensorType::F32, TensorType::F16, TensorType::BF16] {
        let stored = random_matrix(from, columns, rows, 5);
        let mut floats = vec![0.0; rows * columns];
        dequantize(from, &stored, &mut floats);
        for kind in [TensorType::Q8_0, TensorType::Q4K] {
            let layout = PackedLayout::new(kind, rows, columns).unwrap();
            let mut quantized = vec![0; rows * layout.stored_row_bytes()];
            assert!(quantize_row(kind, &floats, &mut quantized));
            let mut expected = vec![0; layout.bytes()];
            layout.pack(&quantized, 0..layout.panels(), &mut expected);
            let mut found = vec![0; layout.bytes()];
            let stored = StoredRows::Ggml { kind: from, bytes: &stored };
            pack(&mut pool, layout, stored, 0..layout.panels(), &mut found).unwrap();
            assert!(found == expected, "{from} to {kind}");
        }
    }
}

/// E4M3 is multiplied by its scales first; what is kept is the nearest bfloat16, or what is made of the floats.
#[test]
fn e4m3_is_packed_as_what_it_stands_for() {
    let (rows, columns) = (37usize, 512usize);
    let mut pool = Pool::new(NonZeroUsize::new(2).unwrap()).unwrap();
    // Every code but those that are no numbers.
    let bytes: Vec<u8> = (0..rows * columns).map(|at| (at * 7 % 127 + at % 2 * 128) as u8).collect();
    for [of_rows, of_columns] in [[16, 128], [1, 512], [37, 512]] {
        let count = rows.div_ceil(of_rows) * columns.div_ceil(of_columns);
        let values: Vec<f32> = (0..count).map(|at| 0.001 + 0.0001 * at as f32).collect();
        let scale = |row, column| values[row / of_rows * columns.div_ceil(of_columns) + column / of_columns];
        let floats: Vec<f32> = (0..rows * columns)
            .map(|at| e4m3_to_f32(bytes[at]) * scale(at / columns, at % columns))
            .collect();
        let scales = BlockScales::new(values.clone(), [rows, columns], [of_rows, of_columns]).unwrap();
        for kind in [TensorType::BF16, TensorType::Q8_0, TensorType::Q4K] {
            let layout = PackedLayout::new(kind, rows, columns).unwrap();
            let mut quantized = vec![0; rows * layout.stored_row_bytes()];
            assert!(quantize_row(kind, &floats, &mut quantized));
            let mut expected = vec![0; layout.bytes()];
            layout.pack(&quantized, 0..layout.panels(), &mut expected);
            let mut found = vec![0; layout.bytes()];
            let stored = StoredRows::E4M3 { bytes: &bytes, scales: &scales };
            pack(&mut pool, layout, stored, 0..layout.panels(), &mut found).unwrap();
            assert!(found == expected, "blocks of {of_rows} x {of_columns} to {kind}");
        }
    }
    assert!(StoredRows::new(StoredType::E4M3, &bytes, None).is_none());
}
