use super::{assert_close, instruction_sets, numbers, two_threads};
use weighbridge_kernels::activations::Activations;
use weighbridge_kernels::attention::BlockId;
use weighbridge_kernels::attention::{KvCache, KvKind, KvShape};
use weighbridge_kernels::elementwise::{
    Activation, Norm, PairLayout, QkvShape, QkvWeights, RotaryTable, activate, add_normalized, gate,
    normalize, rotate_and_store, scale_capped,
};
use weighbridge_kernels::reference;

#[test]
fn rms_norm_equals_the_reference() {
    for isa in instruction_sets() {
        for (tokens, columns) in [(1, 576), (3, 5), (40, 33), (2, 16)] {
            let (input, weight) = (numbers(1, tokens * columns), numbers(2, columns));
            let mut out = Activations::default();
            out.reset(tokens, columns, &[]);
            let norm = Norm::root_mean_square(weight.clone(), 1e-5);
            normalize(&mut two_threads(), isa, &input, &norm, &mut out).unwrap();
            let expected: Vec<f32> =
                input.chunks_exact(columns).flat_map(|row| reference::rms_norm(row, &weight, 1e-5)).collect();
            assert_close(out.floats(), &expected, 1e-6, isa.name());
        }
    }
}

#[test]
fn layer_norm_equals_the_reference() {
    for isa in instruction_sets() {
        for (tokens, columns) in [(1, 384), (3, 5), (40, 33)] {
            let input: Vec<f32> = numbers(1, tokens * columns).iter().map(|x| x + 0.7).collect();
            let (weight, bias) = (numbers(2, columns), numbers(3, columns));
            let mut out = Activations::default();
            out.reset(tokens, columns, &[]);
            let norm = Norm::layer(weight.clone(), bias.clone(), 1e-5);
            normalize(&mut two_threads(), isa, &input, &norm, &mut out).unwrap();
            let rows = input.chunks_exact(columns);
            let expected: Vec<f32> =
                rows.flat_map(|row| reference::layer_norm(row, &weight, &bias, 1e-5)).collect();
            assert_close(out.floats(), &expected, 2e-6, isa.name());
        }
    }
}

#[test]
fn what_is_added_is_normalised_first() {
    for isa in instruction_sets() {
        let (columns, tokens) = (40, 9);
        let mut branch = numbers(1, tokens * columns);
        let (weight, before) = (numbers(2, columns), numbers(3, tokens * columns));
        let normed = branch.chunks_exact(columns).flat_map(|row| reference::rms_norm(row, &weight, 1e-6));
        let expected: Vec<f32> = normed.zip(&before).map(|(more, x)| x + more).collect();
        let mut stream = before.clone();
        let norm = Norm::root_mean_square(weight, 1e-6);
        add_normalized(&mut two_threads(), isa, &mut branch, &norm, &mut stream).unwrap();
        assert_close(&stream, &expected, 1e-6, isa.name());
    }
}

#[test]
fn gates_equal_the_reference_far_out_too() {
    for isa in instruction_sets() {
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            for (tokens, columns, reach) in [(1, 1536, 4.0), (9, 21, 1.0), (2, 48, 200.0)] {
                let gate_up: Vec<f32> = numbers(4, tokens * columns * 2).iter().map(|x| x * reach).collect();
                let mut out = Activations::default();
                out.reset(tokens, columns, &[]);
                gate(&mut two_threads(), isa, activation, &gate_up, &mut out).unwrap();
                let expected: Vec<f32> = gate_up
                    .chunks_exact(columns * 2)
                    .flat_map(|row| {
                        let (gate, up) = row.split_at(columns);
                        gate.iter().zip(up).map(|(&g, &u)| reference::activate(activation, g) * u)
                    })
                    .collect();
                assert_close(out.floats(), &expected, 1e-6, &format!("{activation:?} on {}", isa.name()));
            }
        }
    }
}

#[test]
fn the_bias_comes_before_the_activation() {
    for isa in instruction_sets() {
        let (tokens, columns) = (5, 37);
        let (input, bias) = (numbers(1, tokens * columns), numbers(2, columns));
        let mut out = Activations::default();
        out.reset(tokens, columns, &[]);
        activate(&mut two_threads(), isa, Activation::Gelu, &input, &bias, &mut out).unwrap();
        let one = |(at, &x): (usize, &f32)| reference::activate(Activation::Gelu, x + bias[at % columns]);
        let expected: Vec<f32> = input.iter().enumerate().map(one).collect();
        assert_close(out.floats(), &expected, 1e-6, isa.name());
    }
}

#[test]
fn caps_equal_the_reference() {
    for isa in instruction_sets() {
        let mut values: Vec<f32> = numbers(1, 3 * 53).iter().map(|x| x * 100.0).collect();
        let expected: Vec<f32> = values.iter().map(|x| 30.0 * (x / 30.0).tanh()).collect();
        scale_capped(&mut two_threads(), isa, &mut values, 53, 30.0).unwrap();
        assert_close(&values, &expected, 1e-6, isa.name());
    }
}

#[test]
fn rotation_equals_the_reference() {
    let frequencies: Vec<f64> = (0..18).map(|i| 10_000f64.powf(-(i as f64) / 18.0)).collect();
    for isa in instruction_sets() {
        for layout in [PairLayout::Interleaved, PairLayout::Halves] {
            // 36 of 40 elements are rotated: whole vectors, a rest, and an unrotated end.
            let shape = QkvShape { heads: 2, kv_heads: 1, head: 40, query_scale: 0.5 };
            let width = shape.width();
            let positions = [0usize, 1, 77, 4095, 8191];
            let mut qkv = numbers(5, positions.len() * width);
            let before = qkv.clone();
            let (bias, weight) = (numbers(6, width), numbers(7, 40));
            let mut table = RotaryTable::default();
            table.fill(layout, positions.iter().copied(), &frequencies, 1.25);
            let mut cache =
                KvCache::new(KvShape { kind: KvKind::F16, layers: 1, blocks: 1, heads: 1, head: 40 })
                    .unwrap();
            let places: Vec<(BlockId, usize)> = (0..positions.len()).map(|slot| (BlockId(0), slot)).collect();
            // Queries are normalised, keys are not.
            let norm = Norm::root_mean_square(weight.clone(), 1e-6);
            let weights = QkvWeights { bias: &bias, query_norm: Some(&norm), key_norm: None };
            let mut pool = two_threads();
            rotate_and_store(&mut pool, isa, shape, weights, &table, &places, &mut qkv, &mut cache, 0)
                .unwrap();
            let rows = qkv.chunks_exact(width).zip(before.chunks_exact(width));
            for ((found, before), position) in rows.zip(positions) {
                let mut expected: Vec<f32> = before.iter().zip(&bias).map(|(x, bias)| x + bias).collect();
                for (i, head) in expected[..120].chunks_exact_mut(40).enumerate() {
                    if i < 2 {
                        head.copy_from_slice(&reference::rms_norm(head, &weight, 1e-6));
                    }
                    reference::rotate(layout, head, position, &frequencies, 1.25);
                    head.iter_mut().for_each(|x| *x *= if i < 2 { 0.5 } else { 1.0 });
                }
                let what = format!("{layout:?}, position {position} on {}", isa.name());
                assert_close(found, &expected, 1e-6, &what);
            }
        }
    }
}
