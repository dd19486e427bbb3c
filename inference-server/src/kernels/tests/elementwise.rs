use super::{assert_close, instruction_sets, numbers, two_threads};
use crate::kernels::activations::Activations;
use crate::kernels::attention::{KvCache, KvShape};
use crate::kernels::elementwise::{QkvShape, RotaryTable, rms_norm, rotate_and_store, swiglu};
use crate::kernels::reference;
use crate::kv::BlockId;

#[test]
fn rms_norm_equals_the_reference() {
    for isa in instruction_sets() {
        for (tokens, columns) in [(1, 576), (3, 5), (40, 33), (2, 16)] {
            let (input, weight) = (numbers(1, tokens * columns), numbers(2, columns));
            let mut out = Activations::default();
            out.reset(tokens, columns, &[]);
            rms_norm(&mut two_threads(), isa, &input, &weight, 1e-5, &mut out).unwrap();
            let expected: Vec<f32> =
                input.chunks_exact(columns).flat_map(|row| reference::rms_norm(row, &weight, 1e-5)).collect();
            assert_close(out.floats(), &expected, 1e-6, isa.name());
        }
    }
}

#[test]
fn swiglu_equals_the_reference_far_out_too() {
    for isa in instruction_sets() {
        for (tokens, columns, reach) in [(1, 1536, 4.0), (9, 21, 1.0), (2, 48, 200.0)] {
            let gate_up: Vec<f32> = numbers(4, tokens * columns * 2).iter().map(|x| x * reach).collect();
            let mut out = Activations::default();
            out.reset(tokens, columns, &[]);
            swiglu(&mut two_threads(), isa, &gate_up, &mut out).unwrap();
            let expected: Vec<f32> = gate_up
                .chunks_exact(columns * 2)
                .flat_map(|row| reference::swiglu(&row[..columns], &row[columns..]))
                .collect();
            assert_close(out.floats(), &expected, 1e-6, isa.name());
        }
    }
}

#[test]
fn rotation_equals_the_reference() {
    let frequencies: Vec<f64> = (0..18).map(|i| 10_000f64.powf(-(i as f64) / 18.0)).collect();
    for isa in instruction_sets() {
        // 36 of 40 elements are rotated: whole vectors, a rest, and an unrotated end.
        let shape = QkvShape { heads: 2, kv_heads: 1, head: 40, query_scale: 0.5 };
        let width = shape.width();
        let positions = [0usize, 1, 77, 4095, 8191];
        let mut qkv = numbers(5, positions.len() * width);
        let before = qkv.clone();
        let mut table = RotaryTable::default();
        table.fill(positions.iter().copied(), &frequencies);
        let mut cache = KvCache::new(KvShape { layers: 1, blocks: 1, heads: 1, head: 40 }).unwrap();
        let places: Vec<(BlockId, usize)> = (0..positions.len()).map(|slot| (BlockId(0), slot)).collect();
        rotate_and_store(&mut two_threads(), isa, shape, &table, &places, &mut qkv, &mut cache, 0).unwrap();
        for ((found, before), position) in
            qkv.chunks_exact(width).zip(before.chunks_exact(width)).zip(positions)
        {
            let mut expected = before.to_vec();
            for (i, head) in expected[..120].chunks_exact_mut(40).enumerate() {
                reference::rotate(head, position, &frequencies);
                head.iter_mut().for_each(|x| *x *= if i < 2 { 0.5 } else { 1.0 });
            }
            assert_close(found, &expected, 1e-6, &format!("position {position} on {}", isa.name()));
        }
    }
}
