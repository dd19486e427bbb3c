use super::{assert_close, instruction_sets, numbers, two_threads};
use weighbridge_kernels::TensorType;
use weighbridge_kernels::activations::{ActivationKind, Activations};
use weighbridge_kernels::matmul::{Output, Product, matmul};
use weighbridge_kernels::packed::{PackedLayout, PackedMatrix};
use weighbridge_kernels::random::random_matrix;
use weighbridge_kernels::reference;

/// (rows, columns in blocks of 256, tokens): odd rows, one row, many panels, every tile size, one to many groups of
/// sixteen tokens.
const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (16, 1, 2),
    (17, 2, 3),
    (31, 1, 4),
    (64, 3, 5),
    (100, 2, 8),
    (7, 1, 15),
    (48, 1, 17),
    (130, 2, 23),
    (40, 3, 64),
    (330, 2, 49),
    (20, 1, 530),
];

fn check(kind: TensorType, rows: usize, columns: usize, tokens: usize) {
    let stored = random_matrix(kind, columns, rows, rows as u64 * 31 + tokens as u64);
    let input = numbers(tokens as u64 + 7, tokens * columns);
    let expected = reference::matmul_quantized(kind, &stored, columns, &input);
    let layout = PackedLayout::new(kind, rows, columns).unwrap();
    let packed = PackedMatrix::from_stored(layout, &stored).unwrap();
    for isa in instruction_sets() {
        let mut activations = Activations::default();
        activations.reset(tokens, columns, &[ActivationKind::of(kind)]);
        activations.set(isa, &input);
        // A wider output with a margin on both sides, which must stay as it was.
        let (width, column) = (rows + 5, 3);
        let mut out = vec![7.0; tokens * width];
        let products = [Product { weights: &packed, column }];
        let mut pool = two_threads();
        matmul(&mut pool, isa, &products, &activations, &mut out, width, Output::Replace).unwrap();
        matmul(&mut pool, isa, &products, &activations, &mut out, width, Output::Add).unwrap();
        let mut found = Vec::new();
        for row in out.chunks_exact(width) {
            assert!(row[..column].iter().chain(&row[column + rows..]).all(|&x| x == 7.0), "{kind} margin");
            found.extend(row[column..column + rows].iter().map(|x| x / 2.0));
        }
        let what = format!("{kind} {rows}x{columns} {tokens} tokens on {}", isa.name());
        assert_close(&found, &expected, 2e-5, &what);
    }
}

#[test]
fn every_type_and_shape_equals_the_reference() {
    for kind in TensorType::ALL {
        for (rows, blocks, tokens) in SHAPES {
            check(kind, rows, blocks * 256, tokens);
        }
    }
}

#[test]
fn rows_of_a_few_small_blocks() {
    for kind in TensorType::ALL.into_iter().filter(|kind| kind.block_elements() == 32) {
        for (columns, tokens) in [(32, 1), (96, 9), (576, 3)] {
            check(kind, 40, columns, tokens);
        }
    }
    for kind in [TensorType::F32, TensorType::F16, TensorType::BF16] {
        for (columns, tokens) in [(1, 1), (3, 2), (37, 5), (50, 8)] {
            check(kind, 20, columns, tokens);
        }
    }
}

/// The largest values that the formats hold: an 8- or 16-bit intermediate that saturates shows here.
#[test]
fn extreme_quants_do_not_saturate() {
    for kind in TensorType::ALL.into_iter().filter(|kind| kind.block_elements() > 1) {
        for byte in [0xFFu8, 0x80, 0x7F] {
            let columns = 256;
            let mut stored = random_matrix(kind, columns, 16, 1);
            for block in stored.chunks_exact_mut(kind.block_bytes()) {
                let quants = match kind {
                    TensorType::Q4_1 | TensorType::Q5_1 => 4..kind.block_bytes(),
                    TensorType::MXFP4 => 1..17,
                    TensorType::Q2K => 0..80,
                    TensorType::Q3K => 0..108,
                    TensorType::Q4K => 16..144,
                    TensorType::Q5K => 16..176,
                    TensorType::Q6K => 0..192,
                    _ => 2..kind.block_bytes(),
                };
                block[quants].fill(byte);
            }
            for (sign, tokens) in [(1.0, 1), (-1.0, 1), (1.0, 17), (-1.0, 17)] {
                let input = vec![sign; tokens * columns];
                let expected = reference::matmul_quantized(kind, &stored, columns, &input);
                let layout = PackedLayout::new(kind, 16, columns).unwrap();
                let packed = PackedMatrix::from_stored(layout, &stored).unwrap();
                for isa in instruction_sets() {
                    let mut activations = Activations::default();
                    activations.reset(tokens, columns, &[ActivationKind::of(kind)]);
                    activations.set(isa, &input);
                    let mut out = vec![0.0; tokens * 16];
                    let products = [Product { weights: &packed, column: 0 }];
                    let mut pool = two_threads();
                    matmul(&mut pool, isa, &products, &activations, &mut out, 16, Output::Replace).unwrap();
                    assert_close(&out, &expected, 1e-5, &format!("{kind} of {byte:#x} on {}", isa.name()));
                }
            }
        }
    }
}

#[test]
fn several_products_share_one_pass() {
    let columns = 64;
    let input = numbers(3, 2 * columns);
    let kinds = [(TensorType::Q4_1, 33), (TensorType::Q8_0, 16), (TensorType::F16, 5)];
    let stored: Vec<Vec<u8>> =
        kinds.iter().map(|&(kind, rows)| random_matrix(kind, columns, rows, 9)).collect();
    let packed: Vec<PackedMatrix> = kinds
        .iter()
        .zip(&stored)
        .map(|(&(kind, rows), stored)| {
            PackedMatrix::from_stored(PackedLayout::new(kind, rows, columns).unwrap(), stored).unwrap()
        })
        .collect();
    let width = 54;
    let columns_of = [0, 33, 49];
    for isa in instruction_sets() {
        let mut activations = Activations::default();
        activations.reset(2, columns, &[ActivationKind::Blocks32, ActivationKind::Float]);
        activations.set(isa, &input);
        let products: Vec<Product<'_>> =
            packed.iter().zip(columns_of).map(|(weights, column)| Product { weights, column }).collect();
        let mut out = vec![0.0; 2 * width];
        matmul(&mut two_threads(), isa, &products, &activations, &mut out, width, Output::Replace).unwrap();
        for ((&(kind, rows), stored), column) in kinds.iter().zip(&stored).zip(columns_of) {
            let expected = reference::matmul_quantized(kind, stored, columns, &input);
            let found: Vec<f32> =
                out.chunks_exact(width).flat_map(|row| row[column..column + rows].to_vec()).collect();
            assert_close(&found, &expected, 2e-5, kind.name());
        }
    }
}

#[test]
fn activations_are_quantised_as_the_reference_does() {
    let (tokens, columns) = (3, 512);
    let mut input = numbers(11, tokens * columns);
    input[..64].fill(0.0);
    input[300] = -1.5;
    for isa in instruction_sets() {
        let mut activations = Activations::default();
        activations.reset(tokens, columns, &[ActivationKind::Blocks32, ActivationKind::Blocks256]);
        activations.set(isa, &input);
        for (token, row) in input.chunks_exact(columns).enumerate() {
            let small = reference::quantize_blocks_of_32(row);
            let large = reference::quantize_blocks_of_256(row);
            let (b32, b256) = (activations.blocks32(), activations.blocks256());
            assert_eq!(b32.values[token * columns..][..columns], small.values, "{}", isa.name());
            assert_eq!(b32.scales[token * columns / 32..][..columns / 32], small.scales);
            assert_eq!(b32.weighted_sums[token * columns / 32..][..columns / 32], small.weighted_sums);
            assert_eq!(b256.values[token * columns..][..columns], large.values, "{}", isa.name());
            assert_eq!(b256.scales[token * columns / 256..][..columns / 256], large.scales);
        }
    }
}
